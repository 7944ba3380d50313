"""PanopticDepth's training objective (paper, Eq. 6 to 9 and 12; position and segmentation losses of PanopticFCN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.panopticdepth import DEPTH_NUMBERS
from ..models.panopticdepth_config import DENSE, INSTANCE, PanopticDepthConfig
from .panopticdepth_targets import FULL, LevelTargets, level_targets
from .per_image import PerImageCriterion
from .targets import SEGMENTS, Targets

MOST_SEGMENTS = 200
"""Segments of an image that are targets at most; inference finds as many centres."""
POSITIONS, LEAST_SHARE = 7, 0.1
"""Places that learn a thing's mask: so many with the best centre scores of those with this share of the thing."""
ALPHA, GAMMA = 0.25, 2.0
LEAST_DEPTH = 1e-4
"""Smallest depth in the losses, as a share of d_max: a range around a small mean reaches below zero."""


@dataclass(frozen=True)
class PanopticDepthLosses:
    """Weights of Eq. 12.

    Attributes:
        position: focal loss of centres and regions.
        segmentation: weighted dice of the masks.
        depth: Eq. 8, over the pixels.
        instance_depth: Eq. 9, over the instances' shifts, within `depth` (variants E, F; 0 switches it off).
    """

    position: float = 1.0
    segmentation: float = 4.0
    depth: float = 5.0
    instance_depth: float = 1.0


@dataclass(frozen=True)
class Speaker:
    """Places of one level whose kernels stand for a segment.

    Attributes:
        segment: index of the segment.
        level: of the pyramid.
        kind: "thing" or "stuff": whose kernel maps.
        cells: (P,) row-major.
        weights: (P,) with sum one.
    """

    segment: int
    level: int
    kind: str
    cells: Tensor
    weights: Tensor


class PanopticDepthCriterion(PerImageCriterion[PanopticDepthConfig, PanopticDepthLosses]):
    """Losses of a batch. From images without labels only dense depth is learnt (variant A): depth by instance needs to
    know the instances."""

    def _image(self, outputs: Mapping[str, Tensor], target: Targets) -> dict[str, Tensor]:
        terms = {}
        own = {name: tensor[0] for name, tensor in outputs.items()}
        if target.labelled:
            levels = level_targets(target, self.config.thing_classes, self.config.num_classes)
            speakers = self._speakers(own, target, levels)
            terms["position"] = self._positions(own, levels)
            terms["segmentation"] = self._masks(own, target, speakers)
            if self.config.depth == INSTANCE:
                terms |= self._instance_depth(own, target, speakers)
        if self.config.depth == DENSE:
            usable = target.depth_m.isfinite()
            if usable.any():
                predicted = _on(own["depth_embedding"][None], target.depth_m.shape)[0, 0].sigmoid()
                terms["depth"] = self._loss(predicted[usable], target.depth_m[usable])
        return terms

    def _positions(self, own: Mapping[str, Tensor], levels: Mapping[int, LevelTargets]) -> Tensor:
        first, losses = len(self.config.thing_classes), []
        things = max(1, sum(len(wanted.things) for wanted in levels.values()))
        for level, wanted in levels.items():
            maps = own[f"positions_{level}"]
            losses.append(position_loss(maps[:first], wanted.centres, wanted.known) / things)
            losses.append(position_loss(maps[first:], wanted.regions, wanted.known) / wanted.known.numel())
        return torch.stack(losses).sum()

    def _speakers(
        self, own: Mapping[str, Tensor], target: Targets, levels: Mapping[int, LevelTargets]
    ) -> list[Speaker]:
        """The places whose kernels stand for each segment, on each level that it belongs to."""
        things = {class_id: i for i, class_id in enumerate(self.config.thing_classes)}
        found = []
        for level, wanted in levels.items():
            scores = own[f"positions_{level}"].detach().sigmoid().flatten(1)
            inside = wanted.inside.flatten(1)
            for k, place in zip(wanted.things.tolist(), wanted.places, strict=True):
                candidates = (inside[k] > LEAST_SHARE).nonzero()[:, 0]
                if not len(candidates):
                    candidates = place[None]
                score = scores[things[int(target.classes[k])]][candidates].clamp(min=1e-6)
                best, order = score.topk(min(POSITIONS, len(score)))
                found.append(Speaker(k, level, "thing", candidates[order], best / best.sum()))
            for k, class_id in enumerate(target.classes.tolist()):
                cells = (inside[k] >= 0.5).nonzero()[:, 0]
                if class_id not in things and len(cells):
                    found.append(Speaker(k, level, "stuff", cells, scores.new_full((len(cells),), 1 / len(cells))))
        return found

    def _masks(self, own: Mapping[str, Tensor], target: Targets, speakers: Sequence[Speaker]) -> Tensor:
        """Dice of each segment on each of its levels: things by each of their places, weighted, stuff by the mean."""
        embedding = own["mask_embedding"]
        kernels, segments, weights = [embedding.new_zeros((0, len(embedding)))], [], []
        for speaker in speakers:
            maps = own[f"{speaker.kind}_kernels_{speaker.level}"].flatten(1)[:, speaker.cells].T
            if speaker.kind == "stuff":
                maps = speaker.weights[None] @ maps
            kernels.append(maps)
            segments += [speaker.segment] * len(maps)
            weights.append(speaker.weights if speaker.kind == "thing" else speaker.weights.new_ones(1))
        if not segments:
            return embedding.sum() * 0
        logits = (torch.cat(kernels) @ embedding.flatten(1)).unflatten(1, embedding.shape[1:])
        valid = (target.valid.float() / FULL).flatten()
        t = (target.masks.float() / FULL)[segments].flatten(1)  # void pixels belong to no mask
        p = _on(logits[None], target.valid.shape)[0].flatten(1).sigmoid() * valid
        dice = 1 - 2 * (p * t).sum(1) / (p.square().sum(1) + t.square().sum(1) + 1e-4)
        return (torch.cat(weights) * dice).sum() / len(speakers)

    def _instance_depth(
        self, own: Mapping[str, Tensor], target: Targets, speakers: Sequence[Speaker]
    ) -> dict[str, Tensor]:
        """Eq. 8 and 9. A segment's depth kernel is the mean over its places on all levels, as when it is predicted."""
        embedding = own["depth_embedding"]
        count = len(target.classes)
        sums, weights = embedding.new_zeros((count, len(embedding) + DEPTH_NUMBERS)), embedding.new_zeros(count)
        for speaker in speakers:
            maps = own[f"depth_kernels_{speaker.level}"].flatten(1)[:, speaker.cells]
            share = speaker.weights * (len(speaker.cells) if speaker.kind == "stuff" else 1)
            sums = sums.index_add(0, torch.tensor([speaker.segment], device=sums.device), (maps @ share)[None])
            weights[speaker.segment] += share.sum()
        spoken = weights > 0
        usable = target.depth_m.isfinite() & (target.segment >= 0)
        usable &= spoken[target.segment.clamp(min=0)] if count else False
        if not usable.any():
            return {"depth": embedding.sum() * 0}
        kernels = sums / weights.clamp(min=1e-6)[:, None]
        logits = (kernels[:, :-DEPTH_NUMBERS] @ embedding.flatten(1)).unflatten(1, embedding.shape[1:])
        segment = target.segment[usable]
        normalised = _on(logits[None], target.depth_m.shape)[0].sigmoid()[:, usable].gather(0, segment[None])[0]
        shift, extent = kernels[:, -DEPTH_NUMBERS:].sigmoid().unbind(1)
        how, depth = self.config.depth_normalisation, target.depth_m[usable]
        predicted = normalised
        if how:
            centred = normalised - 0.5 if how == "T2" else normalised
            predicted = extent[segment] * centred + shift[segment]
        terms = {"depth": self._loss(predicted, depth)}
        if how and self.weights.instance_depth:
            there = segment.unique()
            kind = "mean" if how == "T2" else "amin"
            true = depth.new_zeros(count).scatter_reduce(0, segment, depth, kind, include_self=False)
            loss = self._loss(shift[there], true[there])
            terms["instance_depth"] = self.weights.depth * loss
        return terms

    def _loss(self, depth: Tensor, target_m: Tensor) -> Tensor:
        return depth_loss(depth.clamp(min=LEAST_DEPTH) * self.config.max_depth_m, target_m)


def kept_values(config: PanopticDepthConfig, weights: PanopticDepthLosses, cells: int) -> int:
    """Float32 numbers of an image that the losses keep, with so many cells of stride 4: six copies of the masks that
    each place of each segment gives, on one to two levels, and of the depth."""
    return 6 * SEGMENTS * (POSITIONS + 1) * cells


def position_loss(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Focal loss (alpha 0.25, gamma 2) of soft targets, summed: cross entropy with the target, times the square of how
    far the probability is from it in the mean over both outcomes.

    Args:
        logits: (C, h, w).
        wanted: (C, h, w) in 0..1.
        known: (h, w) weight in 0..1.
    """
    p = logits.sigmoid()
    off = p * (1 - wanted) + (1 - p) * wanted
    balance = ALPHA * wanted + (1 - ALPHA) * (1 - wanted)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (balance * off**GAMMA * entropy * known).sum()


def depth_loss(depth: Tensor, target: Tensor) -> Tensor:
    """Eq. 6 over flat vectors (P,), metres: variance of log(d / d*) and root of the mean squared relative error."""
    variance = (depth.log() - target.log()).var(correction=0)
    return variance + ((depth - target) / target).square().mean().clamp(min=1e-12).sqrt()


def _on(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) on another grid of the same image, bilinear."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)

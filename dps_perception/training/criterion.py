"""EfficientDPS' training objective: match every group, then Eq. 6 over the matched queries, groups averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..labels import VOID_CLASS_ID
from ..models.efficientdps_config import EfficientDPSConfig
from ..models.plain_fusion import query_scores
from . import guidance
from .losses import depth_from_logits, depth_loss, focal_loss, mask_losses, semantic_loss
from .matching import match
from .targets import SEGMENTS, STRIDE, Targets

_CELL = float(STRIDE * STRIDE)
CONFIDENT = 0.2
"""Queries from this score on speak in the depth of images without labels, as in `FusionThresholds`."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eq. 6; the depth term carries its own (Eq. 7).

    Attributes:
        classification, bce, dice, depth: the paper's lambdas.
        backup_depth: Eq. 7 on the backup depth query (ours).
        semantic: training-only dense classifier (ours).
        focus: keeps the activation map of a matched query on its target (ours, 0 in the paper): a query whose
            activation is spread over the image can't tell its thing from the others.
        boundary_triplet: see `guidance.boundary_triplet` (0 in the paper).
        depth_continuity: see `guidance.depth_continuity` (0 in the paper).
        points: cells per image that mask and depth losses look at, chosen anew in each step; 0 for all (paper). A
            few thousand save most of the losses' time.
        balance: share of the mask losses' points that is spread evenly over the segments, so that small ones are seen
            (ours, 0 in the paper); the others fall anywhere.
    """

    classification: float = 2.0
    bce: float = 5.0
    dice: float = 2.0
    depth: float = 1.0
    backup_depth: float = 0.5
    semantic: float = 1.0
    focus: float = 0.0
    boundary_triplet: float = 0.0
    depth_continuity: float = 0.0
    points: int = 0
    balance: float = 0.0


class Criterion:
    """Losses of a batch; `weights` scale the terms. Points are chosen with torch's own generator on the CPU.

    `lap` is called with "matching" once the queries are matched (for a clock).
    """

    def __init__(self, config: EfficientDPSConfig, weights: LossWeights) -> None:
        self.config, self.weights = config, weights
        self.lap: Callable[[str], None] = lambda stage: None

    def __call__(self, outputs: Mapping[str, Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Weighted loss terms by name; their sum is the objective.

        Args:
            outputs: of `EfficientDPS.forward` in training, B images.
            targets: B targets on the same device.
        """
        groups = self.config.num_groups
        class_logits, mask_logits = outputs["class_logits"], outputs["mask_logits"]
        # Shares of the pixels that are not void: those alone say what a cell shows, and weigh it in the losses.
        masks = [t.masks / t.valid.clamp(min=1) for t in targets]
        coarse = [F.avg_pool2d(m[None], 2)[0] if len(m) else m.new_zeros((0, *mask_logits.shape[-2:])) for m in masks]
        matched = match(class_logits, mask_logits, [t.classes for t in targets], coarse, groups)
        self.lap("matching")

        one_hot = torch.zeros_like(class_logits, dtype=torch.float32)
        for b, (query, target) in enumerate(matched):
            one_hot[b, query, targets[b].classes[target]] = 1
        count = _mean_over_processes(one_hot.sum())
        labelled = [b for b, t in enumerate(targets) if t.labelled]
        terms = {"classification": focal_loss(class_logits[labelled], one_hot[labelled], count)}

        if any(len(query) for query, _ in matched):
            logits, wanted, valid = [], [], []
            for b, (query, target) in enumerate(matched):
                if not len(query):
                    continue
                cells = self._mask_points(masks[b])
                logits.append(sample(mask_logits[b, query], cells, targets[b].valid.shape).flatten())
                wanted.append(masks[b].flatten(1)[:, cells][target].flatten())
                valid.append((targets[b].valid.flatten()[cells].float() / _CELL).expand(len(query), -1).flatten())
            flat = (torch.cat(x).unflatten(0, (-1, len(cells))) for x in (logits, wanted, valid))
            terms["bce"], terms["dice"] = mask_losses(*flat)
        else:
            terms["bce"] = terms["dice"] = mask_logits.sum() * 0
        if self.weights.focus:
            terms["focus"] = _focus(outputs["activation"], coarse, matched)
        if "depth_logits" in outputs:
            terms["depth"] = self._depth(outputs, targets, matched)
        if "backup_depth_logits" in outputs:
            terms["backup_depth"] = self._dense_depth(outputs["backup_depth_logits"], targets)
        if "semantic_logits" in outputs:
            centre = torch.stack([t.semantic for t in targets])[:, 1::2, 1::2]
            terms["semantic"] = semantic_loss(outputs["semantic_logits"], centre, VOID_CLASS_ID)
        if self.weights.boundary_triplet:
            terms["boundary_triplet"] = guidance.over_images(
                guidance.boundary_triplet, outputs["depth_embedding"], coarse, targets
            )
        if self.weights.depth_continuity:
            terms["depth_continuity"] = guidance.over_images(
                guidance.depth_continuity, outputs["mask_embedding"], coarse, targets
            )
        return {name: getattr(self.weights, name) * value for name, value in terms.items()}

    def _mask_points(self, masks: Tensor) -> Tensor:
        """(P,) stride-4 cells that the mask losses of an image look at: (T, h, w) masks in 0..1, T at least 1."""
        cells = torch.arange(masks[0].numel(), device=masks.device)
        chosen = self._choose(cells)
        even = round(self.weights.balance * len(chosen))
        if len(chosen) == len(cells) or not even:
            return chosen
        share, owner = masks.flatten(1).max(0)
        area = owner[share > 0].bincount(minlength=len(masks)).clamp(min=1)
        weight = ((share > 0) / area[owner]).cpu()
        return torch.cat([chosen[even:], weight.multinomial(even, True).to(cells.device)])

    def _choose(self, cells: Tensor) -> Tensor:
        """All of `cells`, or a fresh random choice of `weights.points` of them."""
        if not 0 < self.weights.points < len(cells):
            return cells
        order = torch.randperm(len(cells))  # on the CPU, so that every device draws the same
        return cells[order[: self.weights.points].to(cells.device)]

    def _depth(
        self, outputs: Mapping[str, Tensor], targets: Sequence[Targets], matched: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Eq. 7 per image and group, all matched instances of an image flattened into one vector."""
        depth_logits = outputs["depth_logits"]
        if not self.config.query_wise_depth:
            return self._dense_depth(depth_logits, targets)
        losses = []
        for b, (query, _) in enumerate(matched):
            depth, segment = targets[b].depth_m.flatten(), targets[b].segment.flatten()
            usable = depth.isfinite() & (segment >= 0) if targets[b].labelled else depth.isfinite()
            cells = self._choose(usable.nonzero()[:, 0])
            if not len(cells):
                continue
            size = targets[b].depth_m.shape
            if targets[b].labelled:
                # `match` orders by group, then target, so the rows are (G, T); each cell reads its own target's depth.
                rows = query.unflatten(0, (self.config.num_groups, -1))[:, segment[cells]]
                index, weight = taps(cells, size, depth_logits.shape[-2:])
                own = (depth_logits[b].flatten(1)[rows[:, None], index].float() * weight).sum(1)
                estimates = depth_from_logits(own, self.config.max_depth_m)
            else:
                estimates = self._fused_depth(outputs, b, cells, size)
            losses += [depth_loss(d, depth[cells]) for d in estimates]
        return torch.stack(losses).mean() if losses else depth_logits.sum() * 0

    def _fused_depth(self, outputs: Mapping[str, Tensor], b: int, cells: Tensor, size: Sequence[int]) -> Tensor:
        """Eq. 4 as inference has it, for images without labels: each group's confident queries, weighted by their
        masks (which don't learn from it), and the backup query. (groups with a say, P) metres."""
        scores = query_scores(outputs["class_logits"][b].float(), outputs["mask_logits"][b].float())[0]
        kept = (scores >= CONFIDENT).unflatten(0, (self.config.num_groups, -1))
        depths = []
        for group, own in enumerate(kept):
            query = own.nonzero()[:, 0] + group * kept.shape[1]
            masks = sample(outputs["mask_logits"][b, query].detach(), cells, size)
            depth = depth_from_logits(sample(outputs["depth_logits"][b, query], cells, size), self.config.max_depth_m)
            if "backup_depth_logits" in outputs:
                backup = sample(outputs["backup_depth_logits"][b], cells, size)
                depth = torch.cat([depth, depth_from_logits(backup, self.config.max_depth_m)])
                masks = torch.cat([masks, masks.new_zeros((1, len(cells)))])
            if len(depth):
                depths.append((masks.softmax(0) * depth).sum(0))
        return torch.stack(depths) if depths else masks.new_zeros((0, len(cells)))

    def _dense_depth(self, logits: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Eq. 7 on one depth map for the whole image, (B, 1, h, w)."""
        losses = []
        for b, target in enumerate(targets):
            depth = target.depth_m.flatten()
            cells = self._choose(depth.isfinite().nonzero()[:, 0])
            if len(cells):
                own = sample(logits[b], cells, target.depth_m.shape)[0]
                losses.append(depth_loss(depth_from_logits(own, self.config.max_depth_m), depth[cells]))
        return torch.stack(losses).mean() if losses else logits.sum() * 0


def kept_values(config: EfficientDPSConfig, weights: LossWeights, cells: int) -> int:
    """Float32 numbers of an image that the losses keep, with so many cells of stride 4: eight copies of what the
    matched queries say at the points that are looked at."""
    return 8 * config.num_groups * min(SEGMENTS, config.num_queries) * (min(weights.points, cells) or cells)


def taps(cells: Tensor, grid: Sequence[int], source: Sequence[int]) -> tuple[Tensor, Tensor]:
    """What bilinear interpolation reads at the centres of grid cells.

    Args:
        cells: (P,) row-major indices into a grid of size `grid` (H, W).
        source: (h, w), size of the map that is read; both cover the same image (half-pixel centres).

    Returns:
        (4, P) int64 row-major indices into the source, and their (4, P) float32 weights, summing to one.
    """
    along = []
    for position, n, m in zip(
        (torch.div(cells, grid[1], rounding_mode="floor"), cells % grid[1]), grid, source, strict=True
    ):
        place = ((position + 0.5) * (m / n) - 0.5).clamp(0, m - 1)
        low = place.floor()
        along.append((low.long(), (low.long() + 1).clamp(max=m - 1), place - low))
    (top, bottom, fy), (left, right, fx) = along
    index = torch.stack([y * source[1] + x for y in (top, bottom) for x in (left, right)])
    return index, torch.stack([wy * wx for wy in (1 - fy, fy) for wx in (1 - fx, fx)])


def sample(logits: Tensor, cells: Tensor, grid: Sequence[int]) -> Tensor:
    """Bilinear values of (M, h, w) logits at the centres of cells of a (H, W) grid (see `taps`): (M, P) float32."""
    index, weight = taps(cells, grid, logits.shape[-2:])
    return (logits.float().flatten(1).index_select(1, index.flatten()).unflatten(1, (4, -1)) * weight).sum(1)


def _focus(activation: Tensor, masks: Sequence[Tensor], matched: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean of -log of the share of a matched query's activation that lies inside its target.

    Args:
        activation: (B, Q, h, w), each map with sum one.
        masks: per image (T, h, w) in 0..1.
        matched: per image queries and targets.
    """
    inside = [
        (activation[b, query].float() * masks[b][target]).sum((1, 2)) for b, (query, target) in enumerate(matched)
    ]
    share = torch.cat(inside)
    return -share.clamp(min=1e-6).log().mean() if len(share) else activation.sum() * 0


def _mean_over_processes(count: Tensor) -> float:
    """The number of matched targets averaged over processes, at least 1."""
    if dist.is_available() and dist.is_initialized():
        count = count.clone()
        dist.all_reduce(count)
        count /= dist.get_world_size()
    return max(1.0, float(count))

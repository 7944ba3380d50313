"""EfficientDPS' training objective: match every group, then Eq. 6 over the matched queries, groups averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..labels import VOID_CLASS_ID
from ..models.config import EfficientDPSConfig
from .losses import depth_from_logits, depth_loss, focal_loss, mask_losses, semantic_loss
from .matching import match
from .targets import STRIDE, Targets

_CELL = float(STRIDE * STRIDE)


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eq. 6; the depth term carries its own (Eq. 7).

    Attributes:
        classification, bce, dice, depth: the paper's lambdas.
        backup_depth: Eq. 7 on the backup depth query (ours).
        semantic: training-only dense classifier (ours).
        focus: keeps the activation map of a matched query on its target (ours, 0 in the paper): a query whose
            activation is spread over the image can't tell its thing from the others.
        points: stride-4 cells per image that mask and depth losses look at, chosen anew in each step; 0 for all
            (paper). A few thousand save most of the losses' time.
    """

    classification: float = 2.0
    bce: float = 5.0
    dice: float = 2.0
    depth: float = 1.0
    backup_depth: float = 0.5
    semantic: float = 1.0
    focus: float = 0.0
    points: int = 0


class Criterion:
    """Losses of a batch. Stateless; `weights` scale the terms."""

    def __init__(self, config: EfficientDPSConfig, weights: LossWeights) -> None:
        self.config, self.weights = config, weights

    def __call__(self, outputs: Mapping[str, Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Weighted loss terms by name; their sum is the objective.

        Args:
            outputs: of `EfficientDPS.forward` in training, B images.
            targets: B targets on the same device.
        """
        groups = self.config.num_groups
        class_logits, mask_logits = outputs["class_logits"], outputs["mask_logits"]
        masks = [t.masks.float() / _CELL for t in targets]
        coarse = [F.avg_pool2d(m[None], 2)[0] if len(m) else m.new_zeros((0, *mask_logits.shape[-2:])) for m in masks]
        matched = match(class_logits, mask_logits, [t.classes for t in targets], coarse, groups)

        one_hot = torch.zeros_like(class_logits, dtype=torch.float32)
        for b, (query, target) in enumerate(matched):
            one_hot[b, query, targets[b].classes[target]] = 1
        count = _mean_over_processes(one_hot.sum())
        terms = {"classification": focal_loss(class_logits, one_hot, count)}

        points = [self._points(t) for t in targets]
        if any(len(query) for query, _ in matched):
            logits, wanted, valid = [], [], []
            for b, (query, target) in enumerate(matched):
                logits.append(sample(mask_logits[b, query], points[b]).flatten())
                wanted.append(masks[b].flatten(1)[:, points[b]][target].flatten())
                valid.append((targets[b].valid.flatten()[points[b]].float() / _CELL).expand(len(query), -1).flatten())
            flat = (torch.cat(x).unflatten(0, (-1, len(points[0]))) for x in (logits, wanted, valid))
            terms["bce"], terms["dice"] = mask_losses(*flat)
        else:
            terms["bce"] = terms["dice"] = mask_logits.sum() * 0
        if self.weights.focus:
            terms["focus"] = _focus(outputs["activation"], coarse, matched)
        if "depth_logits" in outputs:
            terms["depth"] = self._depth(outputs["depth_logits"], targets, matched, points)
        if "backup_depth_logits" in outputs:
            terms["backup_depth"] = self._dense_depth(outputs["backup_depth_logits"], targets, points)
        if "semantic_logits" in outputs:
            centre = torch.stack([t.semantic for t in targets])[:, 1::2, 1::2]
            terms["semantic"] = semantic_loss(outputs["semantic_logits"], centre, VOID_CLASS_ID)
        return {name: getattr(self.weights, name) * value for name, value in terms.items()}

    def _points(self, targets: Targets) -> Tensor:
        """(P,) int64 indices of the stride-4 cells that the losses look at: all, or a fresh random choice."""
        cells, device = targets.valid.numel(), targets.valid.device
        if not 0 < self.weights.points < cells:
            return torch.arange(cells, device=device)
        return torch.randperm(cells, device=device)[: self.weights.points]

    def _depth(
        self,
        depth_logits: Tensor,
        targets: Sequence[Targets],
        matched: Sequence[tuple[Tensor, Tensor]],
        points: Sequence[Tensor],
    ) -> Tensor:
        """Eq. 7 per image and group, all matched instances of an image flattened into one vector."""
        if not self.config.query_wise_depth:
            return self._dense_depth(depth_logits, targets, points)
        losses = []
        for b, (query, _) in enumerate(matched):
            depth, segment = (x.flatten()[points[b]] for x in (targets[b].depth_m, targets[b].segment))
            known = depth.isfinite() & (segment >= 0)
            if not known.any():
                continue
            # `match` orders by group, then target, so the rows are (G, T); each cell reads its own target's depth.
            rows = sample(depth_logits[b, query], points[b][known]).unflatten(0, (self.config.num_groups, -1))
            own = rows.gather(1, segment[known].expand(self.config.num_groups, 1, -1))[:, 0]
            losses += [depth_loss(d, depth[known]) for d in depth_from_logits(own, self.config.max_depth_m)]
        return torch.stack(losses).mean() if losses else depth_logits.sum() * 0

    def _dense_depth(self, logits: Tensor, targets: Sequence[Targets], points: Sequence[Tensor]) -> Tensor:
        """Eq. 7 on one depth map for the whole image, (B, 1, h, w)."""
        losses = []
        for b, target in enumerate(targets):
            depth = target.depth_m.flatten()[points[b]]
            known = depth.isfinite()
            if known.any():
                own = sample(logits[b], points[b][known])[0]
                losses.append(depth_loss(depth_from_logits(own, self.config.max_depth_m), depth[known]))
        return torch.stack(losses).mean() if losses else logits.sum() * 0


def sample(logits: Tensor, cells: Tensor) -> Tensor:
    """Bilinear values of (M, h, w) stride-8 logits at the centres of stride-4 cells.

    Args:
        logits: (M, h, w).
        cells: (P,) row-major indices into the (2h, 2w) grid of stride-4 cells.

    Returns:
        (M, P) float32, what upsampling by two (half-pixel centres) would hold at those cells.
    """
    height, width = logits.shape[-2:]
    y, x = torch.div(cells, 2 * width, rounding_mode="floor"), cells % (2 * width)
    grid = torch.stack([(x + 0.5) / width - 1, (y + 0.5) / height - 1], -1)
    options = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
    return F.grid_sample(logits.float()[None], grid.float()[None, None], **options)[0, :, 0]  # type: ignore[arg-type]


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

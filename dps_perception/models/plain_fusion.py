"""Fusion in plain PyTorch, every mask upsampled: slow, on any device, and what the kernels are held against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.dense import Dense
from ..kernels.own_depth import LEAST
from ..types import OutputGrid


def dense(
    masks: Tensor,
    depths: Tensor | None,
    backup: Tensor | None,
    queries: Tensor,
    grid: OutputGrid,
    stride: int,
    threshold: float,
    *,
    depth_by_query: bool,
) -> Dense[Tensor]:
    """Best query, its probability and the mixed depth of each pixel.

    Args:
        masks: (N, h, w) mask logits.
        depths: (N, h, w) depth logits of the queries, (1, h, w) of the whole image, or None.
        backup: (1, h, w) depth logits that join the softmax with mask logit 0, or None.
        queries: (K,) those of the N that take part, K > 0.
        grid: of the output.
        stride: network input pixels per tensor pixel.
        threshold: mask probability below which a pixel has no owner.
        depth_by_query: what `depths` is.
    """
    logits = upsample(masks[queries], grid, stride)
    best, owner = logits.max(0)
    probability = best.sigmoid()
    owner = torch.where(probability >= threshold, owner, len(queries))
    owned = owner.flatten().bincount(minlength=len(queries) + 1)[: len(queries)]
    depth = None
    if depths is not None and not depth_by_query:
        depth = upsample(depths, grid, stride).sigmoid()[0]
    elif depths is not None:
        parts, weights = upsample(depths[queries], grid, stride).sigmoid_(), logits
        if backup is not None:
            parts = torch.cat([parts, upsample(backup, grid, stride).sigmoid_()])
            weights = torch.cat([logits, torch.zeros_like(logits[:1])])
        depth = (weights.softmax(0) * parts).sum(0)
    return Dense(owner, probability, depth, owned, (logits > 0).flatten(1).sum(1))


def own_depth(owner: Tensor, logits: Tensor, factor: Tensor, shift: Tensor, grid: OutputGrid, stride: int) -> Tensor:
    """factor * sigmoid(logits of the owner, bilinear) + shift, at least `LEAST`; NaN where nobody owns the pixel.

    Args:
        owner: (H, W) number of the owner; K and above is nobody.
        logits: (K, h, w).
        factor, shift: (K,).
        grid: of the output.
        stride: network input pixels per tensor pixel.
    """
    nobody = owner >= len(logits)
    own = owner.long().clamp(max=len(logits) - 1)
    along = []
    for points, pixels, scale in zip(logits.shape[1:], owner.shape, (grid.scale_y, grid.scale_x), strict=True):
        place = torch.arange(pixels, dtype=torch.float32, device=owner.device).add(0.5).mul(scale / stride).sub(0.5)
        low = place.clamp(0, points - 1).long()
        along.append((low, (low + 1).clamp(max=points - 1), (place.clamp(min=0) - low).clamp(0, 1)))
    (top, bottom, wy), (left, right, wx) = along
    above, below = (
        torch.lerp(logits[own, row[:, None], left], logits[own, row[:, None], right], wx) for row in (top, bottom)
    )
    depth = factor[own] * torch.lerp(above, below, wy[:, None]).sigmoid() + shift[own]
    return depth.clamp(min=LEAST).masked_fill(nobody, torch.nan)


def priority(things: Tensor, rest: Tensor, grid: OutputGrid, stride: int, threshold: float) -> Dense[Tensor]:
    """Owner of each pixel and its probability: the first thing above the threshold, else the most probable rest.

    Args:
        things: (K, h, w) mask probabilities, best thing first.
        rest: (R, h, w) probabilities, R > 0.
        grid: of the output.
        stride: network input pixels per tensor pixel.
        threshold: see above.

    Returns:
        As `kernels.priority.dense`.
    """
    number, total = len(things), len(things) + len(rest)
    probability, owner = upsample(rest, grid, stride).max(0)
    owner = owner + number
    own_mask = torch.zeros(total, dtype=torch.long, device=rest.device)
    if number:
        up = upsample(things, grid, stride)
        covers = up > threshold
        own_mask[:number] = covers.flatten(1).sum(1)
        first = covers.to(torch.uint8).argmax(0)
        owner = torch.where(covers.any(0), first, owner)
        probability = torch.where(covers.any(0), up.gather(0, first[None])[0], probability)
    owned = owner.flatten().bincount(minlength=total)
    return Dense(owner, probability, None, owned, own_mask)


def query_scores(class_logits: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score, class probability and class of each query, (N,) each: (N, C) and (N, h, w) logits.

    The score is the class probability times the mean mask probability over the mask's own pixels.
    """
    probability, class_id = class_logits.sigmoid().max(1)
    return probability * mask_quality(mask_logits), probability, class_id


def mask_quality(mask_logits: Tensor) -> Tensor:
    """Mean mask probability over each mask's own pixels (probability above one half); 0 for an empty mask. (N,)."""
    inside = (mask_logits > 0).flatten(1)
    total = (mask_logits.sigmoid().flatten(1) * inside).sum(1)
    return total / inside.sum(1).clamp(min=1)


def upsample(logits: Tensor, grid: OutputGrid, stride: int) -> Tensor:
    """(K, h, w) at network stride -> (K, H, W) on the output grid, bilinear with half-pixel centres."""
    factors = (stride / grid.scale_y, stride / grid.scale_x)
    size = [int(n * f + 1e-6) for n, f in zip(logits.shape[-2:], factors, strict=True)]
    short = (max(0, grid.height - size[0]), max(0, grid.width - size[1]))
    if any(short):  # rounding of the resized image may cost the last row or column
        logits = F.pad(logits[None], (0, int(short[1] > 0), 0, int(short[0] > 0)), mode="replicate")[0]
    up = F.interpolate(
        logits[None], scale_factor=factors, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    return up[0, :, : grid.height, : grid.width]

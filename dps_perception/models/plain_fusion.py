"""Fusion in plain PyTorch, every mask upsampled: slow, on any device, and what the kernels are held against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.dense import Dense
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


def query_scores(class_logits: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score, class probability and class of each query, (N,) each: (N, C) and (N, h, w) logits.

    The score is the class probability times the mean mask probability over the mask's own pixels.
    """
    probability, class_id = class_logits.sigmoid().max(1)
    return probability * _mask_quality(mask_logits), probability, class_id


def _mask_quality(mask_logits: Tensor) -> Tensor:
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

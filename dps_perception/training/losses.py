"""The loss terms of EfficientDPS (paper, Eq. 6 and 7), each a plain function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

RELATIVE_WEIGHT = 1.0
LOG_WEIGHT = 5.0


def focal_loss(class_logits: Tensor, targets: Tensor, num_targets: float) -> Tensor:
    """Focal loss (alpha 0.25, gamma 2) summed over all queries and classes, per target.

    Args:
        class_logits: (B, Q, C).
        targets: (B, Q, C) in {0, 1}.
        num_targets: normaliser, at least 1.
    """
    total = sigmoid_focal_loss(class_logits.float(), targets.float(), alpha=0.25, gamma=2.0, reduction="sum")
    return total / num_targets


def mask_losses(logits: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy (mean over masks and valid pixels) and dice loss (mean over masks).

    Args:
        logits: (M, P).
        targets: (M, P) in 0..1.
        valid: (M, P) weight in 0..1, 0 on void.
    """
    bce = F.binary_cross_entropy_with_logits(logits, targets, weight=valid, reduction="sum") / valid.sum().clamp(min=1)
    p, t = logits.sigmoid() * valid, targets * valid
    energy = p.square().sum(1) + t.square().sum(1)
    return bce, (1 - 2 * (p * t).sum(1) / (energy + 1e-4)).mean()


def depth_loss(depth: Tensor, target: Tensor) -> Tensor:
    """Eq. 7 over one flat vector of depths (P,): 5 * var(log d/d*) + sqrt(mean((1 - d/d*)^2)), biased variance."""
    ratio = depth / target
    variance = ratio.log().var(correction=0)
    relative = (1 - ratio).square().mean().clamp(min=1e-12).sqrt()
    return LOG_WEIGHT * variance + RELATIVE_WEIGHT * relative


def semantic_loss(logits: Tensor, target: Tensor, ignore: int) -> Tensor:
    """Cross-entropy of the training-only dense classifier: (B, C, h, w) and (B, h, w); 0 where all is void."""
    if (target == ignore).all():
        return logits.sum() * 0
    return F.cross_entropy(logits.float(), target, ignore_index=ignore)


def depth_from_logits(logits: Tensor, max_depth_m: float) -> Tensor:
    """Eq. 3: sigmoid * D_max, kept off zero so that its logarithm exists."""
    return torch.sigmoid(logits.float()).clamp(min=1e-5) * max_depth_m

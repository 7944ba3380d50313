"""Bipartite matching of each query group with the targets (paper, Section III-D, Eq. 5)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

CLASS_EXPONENT = 0.2


def dice(masks: Tensor, targets: Tensor) -> Tensor:
    """Dice of every pair: (Q, P) probabilities and (T, P) masks -> (Q, T).

    dice = 2 sum(p t) / (sum(p^2) + sum(t^2) + 1e-4).
    """
    energy = masks.square().sum(1)[:, None] + targets.square().sum(1)[None]
    return 2 * (masks @ targets.T) / (energy + 1e-4)


def matching_score(class_probability: Tensor, dice_score: Tensor) -> Tensor:
    """Eq. 5: P^alpha * dice^(1 - alpha), alpha = 0.2 on the class term. Shapes agree."""
    return class_probability.pow(CLASS_EXPONENT) * dice_score.pow(1 - CLASS_EXPONENT)


@torch.no_grad()
def match(
    class_logits: Tensor, mask_logits: Tensor, classes: list[Tensor], masks: list[Tensor], groups: int
) -> list[tuple[Tensor, Tensor]]:
    """Match each group of each image with all its targets.

    Args:
        class_logits: (B, G * N, C).
        mask_logits: (B, G * N, h, w).
        classes: per image (T,) int64.
        masks: per image (T, h, w) in 0..1.
        groups: G.

    Returns:
        Per image `query` and `target`, both (M,) int64 on the logits' device: query `query[i]` (counted over all
        groups) is matched with target `target[i]`; ordered by group, then by target.
    """
    scores = []
    for b, (target_class, target_mask) in enumerate(zip(classes, masks, strict=True)):
        probability = class_logits[b].float().sigmoid()[:, target_class]
        overlap = dice(mask_logits[b].float().sigmoid().flatten(1), target_mask.flatten(1))
        scores.append(matching_score(probability, overlap).flatten())
    flat = torch.cat(scores).cpu().numpy()  # one transfer for all images and groups
    per_group = class_logits.shape[1] // groups
    matched, start = [], 0
    for target_class in classes:
        count = len(target_class)
        score = flat[start : start + groups * per_group * count].reshape(groups, per_group, count)
        start += score.size
        rows, columns = [], []
        for g in range(groups):
            row, column = linear_sum_assignment(score[g], maximize=True)
            order = np.argsort(column)
            rows.append(row[order] + g * per_group)
            columns.append(column[order])
        pair = [torch.as_tensor(np.concatenate(x), dtype=torch.int64) for x in (rows, columns)]
        matched.append((pair[0].to(class_logits.device), pair[1].to(class_logits.device)))
    return matched

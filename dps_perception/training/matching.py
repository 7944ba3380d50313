"""Bipartite matching of each query group with the targets (paper, Section III-D, Eq. 5)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

CLASS_EXPONENT = 0.2


def dice(masks: Tensor, targets: Tensor) -> Tensor:
    """Dice of every pair: (..., Q, P) probabilities and (..., T, P) masks -> (..., Q, T).

    dice = 2 sum(p t) / (sum(p^2) + sum(t^2) + 1e-4).
    """
    energy = masks.square().sum(-1)[..., None] + targets.square().sum(-1)[..., None, :]
    return 2 * (masks @ targets.transpose(-1, -2)) / (energy + 1e-4)


def matching_score(class_probability: Tensor, dice_score: Tensor) -> Tensor:
    """Eq. 5: P^alpha * dice^(1 - alpha), alpha = 0.2 on the class term. Shapes agree."""
    return class_probability.pow(CLASS_EXPONENT) * dice_score.pow(1 - CLASS_EXPONENT)


@torch.no_grad()
def match(
    class_logits: Tensor, mask_logits: Tensor, classes: list[Tensor], masks: list[Tensor], groups: int
) -> list[tuple[Tensor, Tensor]]:
    """Match each group of each image with all its targets.

    Scores of all images and groups are computed on the device in one go and fetched in one transfer; the assignment
    runs on the CPU; its result goes back in one transfer.

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
    scores = _scores(class_logits, mask_logits, classes, masks).unflatten(1, (groups, -1)).cpu().numpy()
    per_group = scores.shape[2]
    pairs = []
    for score, target_class in zip(scores, classes, strict=True):
        rows, columns = [], []
        for g in range(groups):
            row, column = linear_sum_assignment(score[g, :, : len(target_class)], maximize=True)
            order = np.argsort(column)
            rows.append(row[order] + g * per_group)
            columns.append(column[order])
        pairs.append(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    joined = torch.from_numpy(np.concatenate(pairs, axis=1).astype(np.int64)).to(class_logits.device)
    return [(part[0], part[1]) for part in joined.split([pair.shape[1] for pair in pairs], dim=1)]


def _scores(class_logits: Tensor, mask_logits: Tensor, classes: list[Tensor], masks: list[Tensor]) -> Tensor:
    """(B, Q, T) scores of every pair, T that of the image with the most targets; finite, whatever the network says.

    A network that has diverged to NaN is the objective's to report, not the assignment's.
    """
    wanted = pad_sequence(classes, batch_first=True)
    probability = class_logits.float().sigmoid().gather(2, wanted[:, None].expand(-1, class_logits.shape[1], -1))
    overlap = dice(mask_logits.float().sigmoid().flatten(2), pad_sequence(masks, batch_first=True).flatten(2))
    return matching_score(probability, overlap).nan_to_num()

"""Training-only terms with which segments and depth guide each other's features (ours; off in the paper's recipe).

After the two directions of DeepDPS (He et al., ICCV 2023, arXiv 2307.14786): segments sharpen depth features at
boundaries, continuous depth smooths the features that masks are read from. Neither costs anything at inference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .targets import Targets

WINDOW = 5
MIN_PIXELS = 4
MAX_ANCHORS = 1024
MARGIN = 0.3
CONTINUITY = 10.0
"""Falls off with the step in log depth: a step of 10 % weighs 1/e."""


def over_images(
    term: Callable[[Tensor, Tensor, Tensor], Tensor],
    features: Tensor,
    masks: Sequence[Tensor],
    targets: Sequence[Targets],
) -> Tensor:
    """Mean of a term over the labelled images of a batch; 0 (with a gradient) where there is none.

    Args:
        term: one of this module's.
        features: (B, C, h, w).
        masks: per image (T, h, w) in 0..1 on the features' grid.
        targets: of the images; their depth is read at the centres of the features' cells.
    """
    values = []
    for feature, mask, target in zip(features, masks, targets, strict=True):
        if not len(mask):
            continue
        share, segment = mask.max(0)
        segment = torch.where(share > 0.5, segment, -1)
        height, width = (n // m for n, m in zip(target.depth_m.shape, segment.shape, strict=True))
        depth = target.depth_m[height // 2 :: height, width // 2 :: width]
        values.append(term(F.normalize(feature.float(), dim=0), segment, depth))
    return torch.stack(values).mean() if values else features.sum() * 0


def boundary_triplet(features: Tensor, segment: Tensor, _depth: Tensor) -> Tensor:
    """Features of depth differ across segment boundaries (Jung et al., ICCV 2021, arXiv 2108.08829, Section 3.3).

    Around each anchor near a boundary (at least 4 cells of its own segment and 4 of others within 5x5):
    max(0, mean squared distance to its own segment's features - that to the others' + 0.3), anchors averaged.

    Args:
        features: (C, h, w), unit length along C.
        segment: (h, w) int64, -1 void.
    """
    pad = WINDOW // 2
    padded = F.pad(segment, (pad, pad, pad, pad), value=-1)
    around = padded.unfold(0, WINDOW, 1).unfold(1, WINDOW, 1).flatten(2)
    same = around == segment[..., None]
    other = ~same & (around >= 0)
    anchors = (segment >= 0) & (same.sum(2) >= MIN_PIXELS) & (other.sum(2) >= MIN_PIXELS)
    rows, columns = anchors.nonzero(as_tuple=True)
    if not len(rows):
        return features.sum() * 0
    step = -(-len(rows) // MAX_ANCHORS)
    rows, columns = rows[::step], columns[::step]
    offset = torch.arange(WINDOW, device=rows.device) - pad
    y = (rows[:, None] + offset.repeat_interleave(WINDOW)).clamp(0, segment.shape[0] - 1)
    x = (columns[:, None] + offset.repeat(WINDOW)).clamp(0, segment.shape[1] - 1)
    distance = 2 - 2 * (features[:, y, x] * features[:, rows, columns][..., None]).sum(0)
    near, far = ((distance * chosen[rows, columns]).sum(1) / chosen[rows, columns].sum(1) for chosen in (same, other))
    return (near - far + MARGIN).clamp(min=0).mean()


def depth_continuity(features: Tensor, segment: Tensor, depth: Tensor) -> Tensor:
    """Features of masks are smooth where a segment's depth is.

    Mean over neighbouring cells of one segment, along x and y, of |difference of features| * exp(-10 |difference of
    log depth|), the former averaged over channels.

    Args:
        features: (C, h, w), unit length along C.
        segment: (h, w) int64, -1 void.
        depth: (h, w) metres, NaN unknown.
    """
    total, count = features.sum() * 0, 0
    for f, s, d in ((features, segment, depth), (features.mT, segment.T, depth.T)):
        step = (d[:, 1:].log() - d[:, :-1].log()).abs()
        together = (s[:, 1:] == s[:, :-1]) & (s[:, 1:] >= 0) & step.isfinite()
        change = (f[:, :, 1:] - f[:, :, :-1]).abs().mean(0)
        # Chosen first: a product with a NaN step would give a NaN gradient even where it is left out of the sum.
        total = total + (change[together] * torch.exp(-CONTINUITY * step[together])).sum()
        count += int(together.sum())
    return total / max(1, count)

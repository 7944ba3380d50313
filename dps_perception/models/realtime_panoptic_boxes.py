"""From Real-Time Panoptic's tensors to boxes: one at each place of each level, and the query boxes that NMS leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms, nms

from .realtime_panoptic_config import STRIDES, RealtimePanopticConfig

PLACE_STRIDE = 4
"""Of the grid of places that have a box each."""
CLASS_SCORE, PER_LEVEL = 0.06, 1000
SAME_CLASS, ANY_CLASS, MOST = 0.6, 0.97, 100
"""Boxes with a larger IoU than these are one; so many queries are left."""


@dataclass(frozen=True)
class Queries:
    """The query boxes of one image, by falling score.

    Attributes:
        boxes: (K, 4) left, top, right, bottom in pixels of the network's input.
        class_id: (K,) int64.
        score: (K,) class probability x centreness.
    """

    boxes: Tensor
    class_id: Tensor
    score: Tensor


def locations(height: int, width: int, stride: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """x (width,) and y (height,) of a level's cells in pixels of the input: stride // 2 + stride * index."""
    x, y = (torch.arange(n, device=device, dtype=torch.float32) * stride + stride // 2 for n in (width, height))
    return x, y


def absolute_boxes(distances: Tensor, stride: int) -> Tensor:
    """Eq. 8 solved for the box: (B, 4, h, w) distances to (B, 4, h, w) left, top, right, bottom, pixels."""
    x, y = locations(distances.shape[2], distances.shape[3], stride, distances.device)
    left, top, right, bottom = distances.float().unbind(1)
    return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], 1)


def find_queries(tensors: Mapping[str, Tensor], config: RealtimePanopticConfig, least: float = 0.0) -> Queries:
    """The boxes that NMS leaves of one image (batch size 1), within the image.

    Args:
        tensors: of the network.
        config: of the network.
        least: score from which on a query is asked for. Boxes below it suppress none above it, so they are left out at
            once.
    """
    boxes, scores, classes = [], [], []
    for level, stride in STRIDES.items():
        probability = tensors[f"box_classes_{level}"][0].float().sigmoid().flatten(1)
        centred = tensors[f"centreness_{level}"][0, 0].float().sigmoid().flatten()
        score = (probability * centred).masked_fill(probability <= CLASS_SCORE, 0).flatten()
        best, place = score.topk(min(PER_LEVEL, len(score)))
        enough = (best > 0) & (best >= least)
        best, place = best[enough], place[enough]
        cell = place % centred.numel()
        boxes.append(absolute_boxes(tensors[f"boxes_{level}"], stride)[0].flatten(1)[:, cell].T)
        scores.append(best)
        classes.append(place // centred.numel())
    box, score, class_index = torch.cat(boxes), torch.cat(scores), torch.cat(classes)
    height, width = (STRIDES[3] * cells for cells in tensors["boxes_3"].shape[-2:])
    box = box.clamp(min=0).minimum(box.new_tensor([width, height] * 2))
    chosen = batched_nms(box, score, class_index, SAME_CLASS)
    chosen = chosen[nms(box[chosen], score[chosen], ANY_CLASS)][:MOST]
    things = torch.tensor(config.thing_classes, device=box.device)
    return Queries(box[chosen], things[class_index[chosen]], score[chosen])


def dense_boxes(tensors: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Eq. 14: the box at each place from the level that levelness names; all levels where there is no levelness.

    A place has the box of its cell of that level (nearest; the paper does not say).

    Args:
        tensors: of the network, batch size B.
        size: (h, w) of the result: that of levelness, at stride 4.

    Returns:
        (B, L, 4, h, w) left, top, right, bottom in pixels, within the image; L is 1 with levelness, else 5.
    """
    finest = [
        F.interpolate(absolute_boxes(tensors[f"boxes_{level}"], stride), scale_factor=float(stride // PLACE_STRIDE))
        for level, stride in STRIDES.items()
    ]
    levels = torch.stack([boxes[..., : size[0], : size[1]] for boxes in finest], 1).clamp(min=0)
    ends = levels.new_tensor([size[1], size[0]] * 2) * PLACE_STRIDE
    levels = levels.minimum(ends[:, None, None])
    if "levelness" not in tensors:
        return levels
    best = tensors["levelness"][:, 1:].max(1).indices[:, None, None].expand(-1, 1, 4, -1, -1)
    return levels.gather(1, best)


def box_iou(dense: Tensor, queries: Tensor) -> Tensor:
    """Eq. 6: IoU of the box at each place with each query, the largest over levels.

    Args:
        dense: (L, 4, h, w).
        queries: (K, 4).

    Returns:
        (K, h, w), 0..1.
    """
    q = queries[:, None, :, None, None]  # (K, 1, 4, 1, 1)
    low, high = torch.maximum(dense[:, :2], q[:, :, :2]), torch.minimum(dense[:, 2:], q[:, :, 2:])
    inside = (high - low).clamp(min=0).prod(2)
    areas = (dense[:, 2:] - dense[:, :2]).prod(1) + (q[:, :, 2:] - q[:, :, :2]).prod(2)
    return (inside / (areas - inside).clamp(min=1e-6)).amax(1)

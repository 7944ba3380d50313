"""What PanopticDepth's position maps should say: centres of things and regions of all classes, on each level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.panopticdepth_kernels import LEVELS
from .targets import STRIDE, Targets

SIZES = {3: (1, 128), 4: (64, 256), 5: (128, 512), 6: (256, 1024), 7: (512, 2048)}
"""A thing belongs to a level where the square root of its box's area is within these bounds, pixels of the input."""
MIN_OVERLAP = 0.7
FULL = float(STRIDE * STRIDE)


@dataclass(frozen=True)
class LevelTargets:
    """Of one image on one level, h x w cells.

    Attributes:
        centres: (T, h, w), 1 at the centre of a thing, falling off around it as a Gaussian; T thing classes.
        regions: (C, h, w) in 0..1, the share of each class's region in the middle of a cell, 0 where below one half.
        known: (h, w) in 0..1, share of the middle that is not void.
        things: (N,) indices into the image's segments: things that belong to this level.
        places: (N,) their centres, row-major cells.
        inside: (S, h, w) share that each of the S segments has in the middle of a cell (8 x 8 pixels: thin things have
            none of the whole of a coarse cell to speak of).
    """

    centres: Tensor
    regions: Tensor
    known: Tensor
    things: Tensor
    places: Tensor
    inside: Tensor


def level_targets(target: Targets, thing_classes: tuple[int, ...], num_classes: int) -> dict[int, LevelTargets]:
    """By level; the cells of level n have 2**n pixels a side, as the network's maps of the same input."""
    masks = target.masks.float() / FULL
    height, width = masks.shape[1:]
    classes = target.classes.tolist()
    index = {class_id: i for i, class_id in enumerate(thing_classes)}
    boxes, centres = target.boxes.tolist(), _centres(masks)
    found = {}
    for level in LEVELS:
        stride = 2**level
        scale = stride / STRIDE
        size = (math.ceil(height / scale), math.ceil(width / scale))
        low, high = SIZES[level]
        heat = masks.new_zeros((len(thing_classes), *size))
        things, places = [], []
        for k, class_id in enumerate(classes):
            left, top, right, bottom = boxes[k]
            box_h, box_w = bottom - top, right - left
            if class_id not in index or not low <= math.sqrt(box_h * box_w) <= high:
                continue
            y, x = (min(int(c / scale), n - 1) for c, n in zip(centres[k], size, strict=True))
            draw(heat[index[class_id]], y, x, gaussian_radius(box_h / stride, box_w / stride))
            things.append(k)
            places.append(y * size[1] + x)
        inside = _middles(masks, stride // STRIDE)
        one_hot = F.one_hot(target.classes, num_classes).float() if classes else masks.new_zeros((0, num_classes))
        regions = (one_hot.T @ inside.flatten(1)).unflatten(1, size).clamp(max=1)
        found[level] = LevelTargets(
            heat,
            regions * (regions >= 0.5),
            _middles(target.valid[None].float() / FULL, stride // STRIDE)[0],
            torch.tensor(things, dtype=torch.long, device=masks.device),
            torch.tensor(places, dtype=torch.long, device=masks.device),
            inside,
        )
    return found


def gaussian_radius(height: float, width: float) -> float:
    """Radius of a centre's Gaussian for a box (paper: CornerNet's for an overlap of 0.7, in the form that CenterNet and
    its followers use): the positive root of 2.8 r^2 + 1.4 (h + w) r - 0.3 h w = 0, times 2.8; 0.27 of a square's side.

    Dividing by 2.8, as CornerNet meant it, leaves no more than the centre itself of all but the largest things.
    """
    total, area, o = height + width, height * width, MIN_OVERLAP
    return (-2 * o * total + math.sqrt(4 * o**2 * total**2 + 16 * o * (1 - o) * area)) / 2


def draw(heat: Tensor, y: int, x: int, radius: float) -> None:
    """Put a Gaussian of that radius (three deviations, about) around (y, x) into (h, w), keeping what is higher."""
    reach = int(radius)
    deviation = (2 * reach + 1) / 6
    top, bottom = max(0, y - reach), min(heat.shape[0], y + reach + 1)
    left, right = max(0, x - reach), min(heat.shape[1], x + reach + 1)
    rows = torch.arange(top, bottom, device=heat.device) - y
    columns = torch.arange(left, right, device=heat.device) - x
    spot = torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * deviation**2))
    heat[top:bottom, left:right] = torch.maximum(heat[top:bottom, left:right], spot)


def _middles(maps: Tensor, cells: int) -> Tensor:
    """What (N, h, w) say in the middle of each square of `cells` x `cells`; squares that reach beyond the image go on
    as its edge does, where the network's maps have cells too."""
    if not len(maps):
        return maps.new_zeros((0, *(math.ceil(n / cells) for n in maps.shape[1:])))
    height, width = maps.shape[1:]
    whole = F.pad(maps[None], (0, -width % cells, 0, -height % cells), mode="replicate")
    return F.interpolate(whole, scale_factor=1 / cells, mode="bilinear", align_corners=False)[0]


def _centres(masks: Tensor) -> list[tuple[float, float]]:
    """Centre of mass (y, x) of each mask (S, h, w), cells; the centre of the first cell is 0.5."""
    if not len(masks):
        return []
    y, x = (torch.arange(n, device=masks.device) + 0.5 for n in masks.shape[1:])
    area = masks.sum((1, 2))
    return list(
        zip(((masks.sum(2) * y).sum(1) / area).tolist(), ((masks.sum(1) * x).sum(1) / area).tolist(), strict=True)
    )

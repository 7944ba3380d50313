"""Panoptic labels and depth of a training view as tensors for matching and losses, all at stride 4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetError
from ..labels import VOID_CLASS_ID, LabelSpace, unpack
from ..types import Sample

STRIDE = 4
_NO_SEGMENT = -1


@dataclass
class Targets:
    """Targets of one image; h = H / 4, w = W / 4, T segments (largest first).

    Attributes:
        classes: (T,) int64 class ids.
        masks: (T, h, w) uint8, how many of a cell's 16 pixels belong to the segment.
        valid: (h, w) uint8, how many of a cell's 16 pixels are not void.
        segment: (h, w) int64, index into T at the cell's centre, -1 where none.
        depth_m: (h, w) float32 at the cell's centre, NaN where unknown or out of range.
        semantic: (h, w) int64 class id at the cell's centre, 255 void.
    """

    classes: Tensor
    masks: Tensor
    valid: Tensor
    segment: Tensor
    depth_m: Tensor
    semantic: Tensor

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on another device."""
        return Targets(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


def make_targets(
    sample: Sample, label_space: LabelSpace, min_area_px: int, max_segments: int, max_depth_m: float
) -> Targets:
    """Build the targets of a training view (H and W multiples of 4).

    Crowds (things with instance 0) and segments under `min_area_px` are no targets; crowds also count as void. If
    there are more than `max_segments`, the largest stay. Depth beyond `max_depth_m` is left out.

    Raises:
        DatasetError: a class id outside the label space.
    """
    assert sample.panoptic is not None, "augment() refuses samples without labels"
    panoptic = sample.panoptic
    class_id, instance_id = unpack(panoptic)
    outside = (class_id >= len(label_space)) & (class_id != VOID_CLASS_ID)
    if outside.any():
        raise DatasetError(
            f"{sample.sample_id}: class id {class_id[outside][0]} is outside label space '{label_space.name}' "
            f"of {len(label_space)} classes"
        )
    thing = np.append(label_space.is_thing, np.zeros(256 - len(label_space), bool))
    void = (class_id == VOID_CLASS_ID) | (thing[class_id] & (instance_id == 0))
    ids, inverse, areas = np.unique(panoptic, return_inverse=True, return_counts=True)
    first_void = np.zeros(len(ids), bool)
    first_void[np.unique(inverse.reshape(-1)[void.reshape(-1)])] = True
    candidates = np.flatnonzero(~first_void & (areas >= min_area_px))
    candidates = candidates[np.argsort(-areas[candidates], kind="stable")][:max_segments]
    index_of = np.full(len(ids), _NO_SEGMENT, np.int64)
    index_of[candidates] = np.arange(len(candidates))
    segment = index_of[inverse.reshape(panoptic.shape)]

    height, width = panoptic.shape
    h, w = height // STRIDE, width // STRIDE
    cell = (np.arange(height)[:, None] // STRIDE) * w + np.arange(width) // STRIDE
    inside = segment >= 0
    counts = np.bincount(segment[inside] * (h * w) + cell[inside], minlength=len(candidates) * h * w)
    centre = (slice(STRIDE // 2, None, STRIDE), slice(STRIDE // 2, None, STRIDE))
    if sample.depth_m is None:
        depth = np.full((h, w), np.nan, np.float32)
    else:
        depth = sample.depth_m[centre].astype(np.float32)
        depth = np.where(np.isfinite(depth) & (depth > 0) & (depth <= max_depth_m), depth, np.float32(np.nan))
    return Targets(
        classes=torch.from_numpy((ids[candidates] // 256).astype(np.int64)),
        masks=torch.from_numpy(counts.astype(np.uint8).reshape(len(candidates), h, w)),
        valid=torch.from_numpy((~void).reshape(h, STRIDE, w, STRIDE).sum((1, 3)).astype(np.uint8)),
        segment=torch.from_numpy(np.ascontiguousarray(segment[centre])),
        depth_m=torch.from_numpy(np.ascontiguousarray(depth)),
        semantic=torch.from_numpy(np.where(void, VOID_CLASS_ID, class_id)[centre].astype(np.int64)),
    )

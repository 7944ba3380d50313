"""Panoptic labels and depth of a training view as tensors: masks at stride 4, depth at stride 4 or 1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..errors import DatasetError
from ..labels import VOID_CLASS_ID, LabelSpace, unpack
from ..types import Sample

STRIDE = 4
SEGMENTS = 30
"""Segments of an image that memory estimates reckon with; a busy street scene has about as many."""
_NO_SEGMENT = -1


@dataclass
class Targets:
    """Targets of one image; h = H / 4, w = W / 4, T segments (largest first), depth on a grid of its own (hd, wd).

    Attributes:
        labelled: whether the image has panoptic labels; without them only depth is learnt from it.
        classes: (T,) int64 class ids.
        masks: (T, h, w) uint8, how many of a cell's 16 pixels belong to the segment.
        valid: (h, w) uint8, how many of a cell's 16 pixels are not void.
        boxes: (T, 4) float32 left, top, right, bottom of the segments, pixels of the input, half-open.
        segment: (hd, wd) int64, index into T at the cell's centre, -1 where none.
        depth_m: (hd, wd) float32 at the cell's centre, NaN where unknown or out of range.
        semantic: (h, w) int64 class id at the cell's centre, 255 void.
    """

    labelled: bool
    classes: Tensor
    masks: Tensor
    valid: Tensor
    boxes: Tensor
    segment: Tensor
    depth_m: Tensor
    semantic: Tensor

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on another device."""
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=True) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


def make_targets(
    sample: Sample,
    label_space: LabelSpace,
    min_area_px: int,
    max_segments: int,
    max_depth_m: float,
    depth_stride: int = STRIDE,
) -> Targets:
    """Build the targets of a training view (H and W multiples of 4).

    Crowds (things with instance 0) and segments under `min_area_px` are no targets; crowds also count as void. If
    there are more than `max_segments`, the largest stay. Depth beyond `max_depth_m` is left out.

    Args:
        sample: of `augment`; without panoptic labels only the depth counts.
        depth_stride: 4, or 1 for depth at full resolution (sparse depth needs it: one point in 16 lies at a centre).

    Raises:
        DatasetError: a class id outside the label space.
    """
    height, width = sample.image.shape[:2]
    h, w = height // STRIDE, width // STRIDE
    depth_cells = _centres(depth_stride)
    depth = _depth(sample.depth_m, (height, width), max_depth_m)[depth_cells]
    if sample.panoptic is None:
        return Targets(
            labelled=False,
            classes=torch.zeros(0, dtype=torch.int64),
            masks=torch.zeros((0, h, w), dtype=torch.uint8),
            valid=torch.zeros((h, w), dtype=torch.uint8),
            boxes=torch.zeros((0, 4)),
            segment=torch.full(depth.shape, _NO_SEGMENT),
            depth_m=torch.from_numpy(np.ascontiguousarray(depth)),
            semantic=torch.full((h, w), VOID_CLASS_ID),
        )
    require_known_classes(sample, label_space)
    panoptic = sample.panoptic
    class_id, instance_id = unpack(panoptic)
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

    cell = (np.arange(height)[:, None] // STRIDE) * w + np.arange(width) // STRIDE
    inside = segment >= 0
    counts = np.bincount(segment[inside] * (h * w) + cell[inside], minlength=len(candidates) * h * w)
    return Targets(
        labelled=True,
        classes=torch.from_numpy((ids[candidates] // 256).astype(np.int64)),
        masks=torch.from_numpy(counts.astype(np.uint8).reshape(len(candidates), h, w)),
        valid=torch.from_numpy((~void).reshape(h, STRIDE, w, STRIDE).sum((1, 3)).astype(np.uint8)),
        boxes=torch.from_numpy(_boxes(segment, len(candidates))),
        segment=torch.from_numpy(np.ascontiguousarray(segment[depth_cells])),
        depth_m=torch.from_numpy(np.ascontiguousarray(depth)),
        semantic=torch.from_numpy(np.where(void, VOID_CLASS_ID, class_id)[_centres(STRIDE)].astype(np.int64)),
    )


def require_known_classes(sample: Sample, label_space: LabelSpace) -> None:
    """Check the labels of a sample, where it has any.

    Raises:
        DatasetError: a class id outside the label space.
    """
    if sample.panoptic is None:
        return
    class_id = unpack(sample.panoptic)[0]
    outside = class_id[(class_id >= len(label_space)) & (class_id != VOID_CLASS_ID)]
    if outside.size:
        raise DatasetError(
            f"{sample.sample_id}: class id {outside[0]} is outside label space '{label_space.name}' "
            f"of {len(label_space)} classes; look for more with --check-data, or set model.label_space"
        )


def _boxes(segment: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """(count, 4) left, top, right, bottom of the segments 0 .. count - 1 in (H, W)."""
    found = ndimage.find_objects((segment + 1).astype(np.int32), count)
    edges = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in found]
    return np.array(edges, np.float32).reshape(-1, 4)


def _centres(stride: int) -> tuple[slice, slice]:
    return slice(stride // 2, None, stride), slice(stride // 2, None, stride)


def _depth(depth_m: NDArray[np.float32] | None, size_hw: tuple[int, int], max_depth_m: float) -> NDArray[np.float32]:
    """Depth with everything that can't be a target as NaN."""
    if depth_m is None:
        return np.full(size_hw, np.nan, np.float32)
    known = np.isfinite(depth_m) & (depth_m > 0) & (depth_m <= max_depth_m)
    return np.where(known, depth_m, np.float32(np.nan)).astype(np.float32)

"""Fusion on the processor: what `models.fusion` does for each pixel, without upsampling a mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import OutputGrid
from .bands import as_input, count, in_bands
from .dense import Dense
from .fusion_rows import BY_QUERY, NO_DEPTH, ONE_MAP, SIDE, fuse_rows, label_rows, mean_probability, shares_of_depth

ERROR = 1e-6
"""Of the depth as a share of D_max, by each query: from leaving out its softmax weight, or from a linear sigmoid."""


@dataclass(frozen=True)
class Axis:
    """How output pixels along one axis lie between the points of the low-resolution grid.

    Attributes:
        low, high: (n,) the two points around each pixel; equal beyond the first and last point.
        weight: (n,) float32 share of `high`.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    @lru_cache(maxsize=8)  # of one stream of images it is always the same
    def between(cls, points: int, pixels: int, step: float) -> Axis:
        """Half-pixel centres: pixel i lies at (i + 0.5) * step - 0.5 of `points` points, and at 0 at the least."""
        place = np.maximum((np.arange(pixels, dtype=np.float32) + np.float32(0.5)) * np.float32(step) - 0.5, 0)
        low = np.minimum(place.astype(np.int64), points - 1)
        high = np.minimum(low + 1, points - 1)
        return cls(low, high, np.where(low == high, 0, place - low).astype(np.float32))

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """(m, 2) first and last + 1 pixel of each run of pixels between the same two points, at most SIDE long."""
        change = np.flatnonzero(np.diff(self.low, prepend=-1))
        ends = np.append(change[1:], len(self.low))
        runs = [(b, min(b + SIDE, e)) for a, e in zip(change, ends, strict=True) for b in range(a, e, SIDE)]
        return np.array(runs, np.int64).reshape(-1, 2)


def dense(
    masks: NDArray[np.float32],
    depths: NDArray[np.float32] | None,
    backup: NDArray[np.float32] | None,
    queries: NDArray[np.int64],
    grid: OutputGrid,
    stride: int,
    threshold: float,
    *,
    depth_by_query: bool,
) -> Dense[NDArray[Any]]:
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
    mode = NO_DEPTH if depths is None else BY_QUERY if depth_by_query else ONE_MAP
    size = grid.height, grid.width
    rows = Axis.between(masks.shape[1], grid.height, grid.scale_y / stride)
    columns = Axis.between(masks.shape[2], grid.width, grid.scale_x / stride)
    spans = rows.cells
    owner, probability = np.empty(size, np.uint16), np.empty(size, np.float32)
    depth = None if depths is None else np.empty(size, np.float32)
    owned = np.zeros((count(len(spans)), len(queries) + 1), np.int64)
    own_mask = np.zeros((count(len(spans)), len(queries)), np.int64)
    no_map, no_maps = np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32)
    masks, depth_logits, backup = (
        as_input(no_maps if maps is None else maps, np.float32) for maps in (masks, depths, backup)
    )
    shares = np.empty((len(queries) if mode == BY_QUERY else 0, *masks.shape[1:]), np.float32)
    in_bands(shares_of_depth, len(shares), depth_logits, queries, shares)
    in_bands(
        fuse_rows, len(spans), masks, depth_logits, shares, backup, queries, mode, spans, rows.low, rows.high,
        rows.weight, columns.cells, columns.low, columns.high, columns.weight, np.float32(threshold),
        np.float32(ERROR), owner, probability,
        no_map if depth is None else depth, owned, own_mask,
    )  # fmt: skip
    return Dense(owner, probability, depth, owned.sum(0)[:-1], own_mask.sum(0))


def mask_quality(masks: NDArray[np.float32], queries: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean mask probability where it is above one half, 0 for an empty mask: (K,) of (N, h, w) logits."""
    quality = np.empty(len(queries), np.float32)
    in_bands(mean_probability, len(queries), as_input(masks, np.float32).reshape(len(masks), -1), queries, quality)
    return quality


def label(
    found: Dense[NDArray[Any]], panoptic_ids: NDArray[np.uint16], probability: NDArray[np.float32], depth_factor: float
) -> None:
    """Turn `found` into what is published, in place: ids for owners, confidence for probability, metres for depth.

    Args:
        found: of `dense`.
        panoptic_ids: (K + 1,) the id of each query; the last is that of pixels without an owner.
        probability: (K + 1,) class probability of each query, 0 where its pixels are void.
        depth_factor: metres of depth 1.
    """
    in_bands(
        label_rows, len(found.owner), found.owner, found.probability,
        np.empty((0, 0), np.float32) if found.depth is None else found.depth, panoptic_ids, probability,
        np.float32(depth_factor),
    )  # fmt: skip

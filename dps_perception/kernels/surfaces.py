"""Depth statistics of all regions of an image, and where their visible surfaces are; every region by itself."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from .bands import as_input, count, in_bands
from .cloud import OPTICAL, rays
from .depth import DepthRule
from .regions import Regions
from .surface_loops import measure_groups

_WORK_OF_SURFACE = 5  # a region with geometry takes about so many times as long as one without


@dataclass(frozen=True)
class Surfaces:
    """What is known of the depth of K regions, metres.

    Attributes:
        valid: (K,) pixels whose depth counts.
        stats: (K, 7) minimum, 5th percentile, median, 95th percentile, maximum, mean and standard deviation of these;
            NaN where there are none.
        points: (K,) pixels of the surface without outliers; 0 where no geometry was asked for.
        places: (K, 3, 3) by axis x, y, z of the frame asked for: median, 1st and 99th percentile of these; else NaN.
    """

    valid: NDArray[np.int64]
    stats: NDArray[np.float64]
    points: NDArray[np.int64]
    places: NDArray[np.float64]


class Scratch:
    """Memory for `measure`, kept from one image to the next."""

    def __init__(self) -> None:
        self._size = -1

    def arrays(self, size: int) -> tuple[NDArray[Any], ...]:
        """Three float32 and two uint32 arrays of `size` or more."""
        if self._size < size:
            self._size = size
            self._arrays = tuple(np.empty(size, kind) for kind in (np.float32,) * 3 + (np.uint32,) * 2)
        return self._arrays


def measure(
    found: Regions,
    depth_m: NDArray[np.float32],
    rule: DepthRule,
    intrinsics: Intrinsics | None,
    with_surface: NDArray[np.bool_],
    scratch: Scratch,
    pose: NDArray[np.float64] = OPTICAL,
) -> Surfaces:
    """Depth statistics of all regions, and of some the surface.

    Depth bleeds from the background at a mask's border: points whose depth is farther from the median than three
    standard deviations (estimated from the median absolute deviation), and by more than 5 %, are outliers. Quantiles
    are off by at most 2**-23 of the range of what they are taken of.

    Args:
        found: of the image's panoptic ids.
        depth_m: (H, W) float32.
        rule: which depths count.
        intrinsics: of this grid; None: no surfaces.
        with_surface: (K,) bool, whose surface to find.
        scratch: of the caller; not for two calls at a time.
        pose: (4, 4) takes optical coordinates to those of `places`; by default they stay optical.
    """
    number = len(found)
    with_surface = with_surface & (intrinsics is not None)
    near, far = rule.interval
    farthest = np.where(rule.hidden[found.ids >> 8], np.float32(-1), far)
    x, y = rays(intrinsics) if intrinsics is not None else (np.empty(0, np.float32),) * 2
    result = Surfaces(
        np.zeros(number, np.int64),
        np.full((number, 7), np.nan),
        np.zeros(number, np.int64),
        np.full((number, 3, 3), np.nan),
    )
    members, first, offsets = _share_out(found.areas, with_surface)
    in_bands(
        measure_groups, len(first) - 1, members, first, offsets, found.areas, found.first, found.starts, found.lengths,
        as_input(depth_m, np.float32).reshape(-1), depth_m.shape[1], near, farthest, x, y,
        as_input(pose[:3, :3], np.float32), with_surface, *scratch.arrays(int(offsets[-1])),
        result.valid, result.stats, result.points, result.places,
    )  # fmt: skip
    result.places[...] += pose[:3, 3, None]  # here, in float64: a map's origin may be far away
    return result


def _share_out(
    areas: NDArray[np.int64], with_surface: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Regions in groups of about equal work, the largest regions first.

    Returns:
        (members, first, offsets): group g holds regions members[first[g]:first[g + 1]], and needs scratch memory from
        offsets[g] to offsets[g + 1] for the largest of them.
    """
    work = areas * np.where(with_surface, _WORK_OF_SURFACE, 1)
    groups: list[tuple[int, list[int]]] = [(0, []) for _ in range(count(len(areas)))]
    heap = [(0, g) for g in range(len(groups))]
    for k in np.argsort(-work, kind="stable").tolist():
        load, g = heapq.heappop(heap)
        groups[g][1].append(k)
        heapq.heappush(heap, (load + int(work[k]), g))
    members = [k for _, group in groups for k in group]
    first = np.cumsum([0, *(len(group) for _, group in groups)])
    offsets = np.cumsum([0, *(int(areas[group].max(initial=0)) + 1 for _, group in groups)])
    return np.array(members, np.int64), first.astype(np.int64), offsets.astype(np.int64)

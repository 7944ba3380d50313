"""Depth statistics of all regions of an image, and where their visible surfaces are; every region by itself."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from .bands import as_input, compiled, count, in_bands
from .cloud import rays
from .depth import DepthRule
from .quantiles import find_quantiles
from .regions import Regions

OUTLIER_MADS = 3 * 1.4826
"""Three standard deviations of a normal distribution, in median absolute deviations."""
MIN_SPREAD = 0.05
"""Share of the median depth that is never taken for an outlier."""
_DEPTH_SHARES = np.array([0.05, 0.5, 0.95])
_SURFACE_SHARES = np.array([0.5, 0.01, 0.99])
_HALF = np.array([0.5])
_WORK_OF_SURFACE = 5  # a region with geometry takes about so many times as long as one without


@dataclass(frozen=True)
class Surfaces:
    """What is known of the depth of K regions, metres.

    Attributes:
        valid: (K,) pixels whose depth counts.
        stats: (K, 7) minimum, 5th percentile, median, 95th percentile, maximum, mean and standard deviation of these;
            NaN where there are none.
        points: (K,) pixels of the surface without outliers; 0 where no geometry was asked for.
        places: (K, 3, 3) by axis x, y, z of the optical frame: median, 1st and 99th percentile of these; else NaN.
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
        _measure, len(first) - 1, members, first, offsets, found.areas, found.first, found.starts, found.lengths,
        as_input(depth_m, np.float32).reshape(-1), depth_m.shape[1], near, farthest, x, y, with_surface,
        *scratch.arrays(int(offsets[-1])), result.valid, result.stats, result.points, result.places,
    )  # fmt: skip
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


@compiled
def _measure(  # type: ignore[no-untyped-def]
    band, begin, end, members, group_first, offsets, areas, first, starts, lengths, depth, width, near, farthest, x, y,
    with_surface, xs, ys, zs, levels, spare, valid, stats, points, places,
):  # fmt: skip
    spread, quantiles = np.empty(1), np.empty(3)
    for group in range(begin, end):
        offset = offsets[group]
        for member in range(group_first[group], group_first[group + 1]):
            k = members[member]
            runs, run_lengths = starts[first[k] : first[k + 1]], lengths[first[k] : first[k + 1]]
            stop = offset + areas[k] + 1
            own_levels, own_spare = levels[offset:stop], spare[offset:stop]
            own_x, own_y, own_z = xs[offset:stop], ys[offset:stop], zs[offset:stop]
            number = _depths(depth, runs, run_lengths, near, farthest[k], own_z)
            valid[k] = number
            if number == 0:
                continue
            low, high, mean, variance = find_quantiles(own_z[:number], _DEPTH_SHARES, own_levels, own_spare, quantiles)
            stats[k, 0], stats[k, 4], stats[k, 5], stats[k, 6] = low, high, mean, np.sqrt(variance)
            for q in range(3):
                stats[k, 1 + q] = quantiles[q]
            if not with_surface[k]:
                continue
            median = np.float32(quantiles[1])
            for i in range(number):
                own_x[i] = abs(own_z[i] - median)
            find_quantiles(own_x[:number], _HALF, own_levels, own_spare, spread)
            limit = np.float32(max(OUTLIER_MADS * spread[0], MIN_SPREAD * median))
            low, high = max(near, median - limit), min(farthest[k], median + limit)
            number = _points(depth, runs, run_lengths, width, low, high, x, y, own_x, own_y, own_z)
            points[k] = number
            for axis, values in enumerate((own_x, own_y, own_z)):
                find_quantiles(values[:number], _SURFACE_SHARES, own_levels, own_spare, quantiles)
                for q in range(3):
                    places[k, axis, q] = quantiles[q]


@compiled
def _depths(depth, starts, lengths, low, high, out):  # type: ignore[no-untyped-def]
    """Write the depths in low..high of all runs one after another; return how many."""
    number = 0
    for run in range(starts.size):
        for pixel in range(starts[run], starts[run] + lengths[run]):
            z = depth[pixel]
            out[number] = z  # also where it doesn't count: then the next one takes its place
            number += (z >= low) & (z <= high)
    return number


@compiled
def _points(depth, starts, lengths, width, low, high, x, y, xs, ys, zs):  # type: ignore[no-untyped-def]
    """Write the points of all runs whose depth is in low..high one after another; return how many."""
    number = 0
    for run in range(starts.size):
        row = starts[run] // width
        for pixel in range(starts[run], starts[run] + lengths[run]):
            z = depth[pixel]
            xs[number], ys[number], zs[number] = z * x[pixel - row * width], z * y[row], z
            number += (z >= low) & (z <= high)
    return number

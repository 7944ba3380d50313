"""What evaluation counts pixel by pixel: which ids occur, which segments share pixels, how far depth is off."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .bands import as_input, compiled, count, in_bands

IDS = 1 << 16
_LARGE_TABLE = 1 << 20
"""Cells from which on one table is worth more than a table for each band, which must all be cleared and added."""


def ids_in(panoptic: NDArray[np.uint16]) -> NDArray[np.int64]:
    """The ids that occur in (H, W) uint16, ascending."""
    image = as_input(panoptic, np.uint16)
    seen = np.zeros((count(len(image)), IDS), np.uint8)
    in_bands(_mark, len(image), image, seen)
    return np.flatnonzero(seen.any(axis=0))


def shared_pixels(
    rows: NDArray[np.uint16],
    columns: NDArray[np.uint16],
    level: NDArray[np.uint8],
    row_of: NDArray[np.int32],
    column_of: NDArray[np.int32],
    shape: tuple[int, int, int],
) -> NDArray[np.int64]:
    """Count the pixels of each (row, column, level).

    Args:
        rows, columns: (H, W) ids.
        level: (H, W), below `shape[2]`.
        row_of, column_of: (65536,) place of each id, below `shape[0]` and `shape[1]`.
        shape: of the table.
    """
    cells, height = math.prod(shape), len(level)
    args = (
        as_input(rows, np.uint16), as_input(columns, np.uint16), as_input(level, np.uint8),
        as_input(row_of, np.int32), as_input(column_of, np.int32), shape[1], shape[2],
    )  # fmt: skip
    bands = count(height) if cells <= _LARGE_TABLE else 1
    table = np.zeros((bands, cells), np.int64)
    if bands > 1:
        in_bands(_share, height, *args, table)
    else:
        _share(0, 0, height, *args, table)
    return table.sum(axis=0).reshape(shape)


def error_levels(
    depth_m: NDArray[np.float32], gt_depth_m: NDArray[np.float32], lambdas: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """How many of `lambdas` the relative depth error is above, (H, W); see `evaluation.depth.error_level`."""
    level = np.empty(depth_m.shape, np.uint8)
    in_bands(
        _level,
        len(level),
        as_input(depth_m, np.float32),
        as_input(gt_depth_m, np.float32),
        as_input(lambdas, np.float64),
        level,
    )
    return level


def depth_errors(
    depth_m: NDArray[np.float32], gt_depth_m: NDArray[np.float32], low_m: float, high_m: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts and sums over the pixels of an image, whose true depth is finite, above 0 and within `low_m`..`high_m`.

    Returns:
        (5,) counts: valid pixels, those that the prediction has too, and of these the ones whose ratio is below 1.25,
        1.25^2, 1.25^3; (5,) sums over these: |d - t| / t, (d - t)^2 / t, (d - t)^2, ln(d / t)^2, ln(d / t). Each row is
        summed alone, so the sums don't depend on the number of threads.
    """
    counts, sums = np.zeros((len(depth_m), 5), np.int64), np.zeros((len(depth_m), 5), np.float64)
    in_bands(
        _errors,
        len(counts),
        as_input(depth_m, np.float32),
        as_input(gt_depth_m, np.float32),
        float(low_m),
        float(high_m),
        counts,
        sums,
    )
    return counts.sum(axis=0), sums.sum(axis=0)


@compiled
def _mark(band, begin, end, image, seen):  # type: ignore[no-untyped-def]
    for y in range(begin, end):
        for x in range(image.shape[1]):
            seen[band, image[y, x]] = 1


@compiled
def _share(band, begin, end, rows, columns, level, row_of, column_of, width, levels, table):  # type: ignore[no-untyped-def]
    for y in range(begin, end):
        for x in range(rows.shape[1]):
            cell = row_of[rows[y, x]] * width + column_of[columns[y, x]]
            table[band, cell * levels + level[y, x]] += 1


@compiled
def _level(band, begin, end, depth, truth, lambdas, level):  # type: ignore[no-untyped-def]
    error = np.empty(depth.shape[1], np.float64)
    for y in range(begin, end):
        for x in range(depth.shape[1]):  # no branches, so that it vectorises
            d, t = np.float64(depth[y, x]), np.float64(truth[y, x])
            relative = np.abs(d - t) / t
            relative = relative if (d > 0) & (d < np.inf) else np.inf
            error[x] = relative if (t > 0) & (t < np.inf) else -1.0
            level[y, x] = 0
        for k in range(len(lambdas)):
            limit = lambdas[k]
            for x in range(depth.shape[1]):
                level[y, x] += np.uint8(error[x] > limit)


@compiled
def _errors(band, begin, end, depth, truth, low, high, counts, sums):  # type: ignore[no-untyped-def]
    for y in range(begin, end):
        valid = known = first = second = third = 0
        absolute = relative = square = log_square = logs = 0.0
        for x in range(depth.shape[1]):
            d, t = np.float64(depth[y, x]), np.float64(truth[y, x])
            if not (0 < t < np.inf and low <= t <= high):
                continue
            valid += 1
            if not 0 < d < np.inf:
                continue
            known += 1
            ratio = max(d / t, t / d)
            first += ratio < 1.25
            second += ratio < 1.25 * 1.25
            third += ratio < 1.25 * 1.25 * 1.25
            difference = np.abs(d - t)
            absolute += difference / t
            relative += difference * difference / t
            square += difference * difference
            log = math.log(d / t)
            log_square += log * log
            logs += log
        counts[y] = valid, known, first, second, third
        sums[y] = absolute, relative, square, log_square, logs

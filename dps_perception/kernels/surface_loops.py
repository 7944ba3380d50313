"""The loops of `surfaces`: quantiles without sorting, since numbers become 24 bit levels that are counted byte by byte.

They stand in one file because what is compiled is made again when its own file changes, not when one it calls does.
"""

from __future__ import annotations

import numpy as np

from .bands import compiled

OUTLIER_MADS = 3 * 1.4826
"""Three standard deviations of a normal distribution, in median absolute deviations."""
MIN_SPREAD = 0.05
"""Share of the median depth that is never taken for an outlier."""
TOP = np.float32(2**24 - 1)
"""Highest level. Levels are even steps of the numbers' range, so a quantile is off by at most 2**-23 of it: no more
than float32 itself, for numbers as large as their range."""

_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
_ROUND, _SMALLEST_RANGE = np.float32(0.5), np.float32(1e-30)
_DEPTH_SHARES = np.array([0.05, 0.5, 0.95])
_SURFACE_SHARES = np.array([0.5, 0.01, 0.99])
_HALF = np.array([0.5])


@compiled
def measure_groups(  # type: ignore[no-untyped-def]
    band, begin, end, members, group_first, offsets, areas, first, starts, lengths, depth, width, near, farthest, x, y,
    rotation, with_surface, xs, ys, zs, levels, spare, valid, stats, points, places,
):  # fmt: skip
    """Measure the regions members[group_first[g]:group_first[g + 1]] of groups begin..end, as `surfaces.measure` says.

    Args:
        offsets: (G + 1,), whose part of the scratch memory xs ys zs levels spare is whose.
        areas, first, starts, lengths: of `Regions`.
        depth: (H * W,).
        near, farthest: the depths that count, of every region (K,) up to another.
        x, y: rays of columns and rows.
        rotation: (3, 3) float32, of the axes that `places` are along.
        valid, stats, points, places: of `Surfaces`, written to.
    """
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
            number = _points(depth, runs, run_lengths, width, low, high, x, y, rotation, own_x, own_y, own_z)
            points[k] = number
            if number == 0:  # next to a depth of a million kilometres the median is that coarse
                continue
            for axis, values in enumerate((own_x, own_y, own_z)):
                find_quantiles(values[:number], _SURFACE_SHARES, own_levels, own_spare, quantiles)
                for q in range(3):
                    places[k, axis, q] = quantiles[q]


@compiled
def _depths(depth, starts, lengths, low, high, out):  # type: ignore[no-untyped-def]
    """Write the depths in low..high of all runs one after another; return how many."""
    number = 0
    if high < low:
        return number
    for run in range(starts.size):  # slices, since LLVM vectorises only what can't have a negative index
        source, target = depth[starts[run] : starts[run] + lengths[run]], out[number : number + lengths[run]]
        for i in range(source.size):
            target[i] = source[i]
        number += source.size
    counted = 0
    for i in range(number):
        counted += (out[i] >= low) & (out[i] <= high)
    if counted < number:
        kept = 0
        for i in range(number):
            z = out[i]
            out[kept] = z  # also where it doesn't count: then the next one takes its place
            kept += (z >= low) & (z <= high)
    return counted


@compiled
def _points(depth, starts, lengths, width, low, high, x, y, rotation, xs, ys, zs):  # type: ignore[no-untyped-def]
    """Write the points of all runs whose depth is in low..high, rotated, one after another; return how many."""
    number = 0
    across_x, across_y, across_z = rotation[0, 0], rotation[1, 0], rotation[2, 0]
    for run in range(starts.size):
        row = starts[run] // width
        source, left, height = depth[starts[run] : starts[run] + lengths[run]], starts[run] - row * width, y[row]
        across = x[left : left + lengths[run]]
        along_x = rotation[0, 1] * height + rotation[0, 2]
        along_y = rotation[1, 1] * height + rotation[1, 2]
        along_z = rotation[2, 1] * height + rotation[2, 2]
        for i in range(source.size):
            z, ray = source[i], across[i]
            xs[number] = z * (across_x * ray + along_x)
            ys[number] = z * (across_y * ray + along_y)
            zs[number] = z * (across_z * ray + along_z)
            number += (z >= low) & (z <= high)
    return number


@compiled
def find_quantiles(values, shares, levels, spare, found):  # type: ignore[no-untyped-def]
    """Write quantiles, interpolated linearly as np.quantile does, to `found`.

    Args:
        values: (N,) float32, N > 0, finite.
        shares: (Q,) float64 in 0..1.
        levels: (N,) or more, uint32 scratch.
        spare: (N + 1,) or more, uint32 scratch.
        found: (Q,) float64.

    Returns:
        (minimum, maximum, mean, variance).
    """
    number = values.size
    lowest, highest = _range(values)
    extent = highest - lowest
    scale = TOP / extent if extent > _SMALLEST_RANGE else np.float32(0)
    total, squares = 0.0, 0.0
    for i in range(number):
        above = values[i] - lowest
        level = above * scale + _ROUND
        level = level if level < TOP else TOP
        levels[i] = np.uint32(np.int32(level if level > 0 else np.float32(0)))
        total += above
        squares += np.float64(above) * np.float64(above)
    ranks = np.empty(2 * shares.size, np.int64)
    ordered = np.empty(ranks.size, np.uint32)
    for q in range(shares.size):
        ranks[2 * q] = np.int64(shares[q] * (number - 1))
        ranks[2 * q + 1] = min(ranks[2 * q] + 1, number - 1)
    _order_statistics(levels, number, spare, ranks, ordered)
    step = np.float64(extent) / np.float64(TOP) if scale > 0 else 0.0
    for q in range(shares.size):
        part = shares[q] * (number - 1) - np.floor(shares[q] * (number - 1))
        below, upper = np.float64(ordered[2 * q]), np.float64(ordered[2 * q + 1])
        found[q] = lowest + step * (below + (upper - below) * part)
    mean = total / number
    return lowest, highest, lowest + mean, max(squares / number - mean * mean, 0.0)


@compiled
def _range(values):  # type: ignore[no-untyped-def]
    """Lowest and highest of (N,) finite float32, N > 0, as integers of the same order: LLVM vectorises those."""
    bits = values.view(np.int32)
    lowest, highest = np.int32(_ALL_BUT_SIGN), np.int32(-_ALL_BUT_SIGN)
    for i in range(bits.size):
        key = np.int32(bits[i] ^ ((bits[i] >> np.int32(31)) & _ALL_BUT_SIGN))
        lowest, highest = min(lowest, key), max(highest, key)
    found = np.empty(2, np.int32)
    found[0] = lowest ^ ((lowest >> np.int32(31)) & _ALL_BUT_SIGN)
    found[1] = highest ^ ((highest >> np.int32(31)) & _ALL_BUT_SIGN)
    extremes = found.view(np.float32)
    return extremes[0], extremes[1]


@compiled
def _order_statistics(levels, number, spare, left, found):  # type: ignore[no-untyped-def]
    """Write the left[r]-th smallest of 24 bit levels to `found`, a byte at a time, the highest first; change `left`."""
    counts = np.zeros((4, 256), np.uint32)  # neighbours mostly share a byte: four tables don't wait for each other
    whole = number - number % 4
    for i in range(0, whole, 4):
        counts[0, levels[i] >> 16] += 1
        counts[1, levels[i + 1] >> 16] += 1
        counts[2, levels[i + 2] >> 16] += 1
        counts[3, levels[i + 3] >> 16] += 1
    for i in range(whole, number):
        counts[0, levels[i] >> 16] += 1
    wanted = np.zeros(256, np.uint32)
    table = np.empty(256, np.uint32)
    for place in range(256):
        table[place] = counts[0, place] + counts[1, place] + counts[2, place] + counts[3, place]
    for r in range(left.size):
        found[r] = _bin_of(table, left, r)
        wanted[found[r]] = 1
    kept = 0
    for i in range(number):  # what is left is little, unless most levels share their first byte
        spare[kept] = levels[i]
        kept += wanted[levels[i] >> 16]
    for shift in (np.uint32(8), np.uint32(0)):
        prefix = np.uint32(0xFFFFFFFF)
        for r in range(left.size):
            if found[r] != prefix:
                prefix = found[r]
                for place in range(256):
                    table[place] = 0
                for i in range(kept):
                    if spare[i] >> (shift + np.uint32(8)) == prefix:
                        table[(spare[i] >> shift) & np.uint32(255)] += 1
            found[r] = (prefix << np.uint32(8)) | _bin_of(table, left, r)


@compiled
def _bin_of(table, left, r):  # type: ignore[no-untyped-def]
    """Which bin holds the left[r]-th entry of a counted table; left[r] becomes its place within that bin."""
    below, place = np.int64(0), np.uint32(0)
    while below + table[place] <= left[r]:
        below += table[place]
        place += np.uint32(1)
    left[r] -= below
    return place

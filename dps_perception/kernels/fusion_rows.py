"""The loops of fusion: per pixel the best query, its mask probability and the mixed depth.

Bilinear interpolation inside a cell (four neighbouring points of the low-resolution grid) stays between the values at
the cell's corners, and so does the difference of two interpolated maps. A query whose logit lies below another one's at
all four corners is therefore not the best of any pixel in the cell, exactly; and if it lies so far below that its
softmax weight can't matter, it needs no exponential either. In a cell of a street at 512x1024, of 26 kept queries
1.4 may be the best of a pixel and 11 matter to its depth, on average.
"""

from __future__ import annotations

import numba
import numpy as np

from .bands import compiled
from .mathematics import exp, sigmoid

SIDE, LANES = 16, 16  # longest side of a tile; numbers that a processor works on at once
ROOM = SIDE * SIDE
NO_DEPTH, ONE_MAP, BY_QUERY = 0, 1, 2
SIGMOID_BEND = 2 * 0.0963 / 8
"""Error of a linear instead of a sigmoid, over the square of the range: second derivative / 8, for each axis."""
MATTERS, MAY_BE_BEST, COVERS, COVERS_PARTLY, FLAT = 1, 2, 4, 8, 16  # a query in a tile; FLAT: its depth, nearly


@numba.njit(inline="always")
def _surface(values, y0, y1, x0, x1):  # type: ignore[no-untyped-def]
    """Coefficients of 1, x, y and xy of the bilinear surface through four values; x and y from 0 to 1."""
    a, b, c, d = values[y0, x0], values[y0, x1], values[y1, x0], values[y1, x1]
    return a, b - a, c - a, a - b - c + d


@compiled
def _bounds(  # type: ignore[no-untyped-def]
    masks, depths, queries, y0, y1, x0s, x1s, pivot, lowest, corner, state, error
):
    """What each query may be in each tile of a row, from the values at its corners.

    `pivot` becomes the query with the highest lowest corner, `corner` its values. `state` (K, tiles) becomes a sum of
    the flags above; a query's depth is flat where its sigmoid may be interpolated, which counts by its largest weight.
    """
    number, tiles = state.shape
    far, bend = -np.log(error), np.float32(SIGMOID_BEND)
    lowest[:] = -np.inf
    for k in range(number):
        above, below = masks[queries[k], y0], masks[queries[k], y1]
        for t in range(tiles):
            low = min(min(above[x0s[t]], above[x1s[t]]), min(below[x0s[t]], below[x1s[t]]))
            pivot[t] = k if low > lowest[t] else pivot[t]
            lowest[t] = max(low, lowest[t])
    for t in range(tiles):
        k = queries[pivot[t]]
        corner[0, t], corner[1, t] = masks[k, y0, x0s[t]], masks[k, y0, x1s[t]]
        corner[2, t], corner[3, t] = masks[k, y1, x0s[t]], masks[k, y1, x1s[t]]
    for k in range(number):
        above, below = masks[queries[k], y0], masks[queries[k], y1]
        for t in range(tiles):
            a, b, c, d = above[x0s[t]], above[x1s[t]], below[x0s[t]], below[x1s[t]]
            lead = max(max(a - corner[0, t], b - corner[1, t]), max(c - corner[2, t], d - corner[3, t]))
            high, low = max(max(a, b), max(c, d)), min(min(a, b), min(c, d))
            matters = np.uint8(MATTERS) if lead >= -far else np.uint8(0)
            best = np.uint8(MAY_BE_BEST) if lead >= 0 else np.uint8(0)
            mask = np.uint8(COVERS) if low > 0 else np.uint8(COVERS_PARTLY) if high > 0 else np.uint8(0)
            state[k, t] = matters | best | mask
            lowest[t] = lead
        if len(depths) != len(masks):
            continue
        above, below = depths[queries[k], y0], depths[queries[k], y1]
        for t in range(tiles):
            a, b, c, d = above[x0s[t]], above[x1s[t]], below[x0s[t]], below[x1s[t]]
            spread = max(max(a, b), max(c, d)) - min(min(a, b), min(c, d))
            flat = bend * spread * spread * exp(min(lowest[t], np.float32(0))) <= error
            state[k, t] |= np.uint8(FLAT) if flat else np.uint8(0)


@numba.njit(inline="always")
def _lay_out(weights, left, width, height, out):  # type: ignore[no-untyped-def]
    """The weights of a tile's columns, once for each of its rows."""
    for r in range(height):
        for i in range(width):
            out[r * width + i] = weights[left + i]


@numba.njit(inline="always")
def _store(values, begin, width, row, left):  # type: ignore[no-untyped-def]
    """Copy `width` values to `row` at `left`. What it writes beyond, the next tile to the right writes again."""
    if left + LANES <= len(row):
        for i in range(LANES):
            row[left + i] = values[begin + i]
    else:
        for i in range(width):
            row[left + i] = values[begin + i]


@compiled
def fuse_rows(  # type: ignore[no-untyped-def]
    band, begin, end, masks, depths, shares, backup, queries, mode, spans_y, low_y, high_y, weight_y, spans_x, low_x,
    high_x, weight_x, threshold, error, owner, probability, depth, owned, own_mask,
):  # fmt: skip
    """Fill rows of tiles of `owner`, `probability` and `depth`; count pixels in `owned` and `own_mask`, by band."""
    number, tiles = len(queries), len(spans_x)
    has_backup = len(backup) > 0
    zero, one = np.float32(0), np.float32(1)
    x0s, x1s = np.empty(tiles, np.int64), np.empty(tiles, np.int64)
    for t in range(tiles):
        x0s[t], x1s[t] = low_x[spans_x[t, 0]], high_x[spans_x[t, 0]]
    pivot = np.zeros(tiles, np.int64)
    lowest, corner = np.empty(tiles, np.float32), np.empty((4, tiles), np.float32)
    state = np.empty((number, tiles), np.uint8)
    chosen, rivals = np.empty((tiles, number), np.int64), np.empty((tiles, number), np.int64)
    chosen_number, rivals_number = np.empty(tiles, np.int64), np.empty(tiles, np.int64)
    # Pixels of a tile lie in a row, up to a multiple of LANES, so that vector loops leave no rest.
    xs, y = np.zeros((tiles, ROOM), np.float32), np.zeros(ROOM, np.float32)
    best, arg = np.empty(ROOM + LANES, np.float32), np.empty(ROOM + LANES, np.uint16)
    total, mixed = np.empty(ROOM, np.float32), np.empty(ROOM + LANES, np.float32)
    won, covered = np.zeros(number + 1, np.int64), np.zeros(number, np.int64)
    height_of_xs = -1

    for span in range(begin, end):
        first, height = spans_y[span, 0], spans_y[span, 1] - spans_y[span, 0]
        y0, y1 = low_y[first], high_y[first]
        if height != height_of_xs:
            height_of_xs = height
            for t in range(tiles):
                _lay_out(weight_x, spans_x[t, 0], spans_x[t, 1] - spans_x[t, 0], height, xs[t])
        width_of_y = -1
        _bounds(masks, depths, queries, y0, y1, x0s, x1s, pivot, lowest, corner, state, error)
        chosen_number[:] = 0
        rivals_number[:] = 0
        for k in range(number):
            for t in range(tiles):
                what = state[k, t]
                if what & ~FLAT == 0:
                    continue
                if what & MATTERS:
                    chosen[t, chosen_number[t]] = k
                    chosen_number[t] += 1
                if what & MAY_BE_BEST:
                    rivals[t, rivals_number[t]] = k
                    rivals_number[t] += 1
                left, width = spans_x[t, 0], spans_x[t, 1] - spans_x[t, 0]
                if what & COVERS:
                    covered[k] += width * height
                elif what & COVERS_PARTLY:
                    a, b, c, d = _surface(masks[queries[k]], y0, y1, x0s[t], x1s[t])
                    for r in range(height):
                        start = a + c * weight_y[first + r]
                        slope = b + d * weight_y[first + r]
                        for i in range(width):
                            covered[k] += start + slope * weight_x[left + i] > zero

        for t in range(tiles):
            if rivals_number[t] == 0:  # the logits are not numbers: nor is what becomes of them
                rivals_number[t] = chosen_number[t] = 1
                rivals[t, 0] = chosen[t, 0] = pivot[t]
            left, width = spans_x[t, 0], spans_x[t, 1] - spans_x[t, 0]
            x0, x1 = x0s[t], x1s[t]
            pixels = (height * width + LANES - 1) // LANES * LANES
            x = xs[t]
            if width != width_of_y:
                width_of_y = width
                for r in range(height):
                    y[r * width : (r + 1) * width] = weight_y[first + r]

            alone = rivals_number[t] == 1
            k = rivals[t, 0]
            a, b, c, d = _surface(masks[queries[k]], y0, y1, x0, x1)
            for p in range(pixels):
                best[p] = a + b * x[p] + c * y[p] + d * (x[p] * y[p])
                arg[p] = k
            for j in range(1, rivals_number[t]):
                k = rivals[t, j]
                a, b, c, d = _surface(masks[queries[k]], y0, y1, x0, x1)
                for p in range(pixels):
                    value = a + b * x[p] + c * y[p] + d * (x[p] * y[p])
                    arg[p] = k if value > best[p] else arg[p]
                    best[p] = max(value, best[p])

            if mode == ONE_MAP:
                a, b, c, d = _surface(depths[0], y0, y1, x0, x1)
                for p in range(pixels):
                    mixed[p] = sigmoid(a + b * x[p] + c * y[p] + d * (x[p] * y[p]))
            elif mode == BY_QUERY:
                if has_backup:
                    a, b, c, d = _surface(backup[0], y0, y1, x0, x1)
                    for p in range(pixels):
                        total[p] = exp(-max(best[p], zero))
                        mixed[p] = total[p] * sigmoid(a + b * x[p] + c * y[p] + d * (x[p] * y[p]))
                else:
                    total[:pixels] = zero
                    mixed[:pixels] = zero
                for j in range(chosen_number[t]):
                    k = chosen[t, j]
                    a, b, c, d = _surface(masks[queries[k]], y0, y1, x0, x1)
                    linear = state[k, t] & FLAT != 0
                    e, f, g, h = _surface(shares[k] if linear else depths[queries[k]], y0, y1, x0, x1)
                    if alone and not has_backup and k == rivals[t, 0]:
                        for p in range(pixels):
                            own = e + f * x[p] + g * y[p] + h * (x[p] * y[p])
                            mixed[p] += own if linear else sigmoid(own)
                            total[p] += one
                    elif linear:
                        for p in range(pixels):
                            top = max(best[p], zero) if has_backup else best[p]
                            share = exp(a + b * x[p] + c * y[p] + d * (x[p] * y[p]) - top)
                            total[p] += share
                            mixed[p] += share * (e + f * x[p] + g * y[p] + h * (x[p] * y[p]))
                    else:
                        for p in range(pixels):
                            top = max(best[p], zero) if has_backup else best[p]
                            share = exp(a + b * x[p] + c * y[p] + d * (x[p] * y[p]) - top)
                            total[p] += share
                            mixed[p] += share * sigmoid(e + f * x[p] + g * y[p] + h * (x[p] * y[p]))
                for p in range(pixels):
                    mixed[p] /= total[p]

            for p in range(pixels):
                best[p] = sigmoid(best[p])
                arg[p] = arg[p] if best[p] >= threshold else number
            for r in range(height):
                _store(arg, r * width, width, owner[first + r], left)
                _store(best, r * width, width, probability[first + r], left)
                if mode:
                    _store(mixed, r * width, width, depth[first + r], left)
            if alone:
                inside = 0
                for p in range(height * width):
                    inside += best[p] >= threshold
                won[rivals[t, 0]] += inside
            else:
                for p in range(height * width):
                    won[arg[p]] += 1
    owned[band] = won  # at the end: threads that write to one cache line all the time wait for each other
    own_mask[band] = covered


@compiled
def shares_of_depth(band, begin, end, depths, queries, shares):  # type: ignore[no-untyped-def]
    """Sigmoids of the queries' depth logits."""
    for k in range(begin, end):
        for row in range(depths.shape[1]):
            for column in range(depths.shape[2]):
                shares[k, row, column] = sigmoid(depths[queries[k], row, column])


@compiled
def mean_probability(band, begin, end, masks, queries, quality):  # type: ignore[no-untyped-def]
    """Mean probability of each mask over the pixels where it is above one half."""
    zero, one = np.float32(0), np.float32(1)
    for k in range(begin, end):
        logits = masks[queries[k]]
        total, inside = zero, zero
        for p in range(len(logits)):
            total += sigmoid(logits[p]) if logits[p] > zero else zero
            inside += one if logits[p] > zero else zero
        quality[k] = total / max(inside, one)


@compiled
def label_rows(  # type: ignore[no-untyped-def]
    band, begin, end, owner, probability, depth, panoptic_ids, of_class, factor
):
    """Ids for owners, confidence for mask probability, metres for shares of D_max."""
    for row in range(begin, end):
        for column in range(owner.shape[1]):
            k = owner[row, column]
            owner[row, column] = panoptic_ids[k]
            probability[row, column] *= of_class[k]
        if len(depth):
            for column in range(owner.shape[1]):
                depth[row, column] *= factor

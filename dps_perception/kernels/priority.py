"""Things before stuff: the first thing in order whose mask covers a pixel owns it, else the most probable rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import OutputGrid
from .bands import as_input, compiled, count, in_bands
from .dense import Dense
from .fusion import Axis


@compiled
def _rows(  # type: ignore[no-untyped-def]
    band, begin, end, things, rest, cells_y, y0s, y1s, wys, cells_x, x0s, x1s, wxs, threshold, owner, probability,
    owned, own_mask,
):  # fmt: skip
    number, others = things.shape[0], rest.shape[0]
    near, rivals = np.empty(number, np.int64), np.empty(others, np.int64)
    for row in range(begin, end):
        y0, y1 = y0s[cells_y[row, 0]], y1s[cells_y[row, 0]]
        for column in range(len(cells_x)):
            x0, x1 = x0s[cells_x[column, 0]], x1s[cells_x[column, 0]]
            count_near = 0
            for k in range(number):  # a bilinear surface stays below its highest corner
                t = things[k]
                if max(max(t[y0, x0], t[y0, x1]), max(t[y1, x0], t[y1, x1])) > threshold:
                    near[count_near] = k
                    count_near += 1
            pivot, lowest = 0, np.float32(-1)  # what is below another at all four corners is nowhere the best
            for r in range(others):
                t = rest[r]
                low = min(min(t[y0, x0], t[y0, x1]), min(t[y1, x0], t[y1, x1]))
                if low > lowest:
                    pivot, lowest = r, low
            count_rivals = 0
            for r in range(others):
                t, p = rest[r], rest[pivot]
                behind = max(t[y0, x0] - p[y0, x0], t[y0, x1] - p[y0, x1]) < 0
                behind = behind and max(t[y1, x0] - p[y1, x0], t[y1, x1] - p[y1, x1]) < 0
                if not behind:
                    rivals[count_rivals] = r
                    count_rivals += 1
            for y in range(cells_y[row, 0], cells_y[row, 1]):
                for x in range(cells_x[column, 0], cells_x[column, 1]):
                    wy, wx = wys[y], wxs[x]
                    mine, best = number + others, np.float32(0)
                    for i in range(count_near):
                        t = things[near[i]]
                        above = t[y0, x0] + wx * (t[y0, x1] - t[y0, x0])
                        below = t[y1, x0] + wx * (t[y1, x1] - t[y1, x0])
                        value = above + wy * (below - above)
                        if value > threshold:
                            own_mask[band, near[i]] += 1
                            if mine == number + others:
                                mine, best = near[i], value
                    if mine == number + others:
                        for i in range(count_rivals):
                            r = rivals[i]
                            t = rest[r]
                            above = t[y0, x0] + wx * (t[y0, x1] - t[y0, x0])
                            below = t[y1, x0] + wx * (t[y1, x1] - t[y1, x0])
                            value = above + wy * (below - above)
                            if value > best:
                                mine, best = number + r, value
                    owner[y, x], probability[y, x] = mine, best
                    owned[band, mine] += 1


def dense(
    things: NDArray[np.float32],
    rest: NDArray[np.float32],
    grid: OutputGrid,
    stride: int,
    threshold: float,
) -> Dense[NDArray[Any]]:
    """Owner of each pixel and its probability.

    Args:
        things: (K, h, w) mask probabilities, best thing first.
        rest: (R, h, w) probabilities of what owns the pixels that no thing covers.
        grid: of the output.
        stride: network input pixels per tensor pixel.
        threshold: a thing covers a pixel above this probability.

    Returns:
        Owners 0 to K - 1 things, K to K + R - 1 the rest, K + R nobody; no depth. `own_mask` of the rest is 0.
    """
    size, total = (grid.height, grid.width), len(things) + len(rest)
    height, width = things.shape[1:] if len(things) else rest.shape[1:]
    rows = Axis.between(height, grid.height, grid.scale_y / stride)
    columns = Axis.between(width, grid.width, grid.scale_x / stride)
    owner, probability = np.empty(size, np.uint16), np.empty(size, np.float32)
    bands = count(len(rows.cells))
    owned, own_mask = np.zeros((bands, total + 1), np.int64), np.zeros((bands, total), np.int64)
    in_bands(
        _rows, len(rows.cells), as_input(things, np.float32), as_input(rest, np.float32), rows.cells, rows.low,
        rows.high, rows.weight, columns.cells, columns.low, columns.high, columns.weight, np.float32(threshold), owner,
        probability, owned, own_mask,
    )  # fmt: skip
    return Dense(owner, probability, None, owned.sum(0)[:-1], own_mask.sum(0))

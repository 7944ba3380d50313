"""Depth of each pixel from the segment that owns it (PanopticDepth, Eq. 3 to 5), without upsampling a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..types import OutputGrid
from .bands import as_input, compiled, in_bands
from .fusion import Axis
from .mathematics import sigmoid

LEAST = 1e-3
"""Smallest depth as a share of d_max: a range around a small mean reaches below zero."""


@compiled
def _rows(  # type: ignore[no-untyped-def]
    band, begin, end, owner, logits, factor, shift, y0s, y1s, wys, x0s, x1s, wxs, out
):
    least = np.float32(LEAST)
    for y in range(begin, end):
        y0, y1, wy = y0s[y], y1s[y], wys[y]
        for x in range(owner.shape[1]):
            k = owner[y, x]
            if k >= logits.shape[0]:
                out[y, x] = np.nan
                continue
            x0, x1, wx = x0s[x], x1s[x], wxs[x]
            above = logits[k, y0, x0] + wx * (logits[k, y0, x1] - logits[k, y0, x0])
            below = logits[k, y1, x0] + wx * (logits[k, y1, x1] - logits[k, y1, x0])
            out[y, x] = max(factor[k] * sigmoid(above + wy * (below - above)) + shift[k], least)


def own_depth(
    owner: NDArray[np.uint16],
    logits: NDArray[np.float32],
    factor: NDArray[np.float32],
    shift: NDArray[np.float32],
    grid: OutputGrid,
    stride: int,
) -> NDArray[np.float32]:
    """factor * sigmoid(logits of the owner, bilinear) + shift, at least `LEAST`; NaN where nobody owns the pixel.

    Args:
        owner: (H, W) number of the owner; K and above is nobody.
        logits: (K, h, w) before the sigmoid of Eq. 3.
        factor, shift: (K,) of each owner, shares of d_max.
        grid: of the output.
        stride: network input pixels per tensor pixel.
    """
    out = np.empty(owner.shape, np.float32)
    rows = Axis.between(logits.shape[1], grid.height, grid.scale_y / stride)
    columns = Axis.between(logits.shape[2], grid.width, grid.scale_x / stride)
    in_bands(
        _rows, len(owner), as_input(owner, np.uint16), as_input(logits, np.float32), as_input(factor, np.float32),
        as_input(shift, np.float32), rows.low, rows.high, rows.weight, columns.low, columns.high, columns.weight, out,
    )  # fmt: skip
    return out

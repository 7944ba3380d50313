"""Mask probabilities from dense boxes (Real-Time Panoptic, Eq. 5 and 6): IoU with the query where its class may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bands import as_input, compiled, in_bands


@compiled
def _rows(band, begin, end, dense, semantic, boxes, classes, least, out):  # type: ignore[no-untyped-def]
    zero, tiny = np.float32(0), np.float32(1e-6)
    for k in range(boxes.shape[0]):
        left, top, right, bottom = boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3]
        area, likely = (right - left) * (bottom - top), semantic[classes[k]]
        for y in range(begin, end):
            for x in range(dense.shape[3]):
                best = zero
                if likely[y, x] > least:  # the product is below it otherwise
                    for level in range(dense.shape[0]):
                        x0, y0 = dense[level, 0, y, x], dense[level, 1, y, x]
                        x1, y1 = dense[level, 2, y, x], dense[level, 3, y, x]
                        width, height = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
                        inside = max(width, zero) * max(height, zero)
                        best = max(best, inside / max((x1 - x0) * (y1 - y0) + area - inside, tiny))
                out[k, y, x] = best * likely[y, x]


def box_masks(
    dense: NDArray[np.float32],
    semantic: NDArray[np.float32],
    boxes: NDArray[np.float32],
    classes: NDArray[np.int64],
    least: float,
) -> NDArray[np.float32]:
    """(K, h, w) mask probabilities of the queries; 0 where the class's own probability is not above `least`.

    Args:
        dense: (L, 4, h, w) left, top, right, bottom of the box at each place; of several the best counts.
        semantic: (C, h, w) class probabilities.
        boxes: (K, 4) of the queries.
        classes: (K,) of the queries, indices into `semantic`.
        least: at which no mask is asked for.
    """
    out = np.empty((len(boxes), *dense.shape[2:]), np.float32)
    in_bands(
        _rows, dense.shape[2], as_input(dense, np.float32), as_input(semantic, np.float32), as_input(boxes, np.float32),
        as_input(classes, np.int64), np.float32(least), out,
    )  # fmt: skip
    return out

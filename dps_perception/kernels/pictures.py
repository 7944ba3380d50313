"""Coloured depth and tinted images, pixel by pixel, written to where they are wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bands import as_input, compiled, in_bands


def fill_depth_colors(
    picture: NDArray[np.uint8], depth_m: NDArray[np.float32], starts_m: NDArray[np.float32], table: NDArray[np.uint8]
) -> None:
    """Write the colour of each depth.

    Args:
        picture: (H, W, 3), written to.
        depth_m: (H, W); +Inf gets the last colour but one, NaN and what is not above 0 the last.
        starts_m: (L,) ascending depths above 0 at which the colours 1..L begin; nearer ones get colour 0.
        table: (L + 3, 3) RGB.
    """
    # A float's bits ascend with its value: their upper half says the colour, or that with the next one.
    keys = starts_m.view(np.int32) >> _SHIFT
    first = np.searchsorted(keys, np.arange(_KEYS, dtype=np.int32)).astype(np.uint8)
    in_bands(_depth_colors, len(picture), as_input(depth_m, np.float32), starts_m, first, table, picture)


def fill_tint(
    picture: NDArray[np.uint8],
    rgb: NDArray[np.uint8],
    panoptic: NDArray[np.uint16],
    colors: NDArray[np.uint8],
    bordered: NDArray[np.bool_],
    alpha: float,
    reach: int,
) -> None:
    """Write the image tinted with its classes' colours, with white borders around instances.

    Args:
        picture: (H, W, 3), written to.
        rgb: (H, W, 3).
        panoptic: (H, W) panoptic ids.
        colors: (256, 3) RGB by class.
        bordered: (256,) the classes whose pixels become white beside another segment.
        alpha: share of the colours.
        reach: how many pixels wide borders are on each side.
    """
    inputs = as_input(rgb, np.uint8), as_input(panoptic, np.uint16)
    image = np.float32(1 - alpha)
    tints = colors.astype(np.float32) * np.float32(alpha) + np.float32(0.5)
    in_bands(_tint, len(picture), *inputs, tints, bordered, image, reach, picture)


_SHIFT, _KEYS = 16, 1 << 15


@compiled
def _depth_colors(band, begin, end, depth, starts, first, table, picture):  # type: ignore[no-untyped-def]
    width, last = depth.shape[1], len(table) - 1
    for row in range(begin, end):
        bits = depth[row].view(np.int32)
        for column in range(width):
            z = depth[row, column]
            level = last
            if z > 0:
                level = last - 1
                if z < np.inf:
                    level = np.int64(first[bits[column] >> _SHIFT])
                    while level < len(starts) and starts[level] <= z:
                        level += 1
            picture[row, column, 0] = table[level, 0]
            picture[row, column, 1] = table[level, 1]
            picture[row, column, 2] = table[level, 2]


@compiled
def _tint(band, begin, end, rgb, panoptic, tints, bordered, image, reach, picture):  # type: ignore[no-untyped-def]
    height, width = panoptic.shape
    for row in range(begin, end):
        for column in range(width):
            class_id = panoptic[row, column] >> 8
            for channel in range(3):
                mixed = np.float32(rgb[row, column, channel]) * image + tints[class_id, channel]
                picture[row, column, channel] = np.uint8(mixed)
        for column in range(width):
            id_ = panoptic[row, column]
            if not bordered[id_ >> 8]:
                continue
            other = False
            for y in range(max(0, row - reach), min(height, row + reach + 1)):
                for x in range(max(0, column - reach), min(width, column + reach + 1)):
                    other |= panoptic[y, x] != id_
            if other:
                for channel in range(3):
                    picture[row, column, channel] = 255

"""Holes in solids: leaves, fence bars and spokes.

What an annotator would draw is the outline: a fence or a wheel is labelled whole, and sky shining through a crown is
still vegetation. So a hole shows what is behind it in the image, while labels and depth stay with the solid;
only the ragged rim of a crown is really cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .builder import Material, Shape
from .noise import fine_noise, fraction

WITH_HOLES = (Material.LEAF, Material.FENCE, Material.SPOKES)
BAR_SHARE = 0.28
RAIL_M = 0.05
SPOKE_COUNT = 18
LEAF_TEXELS_PER_M = (64.0, 34.0)
RIM_TEXELS_PER_M = (24.0, 11.0)
"""Coarser than the leaves, as an annotator would follow the rim of a crown."""
Local = list[NDArray[np.float32]]
Mask = NDArray[np.bool_]


def holes(
    shape: int, material: int, local: Local, half: NDArray[np.float32], params: NDArray[np.float32], facing: Any
) -> tuple[Mask, Mask]:
    """Which hits on a solid are holes to see through, and which are outside its outline.

    Args:
        shape, material: of the primitive.
        local: x, y, z (n,) in the unit solid.
        half: half sizes in metres.
        params: of the primitive.
        facing: (n,) cosine between ray and surface of a ball, else None.
    """
    if material == Material.LEAF:
        return _leaves(shape, local, half, params, facing)
    x, y, z = local
    if material == Material.FENCE:
        bar = fraction(x * (half[0] / params[4])) < np.float32(BAR_SHARE)
        rail = np.abs(z * half[2]) > half[2] - np.float32(RAIL_M)
        hole = ~(bar | rail)
    else:
        radius2 = x * x + y * y
        turn = fraction(np.arctan2(y, x) * np.float32(SPOKE_COUNT / (2 * np.pi)))
        spoke = turn * np.sqrt(radius2) <= np.float32(0.06)
        hole = (radius2 <= params[4] * params[4]) & ~spoke & (radius2 > np.float32(0.01))
    return hole, np.zeros_like(hole)


def flatten(
    ux: NDArray[np.float32], uy: NDArray[np.float32], uz: NDArray[np.float32], x: Any, y: Any, z: Any
) -> tuple[Any, Any]:
    """Texture coordinates of points (x, y, z) metres: seen along the unit solid's axis that is largest there."""
    ax, ay, az = np.abs(ux), np.abs(uy), np.abs(uz)
    on_top = (az > ax) & (az > ay)
    return np.where(ax > ay, y, x), np.where(on_top, np.where(ax > ay, x, y), z)


def _leaves(
    shape: int, local: Local, half: NDArray[np.float32], params: NDArray[np.float32], facing: Any
) -> tuple[Mask, Mask]:
    x, y, z = local[0] * half[0], local[1] * half[1], local[2] * half[2]
    u, v = flatten(local[0], local[1], local[2], x, y, z)
    u = u + params[3]

    def pair(texels_per_m: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        a, b = np.float32(texels_per_m[0]), np.float32(texels_per_m[1])
        return fine_noise(u * a, v * a), fine_noise(u * b, v * b + u * np.float32(9))

    fine, coarse = pair(LEAF_TEXELS_PER_M)
    rim_fine, rim_coarse = pair(RIM_TEXELS_PER_M)
    if shape == Shape.BALL:
        outside = facing < params[4] * np.float32(2.2) * rim_fine * rim_coarse
        return fine + coarse < np.float32(0.58) + params[5], outside
    return fine + np.float32(0.5) * coarse < params[4] * np.float32(2.5), np.zeros(len(u), bool)

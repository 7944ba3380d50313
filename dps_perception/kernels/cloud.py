"""The point cloud in one pass: depth, colour and ids of a pixel become a packed point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from .bands import as_input, compiled, in_bands
from .depth import DepthRule

POINT_DTYPE = np.dtype(
    [
        ("x", np.float32),
        ("y", np.float32),
        ("z", np.float32),
        ("rgb", np.uint32),  # 0x00RRGGBB
        ("label", np.uint16),
        ("instance", np.uint16),
    ]
)


def rays(intrinsics: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(x of all columns (W,), y of all rows (H,)) at 1 m depth; a point is depth times these."""
    x = ((np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    y = ((np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy).astype(np.float32)
    return x, y


def fill_cloud(
    cloud: NDArray[np.void],
    depth_m: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    panoptic: NDArray[np.uint16],
    intrinsics: Intrinsics,
    rule: DepthRule,
    stride: int,
) -> None:
    """Write every `stride`-th row and column as points; x y z are NaN where depth doesn't count.

    Args:
        cloud: (h, w) of POINT_DTYPE, contiguous, with h, w = ceil(H / stride), ceil(W / stride).
        depth_m: (H, W).
        rgb: (H, W, 3).
        panoptic: (H, W) panoptic ids; of void become label 255, instance 0.
        intrinsics: of this grid.
        rule: which depths count.
        stride: 1 or more.
    """
    inputs = as_input(depth_m, np.float32), as_input(rgb, np.uint8), as_input(panoptic, np.uint16)
    in_bands(_fill, len(cloud), *inputs, *rays(intrinsics), *rule.interval, rule.hidden, stride, cloud)


@compiled
def _fill(band, begin, end, depth, rgb, panoptic, x, y, near, far, hidden, stride, cloud):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        row = i * stride
        line = depth[row], rgb[row], panoptic[row]
        if stride == 1:  # known to the compiler: a third faster
            _fill_row(*line, x, y[row], near, far, hidden, 1, cloud[i])
        else:
            _fill_row(*line, x, y[row], near, far, hidden, stride, cloud[i])


@compiled
def _fill_row(depth, rgb, panoptic, x, y, near, far, hidden, stride, points):  # type: ignore[no-untyped-def]
    for i in range(points.size):
        column = i * stride
        z, id_ = depth[column], panoptic[column]
        label = id_ >> 8
        z = z if (z >= near) & (z <= far) & ~hidden[label] else np.float32(np.nan)
        red, green, blue = np.uint32(rgb[column, 0]), np.uint32(rgb[column, 1]), np.uint32(rgb[column, 2])
        point = points[i]
        point.x = z * x[column]
        point.y = z * y
        point.z = z
        point.rgb = red << np.uint32(16) | green << np.uint32(8) | blue
        point.label = label
        point.instance = id_ & 255 if label != 255 else 0

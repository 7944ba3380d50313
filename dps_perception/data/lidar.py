"""LiDAR clouds as sparse depth: points of a PointCloud2 projected into a pinhole camera, hidden ones dropped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics, project
from ..errors import ConfigError, ImageError
from .bag_messages import decode_cloud

MIN_DEPTH_M = 0.05
"""Points nearer to the camera's plane than this are taken as behind it."""


@dataclass(frozen=True)
class Occlusion:
    """Which points the camera can't see although the LiDAR, which sits elsewhere, can.

    A point at depth z is dropped where a nearer point, below (1 - `relative`) z, lies within `window_deg` of it: it
    shines through between two beams that hit something in front of it. The window is a square of pixels whose half
    side is focal length x tan(window_deg), at least one pixel.

    The window must reach half the gap between beams: 0.4 degrees suit a LiDAR of 64 rows or more, 1 degree one of
    16. `relative` must leave the ground alone: seen at a grazing angle from the height h, ground at z has ground
    nearer by about z * window / h (20 % at 43 m for 0.4 degrees and 1.5 m), so farther ground may be thinned out.

    Raises:
        ConfigError: a value is out of range.
    """

    window_deg: float = 0.4
    relative: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.window_deg < 45 or not 0 < self.relative < 1:
            raise ConfigError(
                f"occlusion window {self.window_deg} deg, relative {self.relative}: they must be between 0 and 45 "
                "degrees, and between 0 and 1"
            )


OCCLUSION = Occlusion()


def read_points(message: Any) -> NDArray[np.float64]:
    """Points (N, 3) of a PointCloud2, metres in its own frame, organised or not.

    Points that are not finite are left out, and those at exactly (0, 0, 0): many drivers write no-returns so.

    Raises:
        ImageError: no x, y, z of type FLOAT32 or FLOAT64, big endian, or data shorter than the layout needs.
    """
    if message.is_bigendian:
        raise ImageError(
            f"point cloud of frame '{message.header.frame_id}' is big endian, which nothing current sends; "
            "convert it to little endian when recording"
        )
    if message.height * message.width == 0:
        return np.empty((0, 3))
    kinds = {f.name: int(f.datatype) for f in message.fields}
    if any(kinds.get(axis) not in (7, 8) for axis in "xyz"):
        held = ", ".join(f"{name} (datatype {kind})" for name, kind in kinds.items()) or "none"
        raise ImageError(f"point cloud needs fields x, y, z of FLOAT32 (7) or FLOAT64 (8); its fields are: {held}")
    cloud = decode_cloud(message, ("x", "y", "z"))
    points = np.stack([cloud[axis].ravel() for axis in "xyz"], -1).astype(np.float64)
    return points[np.isfinite(points).all(axis=1) & points.any(axis=1)]


def project_cloud(
    points: NDArray[np.floating],
    camera_from_lidar: NDArray[np.float64],
    intrinsics: Intrinsics,
    occlusion: Occlusion | None = OCCLUSION,
) -> NDArray[np.float32]:
    """Sparse depth image of points; of those in one pixel the nearest counts, those behind or outside are dropped.

    Args:
        points: (N, 3) metres in the LiDAR's frame, finite.
        camera_from_lidar: (4, 4), takes the LiDAR's coordinates to those of the camera's optical frame.
        intrinsics: of the image.
        occlusion: which points are hidden; None drops none.

    Returns:
        (H, W) float32, metres along the optical axis; NaN where no point fell.
    """
    height, width = intrinsics.size_hw
    in_camera = np.asarray(points, np.float64) @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    in_camera = in_camera[in_camera[:, 2] >= MIN_DEPTH_M]
    pixels = project(in_camera, intrinsics)
    # Compared as real numbers: a point far to the side would overflow an integer.
    inside = (pixels >= -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
    columns, rows = np.floor(pixels[inside] + 0.5).astype(np.int64).T
    depth = np.full((height, width), np.inf, np.float32)
    np.minimum.at(depth, (rows, columns), in_camera[inside, 2].astype(np.float32))
    hidden = _hidden(depth, occlusion, intrinsics) if occlusion else np.zeros_like(depth, bool)
    return np.where(np.isfinite(depth) & ~hidden, depth, np.nan).astype(np.float32)


def _hidden(depth: NDArray[np.float32], occlusion: Occlusion, intrinsics: Intrinsics) -> NDArray[np.bool_]:
    half_y, half_x = (
        max(1, round(focal * math.tan(math.radians(occlusion.window_deg)))) for focal in (intrinsics.fy, intrinsics.fx)
    )
    window = np.ones((2 * half_y + 1, 2 * half_x + 1), np.uint8)
    nearest_m = cv2.erode(depth, window, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)
    return np.asarray(nearest_m < (1 - occlusion.relative) * depth, np.bool_)

"""Pinhole intrinsics, their change under resizing and cropping, and back-projection.

Pixel coordinates follow REP 104 / OpenCV: the centre of the top left pixel is (0, 0). Depth is along the optical
axis z (x right, y down, z forward; REP 103), never along the ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import CameraInfoError


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels, for an image of `height` x `width` pixels.

    Raises:
        CameraInfoError: a focal length is not positive and finite, or the size is not positive.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int

    def __post_init__(self) -> None:
        if not (np.isfinite([self.fx, self.fy, self.cx, self.cy]).all() and self.fx > 0 and self.fy > 0):
            raise CameraInfoError(
                f"focal length fx={self.fx}, fy={self.fy}, centre ({self.cx}, {self.cy}): "
                "all must be finite and fx, fy > 0; "
                "calibrate the camera (ros2 run camera_calibration cameracalibrator)"
            )
        if self.height <= 0 or self.width <= 0:
            raise CameraInfoError(f"calibration is for a {self.width}x{self.height} image; both must be positive")

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.height, self.width

    def resized(self, height: int, width: int) -> Intrinsics:
        """Intrinsics of the same image resized to `height` x `width` (half-pixel centres, as cv2.resize does)."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, height, width
        )

    def cropped(self, top: int, left: int, height: int, width: int) -> Intrinsics:
        """Intrinsics of the window that starts at (top, left); it may reach beyond the image (padding)."""
        return Intrinsics(self.fx, self.fy, self.cx - left, self.cy - top, height, width)

    def matrix(self) -> NDArray[np.float64]:
        """K, (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)


def back_project(depth_m: NDArray[np.float32], intrinsics: Intrinsics) -> NDArray[np.float32]:
    """Points (H, W, 3) float32 in the optical frame, metres; NaN where depth is not finite and positive.

    Raises:
        CameraInfoError: the depth image has another size than the calibration.
    """
    if depth_m.shape != intrinsics.size_hw:
        raise CameraInfoError(
            f"depth is {depth_m.shape[1]}x{depth_m.shape[0]}, calibration {intrinsics.width}x{intrinsics.height}"
        )
    z = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.nan).astype(np.float32)
    points = np.empty((*z.shape, 3), np.float32)
    x = ((np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    y = ((np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy).astype(np.float32)
    np.multiply(z, x, out=points[..., 0])
    np.multiply(z, y[:, None], out=points[..., 1])
    points[..., 2] = z
    return points


def project(points: NDArray[np.floating], intrinsics: Intrinsics) -> NDArray[np.float64]:
    """Pixel coordinates (..., 2) as (u, v) of points (..., 3) in the optical frame; NaN where z <= 0."""
    points = np.asarray(points, np.float64)
    z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    u = intrinsics.fx * points[..., 0] / z + intrinsics.cx
    v = intrinsics.fy * points[..., 1] / z + intrinsics.cy
    return np.stack([u, v], -1)

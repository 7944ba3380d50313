"""What makes a teacher's depth that of this camera: its focal length, and the robot's own LiDAR or depth camera."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..errors import DatasetError
from .depth_teacher import TeacherDepth

SensorScale = Literal["off", "bag", "frame"]
MIN_POINTS = 30
"""A frame with fewer measured pixels that the teacher knows too has no scale of its own."""


@dataclass(frozen=True)
class Scale:
    """Measured depth divided by the teacher's.

    Attributes:
        factor: median over frames of each frame's median.
        low, high: 16th and 84th percentile over frames.
        frames: number of frames with enough points.
    """

    factor: float
    low: float
    high: float
    frames: int

    def __str__(self) -> str:
        return f"{self.factor:.3f} (two thirds of {self.frames} frames within {self.low:.3f} to {self.high:.3f})"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def for_camera(depth: TeacherDepth, intrinsics: Intrinsics) -> NDArray[np.float32]:
    """Depth for this camera: multiplied by its focal length over the one for which it is right, where that is known."""
    if depth.focal_px is None:
        return depth.depth_m
    return depth.depth_m * np.float32(intrinsics.fx / depth.focal_px)


def ratio(measured_m: NDArray[np.float32] | None, depth_m: NDArray[np.float32]) -> float | None:
    """Median of measured over predicted depth (H, W); None where fewer than `MIN_POINTS` pixels have both."""
    if measured_m is None:
        return None
    both = np.isfinite(measured_m) & (measured_m > 0) & np.isfinite(depth_m) & (depth_m > 0)
    if np.count_nonzero(both) < MIN_POINTS:
        return None
    return float(np.median(measured_m[both].astype(np.float64) / depth_m[both]))


def robust(ratios: Iterable[float | None]) -> Scale:
    """The scale of a bag from those of its frames.

    Raises:
        DatasetError: not a single frame has one.
    """
    known = np.array([r for r in ratios if r is not None])
    if not known.size:
        raise DatasetError(
            f"no frame has {MIN_POINTS} pixels whose depth both the bag's sensor and the teacher know: does the LiDAR "
            "see what the camera sees, and is /tf right? --sensor-scale off goes without"
        )
    low, factor, high = np.percentile(known, [16, 50, 84])
    return Scale(float(factor), float(low), float(high), int(known.size))

"""Pictures of point clouds: square splats with a z-buffer, seen by a virtual pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BACKGROUND = (246, 247, 249)
_NEAREST_M = 1e-3


@dataclass(frozen=True)
class View:
    """A virtual camera in the frame of the points (optical axes: x right, y down, z forward).

    Attributes:
        eye: where it stands, metres.
        target: what is in the middle of its picture.
        focal_px: focal length.
        size_hw: of the picture.
        up: direction that is up in the picture.
    """

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    focal_px: float
    size_hw: tuple[int, int]
    up: tuple[float, float, float] = (0.0, -1.0, 0.0)

    def axes(self) -> NDArray[np.float64]:
        """(3, 3), rows: right, down and forward of the virtual camera."""
        forward = np.subtract(self.target, self.eye)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, self.up)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])


def oblique_view(
    points: NDArray[np.floating], size_hw: tuple[int, int], yaw_deg: float = 16.0, pitch_deg: float = 24.0
) -> View:
    """A view from behind and above the camera that measured the points (N, 3), with nearly all of them in the picture.

    Args:
        points: optical frame, metres, finite.
        size_hw: of the picture.
        yaw_deg: how far the view is turned to the right, so it stands to the left.
        pitch_deg: how far it looks down.
    """
    height, width = size_hw
    focal_px = 1.1 * width
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    axes = View((0.0, 0.0, 0.0), _triple(forward), focal_px, size_hw).axes()
    if not len(points):
        return View(_triple(-forward), (0.0, 0.0, 0.0), focal_px, size_hw)
    local = np.asarray(points, np.float64) @ axes.T
    eye = np.percentile(local, 50, axis=0)
    eye[2] = local[:, 2].min() - 1.0
    # Fit by turns: centre what is seen, then step back (or closer) until it fills the picture.
    for _ in range(20):
        ahead = np.maximum(local[:, 2] - eye[2], 1e-3)
        across = (local[:, :2] - eye[:2]) / ahead[:, None]
        low, high = np.percentile(across, [1, 99], axis=0)
        eye[:2] += (low + high) / 2 * np.median(ahead)
        fill = max((high[0] - low[0]) * focal_px / width, (high[1] - low[1]) * focal_px / height)
        eye[2] -= (fill / 0.94 - 1) * 0.5 * np.median(ahead)
    eye_in_frame = eye @ axes
    return View(_triple(eye_in_frame), _triple(eye_in_frame + forward), focal_px, size_hw)


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


def render_points(
    points: NDArray[np.floating],
    colors: NDArray[np.uint8],
    view: View,
    *,
    radius_m: NDArray[np.floating] | float = 0.0,
    min_radius_px: int = 0,
    max_radius_px: int = 4,
    background: tuple[int, int, int] = BACKGROUND,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw points; in each pixel the nearest one wins.

    Args:
        points: (N, 3) metres; those that are not finite are left out.
        colors: (N, 3) uint8 RGB.
        view: the virtual camera.
        radius_m: half the edge of a point's square, metres, (N,) or one for all.
        min_radius_px: every square reaches at least this far from its middle pixel.
        max_radius_px: none reaches farther than this.
        background: RGB where no point is.

    Returns:
        The picture (H, W, 3) uint8 and the distance of what is seen along the view's axis, (H, W) float32, +Inf
        where nothing is.
    """
    height, width = view.size_hw
    usable = np.isfinite(points).all(axis=1)
    local = (points[usable].astype(np.float64) - view.eye) @ view.axes().T
    radii = np.broadcast_to(np.asarray(radius_m, np.float64), (len(points),))[usable]
    shown = local[:, 2] > _NEAREST_M
    local, radii, tones = local[shown], radii[shown], colors[usable][shown]
    z = local[:, 2]
    u = np.rint(view.focal_px * local[:, 0] / z + (width - 1) / 2).astype(np.int64)
    v = np.rint(view.focal_px * local[:, 1] / z + (height - 1) / 2).astype(np.int64)
    reach = np.clip(np.rint(view.focal_px * radii / z), min_radius_px, max_radius_px).astype(np.int64)
    order = np.argsort(-z, kind="stable")  # far to near: of equal pixels the last assignment stays
    u, v, z, reach, tones = u[order], v[order], z[order], reach[order], tones[order]

    picture = np.full((height * width, 3), background, np.uint8)
    distance = np.full(height * width, np.inf, np.float32)
    for dv in range(-max_radius_px, max_radius_px + 1):
        for du in range(-max_radius_px, max_radius_px + 1):
            x, y = u + du, v + dv
            hit = (reach >= max(abs(du), abs(dv))) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
            pixel, near, tone = y[hit] * width + x[hit], z[hit].astype(np.float32), tones[hit]
            # Within one shift: keep the nearest point of each pixel, then compare with what is there already.
            last = np.zeros(height * width, np.int64)
            last[pixel] = np.arange(1, len(pixel) + 1)
            kept = last[last > 0] - 1
            pixel, near, tone = pixel[kept], near[kept], tone[kept]
            closer = near < distance[pixel]
            distance[pixel[closer]] = near[closer]
            picture[pixel[closer]] = tone[closer]
    return picture.reshape(height, width, 3), distance.reshape(height, width)

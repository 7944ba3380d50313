"""Views: the camera, and parallel views from the sun and from above. Pixels become rays, solids become pixel boxes.

Pixel (u, v) has its centre at integer coordinates, as everywhere in the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...camera import Intrinsics
from .pose import Posed

NEAR_M = 0.25
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
_EDGES = np.array([(i, i ^ k) for i in range(8) for k in (1, 2, 4) if i < i ^ k])
_FAR = np.float32(1e9)
Boxes = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True)
class View:
    """A pinhole camera, or a parallel view where `pixel_m` is set.

    Attributes:
        height, width: pixels.
        rotation: columns right, down, forward in the map frame.
        centre: the pinhole, or the point at the middle of a parallel view.
        origins, directions: (3, 3): row 0 + u * row 1 + v * row 2 is the ray of pixel (u, v). A direction has length
            one along the optical axis, so the ray parameter is depth.
        intrinsics: of a pinhole.
        pixel_m: metres per pixel of a parallel view.
    """

    height: int
    width: int
    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
    origins: NDArray[np.float64]
    directions: NDArray[np.float64]
    intrinsics: Intrinsics | None = None
    pixel_m: float = 0.0

    @property
    def near(self) -> float:
        return -1e9 if self.intrinsics is None else NEAR_M

    @classmethod
    def pinhole(cls, pose: NDArray[np.float64], k: Intrinsics) -> View:
        """The view of a camera with optical-frame-to-map `pose` (4, 4)."""
        rotation, centre = pose[:3, :3], pose[:3, 3]
        origins = np.zeros((3, 3))
        origins[0] = centre
        corner = rotation @ [-k.cx / k.fx, -k.cy / k.fy, 1]
        directions = np.stack([corner, rotation[:, 0] / k.fx, rotation[:, 1] / k.fy])
        return cls(k.height, k.width, rotation, centre, origins, directions, k)

    @classmethod
    def parallel(cls, rotation: NDArray[np.float64], centre: NDArray[np.float64], pixel_m: float, size: int) -> View:
        """A square parallel view of `size` pixels; depth is measured from `centre`."""
        right, down = rotation[:, 0] * pixel_m, rotation[:, 1] * pixel_m
        directions = np.zeros((3, 3))
        directions[0] = rotation[:, 2]
        origins = np.stack([centre - (right + down) * (size - 1) / 2, right, down])
        return cls(size, size, rotation, centre, origins, directions, None, pixel_m)

    def boxes(self, matrix: NDArray[np.float32], centre: NDArray[np.float32], far_m: float) -> Boxes:
        """Pixel boxes of the affine cubes `matrix` (N, 3, 3), `centre` (N, 3).

        Returns:
            First and past-the-last column, first and past-the-last row (int32), nearest depth (float32). A box is
            empty where the cube is not seen or begins beyond `far_m`.
        """
        corners = np.einsum("nij,kj->nki", matrix, _CORNERS) + centre[:, None]
        local = (corners - self.centre.astype(np.float32)) @ self.rotation.astype(np.float32)
        depth = local[..., 2]
        nearest = depth.min(1)
        if self.intrinsics is None:
            u = local[..., 0] / self.pixel_m + (self.width - 1) / 2
            v = local[..., 1] / self.pixel_m + (self.height - 1) / 2
            low, high = np.stack([u.min(1), v.min(1)], 1), np.stack([u.max(1), v.max(1)], 1)
            seen = np.ones(len(u), bool)
        else:
            seen = (depth.max(1) > NEAR_M) & (nearest < far_m)
            low, high = _project_clipped(local, self.intrinsics, seen & (nearest < NEAR_M))
        limit = np.array([self.width, self.height])
        first = np.clip(np.floor(low), 0, limit).astype(np.int32)
        past = np.clip(np.ceil(high) + 1, 0, limit).astype(np.int32)
        past[~seen] = first[~seen]
        return first[:, 0], past[:, 0], first[:, 1], past[:, 1], nearest


def _project_clipped(
    local: NDArray[np.float32], k: Intrinsics, partly: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest (u, v) of each cube (N, 8, 3); cubes that are `partly` too near are cut at the near plane."""
    depth = local[..., 2]
    inside = depth >= NEAR_M
    safe = np.maximum(depth, NEAR_M)
    uv = np.stack([k.fx * local[..., 0] / safe + k.cx, k.fy * local[..., 1] / safe + k.cy], -1)
    low = np.where(inside[..., None], uv, _FAR).min(1)
    high = np.where(inside[..., None], uv, -_FAR).max(1)
    index = np.flatnonzero(partly)
    if len(index):
        a, b = local[index][:, _EDGES[:, 0]], local[index][:, _EDGES[:, 1]]
        crosses = (a[..., 2] < NEAR_M) != (b[..., 2] < NEAR_M)
        t = (NEAR_M - a[..., 2]) / np.where(crosses, b[..., 2] - a[..., 2], 1)
        point = a + t[..., None] * (b - a)
        cut = np.stack([k.fx * point[..., 0] / NEAR_M + k.cx, k.fy * point[..., 1] / NEAR_M + k.cy], -1)
        low[index] = np.minimum(low[index], np.where(crosses[..., None], cut, _FAR).min(1))
        high[index] = np.maximum(high[index], np.where(crosses[..., None], cut, -_FAR).max(1))
    return low, high


def posed_boxes(view: View, posed: Posed, far_m: float) -> Boxes:
    """`View.boxes` of a primitive table."""
    return view.boxes(posed.matrix, posed.centre, far_m)

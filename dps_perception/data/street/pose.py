"""The primitive table at one moment: object poses, swinging limbs, and the camera's pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .builder import Primitives
from .people import ARM_ABOVE_M, HIP_M, SHOULDER_M
from .rotations import OPTICAL_IN_BODY, about_x, about_y, about_z
from .scene import Scene

Floats = NDArray[np.float32]
STEP_RATE = 9.0
"""Angular frequency of walking, rad/s."""


@dataclass(frozen=True)
class Posed:
    """Primitives in the map frame; all arrays share their first axis.

    A point x of the map frame is at `inverse @ (x - centre)` in the unit solid; `matrix` is the way back.
    """

    centre: Floats
    matrix: Floats
    inverse: Floats
    half: Floats
    taper: Floats
    params: Floats
    shape: NDArray[np.int32]
    material: NDArray[np.int32]
    class_id: NDArray[np.int32]
    instance_id: NDArray[np.int32]


def pose_primitives(scene: Scene, t_s: float) -> Posed:
    """Pose the scene's primitives `t_s` seconds after its start."""
    table = scene.primitives
    places = table.placements
    moved = np.minimum(t_s, [p.moves_for_s for p in places])
    s = np.array([p.s for p in places]) + moved * [p.speed_s for p in places]
    d = np.array([p.d for p in places]) + moved * [p.speed_d for p in places]
    x, y, heading = scene.road.position(s, d)
    yaw = heading + [p.yaw for p in places]
    origin = np.stack([x, y, np.array([p.z for p in places])], 1)
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.zeros((len(places), 3, 3))
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = cos, -sin, sin, cos, 1

    centre, rotation = _swing_limbs(table, np.array([p.gait for p in places]), moved)
    turn = turn[table.object_index]
    scale = np.zeros_like(rotation)
    for axis in range(3):
        scale[:, axis, axis] = table.half[:, axis]
    scale[:, 0, 2] = table.shear
    matrix = turn @ rotation @ scale
    return Posed(
        centre=(np.einsum("nij,nj->ni", turn, centre) + origin[table.object_index]).astype(np.float32),
        matrix=matrix.astype(np.float32),
        inverse=np.linalg.inv(matrix).astype(np.float32),
        half=table.half.astype(np.float32),
        taper=table.taper.astype(np.float32),
        params=table.params.astype(np.float32),
        shape=table.shape,
        material=table.material,
        class_id=table.class_id,
        instance_id=table.instance_id,
    )


def _swing_limbs(
    table: Primitives, gait: NDArray[np.float64], moved_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres and rotations in the object's frame, with arms and legs turned about shoulder and hip."""
    centre, rotation = table.centre.copy(), table.rotation.copy()
    limbs = np.flatnonzero(table.swing)
    phase, walked = gait[table.object_index[limbs]], moved_s[table.object_index[limbs]]
    angle = table.swing[limbs] * np.where(phase > 0, np.sin(phase + STEP_RATE * walked), 0.25)
    turn = np.zeros((len(limbs), 3, 3))
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 2, 0], turn[:, 2, 2] = (
        np.cos(angle),
        np.sin(angle),
        -np.sin(angle),
        np.cos(angle),
    )
    turn[:, 1, 1] = 1
    pivot = np.zeros((len(limbs), 3))
    pivot[:, 1] = centre[limbs, 1]
    pivot[:, 2] = np.where(centre[limbs, 2] > ARM_ABOVE_M, SHOULDER_M, HIP_M)
    centre[limbs] = pivot + np.einsum("nij,nj->ni", turn, centre[limbs] - pivot)
    rotation[limbs] = turn @ rotation[limbs]
    return centre, rotation


def base_pose(scene: Scene, t_s: float) -> NDArray[np.float64]:
    """base_link (x forward, y left, z up, on the ground under the camera where it starts) -> map, (4, 4)."""
    place = scene.ego.place
    x, y, heading = scene.road.position(place.s + place.speed_s * t_s, place.d)
    pose = np.eye(4)
    pose[:3, :3] = about_z(float(heading))
    pose[:3, 3] = float(x), float(y), place.z
    return pose


def camera_in_base(scene: Scene) -> NDArray[np.float64]:
    """camera_optical_frame -> base_link, (4, 4): how the camera is mounted."""
    ego = scene.ego
    pose = np.eye(4)
    pose[:3, :3] = about_z(ego.yaw) @ about_y(ego.pitch) @ about_x(ego.roll) @ OPTICAL_IN_BODY
    pose[2, 3] = ego.height
    return pose


def camera_pose(scene: Scene, t_s: float) -> NDArray[np.float64]:
    """camera_optical_frame -> map, (4, 4)."""
    return base_pose(scene, t_s) @ camera_in_base(scene)

"""Keeping the way of the camera clear: what no occupancy check covers (bushes, awnings) must not swallow it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from .pose import camera_pose, pose_primitives
from .scene import Scene

MARGIN_M = 0.35
STEP_S = 0.25


def clear_the_camera(scene: Scene) -> Scene:
    """Leave out objects that come within `MARGIN_M` of the camera during the drive (instance ids stay)."""
    table, posed = scene.primitives, pose_primitives(scene, 0.0)
    times = np.arange(0, scene.duration_s + STEP_S, STEP_S) if scene.ego.place.speed_s else np.zeros(1)
    track = np.array([camera_pose(scene, t)[:3, 3] for t in times], np.float32)
    # Half sizes along the solid's own axes, with the margin, relative to those of the unit solid.
    reach = 1 + MARGIN_M / np.sqrt((posed.matrix**2).sum(1))
    local = np.einsum("nij,ntj->nti", posed.inverse, track - posed.centre[:, None])
    near = (np.abs(local) < reach[:, None]).all(2)
    stands = np.array([p.speed_s == 0 and p.speed_d == 0 for p in table.placements])[table.object_index]
    blocks = near[:, 0] | (near.any(1) & stands)
    if not blocks.any():
        return scene
    kept = ~np.isin(table.object_index, table.object_index[blocks])
    columns = {f.name: getattr(table, f.name)[kept] for f in fields(table) if f.name != "placements"}
    return replace(scene, primitives=replace(table, **columns))

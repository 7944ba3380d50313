"""Deferred shading: depth and primitive index of each pixel become linear colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cast import HitMap
from .ground import shade_ground
from .lighting import Light, fog, sky_color
from .materials import shade_materials
from .pose import Posed
from .scene import Scene
from .surface import describe
from .view import View

F = np.float32
STRIP_PIXELS = 32768
"""Rows are shaded in strips of this many pixels, so that the temporaries stay in the cache."""


@dataclass(frozen=True)
class GBuffer:
    """What the rays met: hits, and where the ground is raised (H, W) bool."""

    hits: HitMap
    raised: NDArray[np.bool_]


def shade(
    scene: Scene, posed: Posed, view: View, buffer: GBuffer, light: Light
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Linear colour (H, W, 3) float32 and the class id of the ground (H, W) uint8 (valid where nothing stands)."""
    color = np.empty((view.height, view.width, 3), F)
    ground = np.zeros((view.height, view.width), np.uint8)
    step = max(1, STRIP_PIXELS // view.width)
    for row in range(0, view.height, step):
        rows = slice(row, min(row + step, view.height))
        color[rows], ground[rows] = _shade_rows(scene, posed, view, buffer, light, rows)
    return color, ground


def _shade_rows(
    scene: Scene, posed: Posed, view: View, buffer: GBuffer, light: Light, rows: slice
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    count, width = rows.stop - rows.start, view.width
    depth, primitive = buffer.hits.depth[rows].ravel(), buffer.hits.primitive[rows].ravel()
    u = np.tile(np.arange(width, dtype=F), count)
    v = np.repeat(np.arange(rows.start, rows.stop, dtype=F), width)
    d = view.directions.astype(F)
    x, y, z = (d[0, j] + d[1, j] * u + d[2, j] * v for j in range(3))
    stretch = np.sqrt(x * x + y * y + z * z)
    ray = np.empty((len(depth), 3), F)
    for j, part in enumerate((x, y, z)):
        np.divide(part, stretch, out=ray[:, j])

    image, ground_class = np.empty((len(depth), 3), F), np.zeros(len(depth), np.uint8)
    is_sky = np.isinf(depth)
    sky = np.flatnonzero(is_sky)
    image[sky] = sky_color(scene.weather, ray[sky])
    hit = np.flatnonzero(~is_sky)
    if len(sky):
        ray, primitive = ray.take(hit, 0), primitive.take(hit)
        depth, stretch = depth.take(hit), stretch.take(hit)
    distance = depth * stretch
    point = view.centre.astype(F) + distance[:, None] * ray
    assert view.intrinsics is not None
    pixel_m = depth / F(view.intrinsics.fx)

    color, normal = np.empty((len(hit), 3), F), np.zeros((len(hit), 3), F)
    highlight, glow, mirror = (np.zeros(len(hit), F) for _ in range(3))
    is_ground = primitive < 0
    g, s = np.flatnonzero(is_ground), np.flatnonzero(~is_ground)
    footprint = pixel_m[g] / np.maximum(np.sqrt(np.abs(ray[g, 2])), F(0.02))
    ground = shade_ground(scene, point[g, 0], point[g, 1], footprint, buffer.raised[rows].ravel()[hit[g]])
    ground_class[hit[g]] = ground.class_id
    color[g], normal[g, 2] = ground.color, 1
    highlight[g], mirror[g] = ground.wet, ground.wet * F(0.4)

    hits, surface = describe(posed, primitive.take(s), point.take(s, 0), ray.take(s, 0), pixel_m.take(s))
    shade_materials(hits, surface, scene.weather)
    color[s], normal[s], highlight[s] = surface.color, surface.normal, surface.highlight
    glow[s], mirror[s] = surface.glow, surface.mirror

    lit, sun = light.illuminate(point, ray, normal, is_ground, color, glow)
    light.reflect(lit, ray, normal, sun, highlight, mirror)
    through, haze = fog(scene.weather, distance)
    image[hit] = lit * through + haze * (1 - through)
    return image.reshape(count, width, 3), ground_class.reshape(count, width)

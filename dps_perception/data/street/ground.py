"""The ground: where rays meet it, what class it is there, and its colour (asphalt, markings, pavement, grass)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import classes
from .noise import fraction, level_of_detail, noise, scramble, smooth_noise, smooth_step
from .road import CURB_M, LEFT, RIGHT, TRAM_TRACKS_M, Road
from .scene import Scene
from .view import View

F = np.float32
Floats = NDArray[np.float32]
MAX_DEPTH_M = 1500.0
PUDDLE_LEVEL = 2
HALF_GAUGE_M = 0.72
LINE_HALF_M = 0.06
DASHES = (9.0, 0.4)
"""Period in metres, painted share."""


@dataclass(frozen=True)
class GroundSurface:
    """Per ground pixel: class id (uint8), linear RGB (n, 3), wetness 0..1."""

    class_id: NDArray[np.uint8]
    color: Floats
    wet: Floats


def ground_depth(view: View, road: Road) -> tuple[Floats, NDArray[np.bool_]]:
    """Depth of the ground (H, W), Inf where there is none, and whether it is the raised part."""
    u, v = np.arange(view.width, dtype=F)[None], np.arange(view.height, dtype=F)[:, None]
    o, d = view.directions[0], view.directions[1:]
    direction = [(o[j] + d[0, j] * u + d[1, j] * v).astype(F) for j in range(3)]
    depth = np.full((view.height, view.width), np.inf, F)
    raised = np.zeros(depth.shape, bool)
    down = np.flatnonzero(direction[2].ravel() < -1e-4)
    dx, dy, dz = (np.broadcast_to(a, depth.shape).ravel()[down] for a in direction)
    x, y, z = view.centre.astype(F)
    high = -(z - F(CURB_M)) / dz
    on_road = road.is_road(*road.coordinates(x + high * dx, y + high * dy))
    t = np.where(on_road, -z / dz, high).astype(F)
    near = t < MAX_DEPTH_M
    depth.ravel()[down[near]] = t[near]
    raised.ravel()[down[near]] = ~on_road[near]
    return depth, raised


def shade_ground(scene: Scene, x: Floats, y: Floats, footprint_m: Floats, raised: NDArray[np.bool_]) -> GroundSurface:
    """Class and colour of ground points (n,); `footprint_m` is what a pixel covers there."""
    road, look = scene.road, scene.road.look
    s, d = (a.astype(F) for a in road.coordinates(x, y))
    on_road = road.is_road(s, d)
    left, away = d > 0, np.abs(d)
    edge = np.where(left, road.curb(LEFT), road.curb(RIGHT)).astype(F)
    class_id = _classify(road, on_road, away, left, edge)

    level = level_of_detail(footprint_m)
    grain = noise(x, y, 4.0, level)
    patches, blots = noise(x + 7, y + 3, 64.0, level - 4), noise(y, x, 17.0, level - 2)
    color = np.empty((len(s), 3), F)
    i = np.flatnonzero(class_id == classes.ROAD)
    color[i] = _asphalt(scene, s[i], d[i], footprint_m[i], on_road[i], (grain[i], patches[i], blots[i]))
    i = np.flatnonzero(class_id == classes.SIDEWALK)
    if look.walk_cover is None:
        tone = _tiles(look.tile_m, s[i], d[i], footprint_m[i], grain[i], patches[i])
    else:
        tone = look.walk_cover.tone(s[i], d[i], footprint_m[i], grain[i], patches[i])
    curb = (away[i] - edge[i] < 0.17) & (away[i] - edge[i] > -0.02)
    tone = np.where(curb, F(look.curb_tone) + F(0.15) * grain[i], tone)
    color[i] = np.where(raised[i] | ~curb, tone, F(0.75))[:, None] * look.pavement.astype(F)
    i = np.flatnonzero(class_id == classes.TERRAIN)
    grass = (F(0.35) + F(0.8) * grain[i] + F(0.4) * blots[i])[:, None] * look.grass.astype(F)
    bare = np.clip((patches[i] - F(look.bare)) * 6, 0, 1)[:, None]
    soil = np.array([0.2, 0.15, 0.1], F) * (F(0.6) + F(0.5) * grain[i, None])
    color[i] = grass * (1 - bare) + bare * soil
    if look.litter > 0:
        _strew_leaves(look.litter, color, x, y, np.flatnonzero(class_id != classes.ROAD), level, patches)
    wet = np.zeros(len(s), F)
    if look.wet > 0:
        i = np.flatnonzero(class_id == classes.ROAD)
        puddles = smooth_noise(x[i] + 7, y[i] + 3, 64.0, PUDDLE_LEVEL)
        wet[i] = F(look.wet) * smooth_step(0.42, 0.62, puddles)
    if scene.weather.wet > 0:
        np.maximum(wet, F(scene.weather.wet) * (F(0.3) + F(0.9) * patches), out=wet)
        color *= (1 - F(0.5) * np.clip(wet, 0, 1))[:, None]
    return GroundSurface(class_id, color, wet)


def _strew_leaves(
    amount: float,
    color: Floats,
    x: Floats,
    y: Floats,
    i: NDArray[np.integer],
    level: NDArray[np.int32],
    patches: Floats,
) -> None:
    """Cover ground points `i` with fallen leaves, in place."""
    flake = noise(x[i] * F(2.5) + 13, y[i] * F(2.5), 4.0, level[i] + 1)
    share = smooth_step(0.62, 0.7, flake + F(0.45 * amount) * patches[i])[:, None]
    leaf = np.array([0.3, 0.14, 0.03], F) * (F(0.4) + F(1.2) * fraction(flake * 37))[:, None]
    color[i] = color[i] * (1 - share) + leaf * share


def _classify(
    road: Road, on_road: NDArray[np.bool_], away: Floats, left: NDArray[np.bool_], edge: Floats
) -> NDArray[np.uint8]:
    look = road.look
    lots = np.where(left, road.lots(LEFT), road.lots(RIGHT)).astype(F)
    class_id = np.full(len(away), classes.TERRAIN, np.uint8)
    class_id[on_road] = classes.ROAD
    verge = np.where(left, look.verge[0], look.verge[1]) & (away > edge + 0.25) & (away < edge + 1.1)
    class_id[~on_road & (away < lots) & ~verge] = classes.SIDEWALK
    if look.lots_paved:
        class_id[~on_road & (away >= lots)] = classes.SIDEWALK
    if road.median > 0:
        class_id[~on_road & (away < road.median / 2)] = classes.TERRAIN if look.verge[0] else classes.SIDEWALK
    return class_id


def _asphalt(
    scene: Scene, s: Floats, d: Floats, footprint_m: Floats, on_road: NDArray[np.bool_], texture: tuple[Floats, ...]
) -> Floats:
    """Grain, wear along the wheel tracks, patches, cracks, markings, tracks and manholes."""
    road, look = scene.road, scene.road.look
    grain, patches, blots = texture
    in_lane = fraction((d - F(road.median / 2)) / F(road.lane_width))
    wear = np.exp(-(((np.abs(in_lane - F(0.5)) - F(0.25)) / F(0.1)) ** 2))
    tone = F(look.asphalt) * (F(0.55) + F(0.5) * grain + F(0.5) * patches) * (1 + F(0.14) * wear)
    if look.road_cover is not None:
        laid = look.road_cover.tone(s, d, footprint_m, grain, patches)
        tone = F(look.asphalt) * laid * (1 + F(0.1) * wear)
    mended = (
        scramble(np.floor(s / 9) * F(12.9898) + np.floor(d / F(1.7)) * F(78.233) + F(scene.seed % 97))
        < 0.07 * look.wear
    )
    tone = np.where(mended, tone * F(0.7), tone)
    crack = (np.abs(blots - F(0.5)) < (F(0.006) + footprint_m * F(0.01)) * F(look.wear)) & (patches > 0.45)
    tone = np.where(crack, tone * F(0.55), tone)
    paint = _markings(road, s, d, footprint_m, on_road) if look.has_paint else np.zeros_like(s)
    paint *= np.clip(F(1.7) * grain + F(0.35) - F(0.6) * (blots > 0.62), 0, 1)
    tone = tone + (F(look.paint) * (F(0.7) + F(0.3) * patches) - tone) * paint * F(0.9)
    if road.has_tram:
        for track in TRAM_TRACKS_M:
            for rail in (track - HALF_GAUGE_M, track + HALF_GAUGE_M):
                tone = np.where(np.abs(d - F(rail)) < F(0.04) + footprint_m * F(0.3), F(0.22), tone)
    manhole = ((fraction(s / 23) - F(0.5)) * 23) ** 2 + (d + F(1.1)) ** 2 < 0.11
    tone = np.where(manhole, tone * F(0.55), tone)
    color = tone[:, None] * look.tint.astype(F)
    if look.yellow_paint:
        color[:, 2] *= 1 - F(0.5) * paint
    return color


def _markings(road: Road, s: Floats, d: Floats, footprint_m: Floats, on_road: NDArray[np.bool_]) -> Floats:
    """Paint coverage 0..1: lines (antialiased by the footprint), zebras, stop lines."""
    paint = np.zeros_like(s)
    width = np.maximum(footprint_m, F(0.01))

    def line(position: float, dashes: tuple[float, float] | None = None) -> None:
        cover = np.clip((F(LINE_HALF_M) + width * F(0.5) - np.abs(d - F(position))) / width, 0, 1)
        if dashes is not None:
            cover = cover * (fraction(s / F(dashes[0])) < dashes[1])
        np.maximum(paint, cover, out=paint)

    if road.median == 0:
        line(0.0, None if sum(road.lanes) > 3 else DASHES)
    for side, lanes in ((LEFT, road.lanes[0]), (RIGHT, road.lanes[1])):
        for index in range(1, lanes):
            line(side * (road.median / 2 + index * road.lane_width), DASHES)
        if road.parking_on(side) > 0:
            line(side * (road.curb(side) - road.parking_on(side)))
    for start, end in road.crossings:
        paint[(s > start - 1.2) & (s < end + 0.5)] = 0
    for start, end in road.zebras:
        stripe = (s > start) & (s < end) & on_road
        paint[stripe] = (fraction(d) < 0.5)[stripe]
        paint[(s > start - 1.2) & (s < start - 0.8) & (d < 0)] = 1
    return paint


def _tiles(tile_m: float, s: Floats, d: Floats, footprint_m: Floats, grain: Floats, patches: Floats) -> Floats:
    across = d / F(tile_m) * F(1.5)
    along = s / F(tile_m) + F(0.5) * (np.floor(across) % 2)
    joint = ((fraction(along) < 0.035) | (fraction(across) < 0.05)) & (footprint_m < tile_m * 0.12)
    shade: Any = fraction(np.sin(np.floor(along) * F(3.17) + np.floor(across) * F(7.31)) * F(917.3))
    tone = F(0.7) + F(0.3) * grain + F(0.22) * patches + F(0.12) * shade
    return tone * np.where(joint, F(0.6), F(1.0))

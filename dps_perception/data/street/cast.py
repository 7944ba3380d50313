"""Ray casting, one primitive at a time: each solid is intersected with the rays of its own screen box.

Ray origin and direction in the unit solid are affine in (u, v), so an intersection is a few broadcast operations.
Primitives come front to back; a box whose pixels are all nearer already is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .builder import Shape
from .cutout import WITH_HOLES, holes
from .pose import Posed
from .view import View, posed_boxes

F = np.float32
Rays = list[Any]
NOTHING = -1


@dataclass(frozen=True)
class HitMap:
    """Depth (H, W) float32 and primitive index (H, W) int32 (-1 none) of the nearest hit."""

    depth: NDArray[np.float32]
    primitive: NDArray[np.int32]

    @classmethod
    def empty(cls, height: int, width: int) -> HitMap:
        return cls(np.full((height, width), np.inf, F), np.full((height, width), NOTHING, np.int32))


def cast(posed: Posed, view: View, hits: HitMap, far_m: float, outline: HitMap | None = None) -> None:
    """Cast all primitives into `hits` in place, where they are nearer than what is there.

    Args:
        posed: the primitives.
        view: the rays.
        hits: holds the depth of the ground, if any, when it comes in.
        far_m: primitives that begin beyond this depth are left out.
        outline: gets the hits on holes (see `cutout`).
    """
    first_u, past_u, first_v, past_v, nearest = posed_boxes(view, posed, far_m)
    index = np.flatnonzero((past_u > first_u) & (past_v > first_v))
    index = index[np.argsort(nearest[index], kind="stable")]
    inverse, centre = posed.inverse[index], posed.centre[index]
    o, d = view.origins.astype(F), view.directions.astype(F)
    start = np.stack([o[0] - centre, *(np.broadcast_to(row, centre.shape) for row in o[1:])])
    origins = np.einsum("nij,rnj->nri", inverse, start)
    directions = np.einsum("nij,rj->nri", inverse, d)
    columns, rows = np.arange(view.width, dtype=F), np.arange(view.height, dtype=F)[:, None]
    near = F(view.near)
    has_holes = np.isin(posed.material, WITH_HOLES)
    for order, i in enumerate(index):
        box = (slice(first_v[i], past_v[i]), slice(first_u[i], past_u[i]))
        depth = hits.depth[box]
        if depth.max() <= nearest[i]:
            continue
        u, v = columns[box[1]], rows[box[0]]
        origin, direction = _local_rays(origins[order], directions[order], u, v, view.pixel_m > 0)
        t, hit = _INTERSECT[posed.shape[i]](origin, direction, posed.taper[i])
        hit = hit & (t >= near) & (t < depth)
        if not has_holes[i]:
            np.copyto(depth, t, where=hit)
            np.copyto(hits.primitive[box], np.int32(i), where=hit)
        else:
            _write_with_holes(posed, int(i), box, t, hit, origin, direction, hits, outline)


def _local_rays(
    o: NDArray[np.float32], d: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32], is_parallel: bool
) -> tuple[Rays, Rays]:
    if is_parallel:
        return [o[0, j] + u * o[1, j] + v * o[2, j] for j in range(3)], [d[0, j] for j in range(3)]
    return [o[0, j] for j in range(3)], [(d[0, j] + u * d[1, j]) + v * d[2, j] for j in range(3)]


def _ball(o: Rays, d: Rays, _: Any) -> tuple[Any, Any]:
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - F(1)
    discriminant = b * b - a * c
    return (-b - np.sqrt(np.maximum(discriminant, 0))) / a, discriminant > 0


def _slab(o: Any, d: Any) -> tuple[Any, Any]:
    """Ray parameters at which -1..1 is entered and left."""
    inverse = F(1) / d
    middle, half = -o * inverse, np.abs(inverse)
    return middle - half, middle + half


def _cylinder(o: Rays, d: Rays, _: Any) -> tuple[Any, Any]:
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - F(1)
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    enter, leave = _slab(o[2], d[2])
    enter, leave = np.maximum((-b - root) / a, enter), np.minimum((-b + root) / a, leave)
    return enter, (discriminant > 0) & (enter <= leave)


def _box(o: Rays, d: Rays, taper: NDArray[np.float32]) -> tuple[Any, Any]:
    enter, leave = _slab(o[2], d[2])
    for j in (0, 1):
        if taper[j] == 1:
            low, high = _slab(o[j], d[j])
            enter, leave = np.maximum(enter, low), np.minimum(leave, high)
            continue
        slope, middle = (1 - taper[j]) * F(0.5), (1 + taper[j]) * F(0.5)
        drop, room = slope * d[2], middle - slope * o[2]
        for sign in (F(1), F(-1)):
            speed = sign * d[j] + drop
            t = (room - sign * o[j]) / speed
            outwards = speed > 0
            leave = np.where(outwards, np.minimum(leave, t), leave)
            enter = np.where(outwards, enter, np.maximum(enter, t))
    return enter, enter <= leave


_INTERSECT = {Shape.BOX: _box, Shape.BALL: _ball, Shape.CYLINDER: _cylinder}


def _write_with_holes(
    posed: Posed,
    i: int,
    box: tuple[slice, slice],
    t: Any,
    hit: Any,
    origin: Rays,
    direction: Rays,
    hits: HitMap,
    outline: HitMap | None,
) -> None:
    pixels = np.nonzero(hit)
    if len(pixels[0]) == 0:
        return
    t = t[pixels]
    o, d = ([a[pixels] if np.ndim(a) == 2 else a for a in part] for part in (origin, direction))
    local = [o[j] + t * d[j] for j in range(3)]
    facing = None
    if posed.shape[i] == Shape.BALL:
        along = local[0] * d[0] + local[1] * d[1] + local[2] * d[2]
        facing = -along / np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    hole, outside = holes(posed.shape[i], posed.material[i], local, posed.half[i], posed.params[i], facing)
    solid = ~(hole | outside)
    where = (pixels[0][solid], pixels[1][solid])
    hits.depth[box][where] = t[solid]
    hits.primitive[box][where] = i
    if outline is None:
        return
    rows, columns, t = pixels[0][hole & ~outside], pixels[1][hole & ~outside], t[hole & ~outside]
    nearer = t < outline.depth[box][rows, columns]
    where = (rows[nearer], columns[nearer])
    outline.depth[box][where] = t[nearer]
    outline.primitive[box][where] = i

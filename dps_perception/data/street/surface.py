"""Where rays meet solids: position on the solid, face, normal, texture coordinates; and the surface being described."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .builder import Shape
from .noise import level_of_detail, noise
from .pose import Posed

F = np.float32
Floats = NDArray[np.float32]
Index = NDArray[np.integer]
X_FACE, Y_FACE, Z_FACE, ROUND = 0, 1, 2, 3


@dataclass(frozen=True)
class Hits:
    """Per pixel (n,) that shows a solid. Everything is float32 but `face`, `material` and `level`.

    Attributes:
        unit: (n, 3) position in the unit solid; `metric` the same in metres.
        face: box face (`X_FACE`, `Y_FACE`, `Z_FACE`) or `ROUND`; caps of cylinders are `Z_FACE`.
        u, v: texture coordinates in metres, v upwards on upright faces.
        half: (n, 3) half sizes; `params` (n, 10) of the primitive.
        footprint_m: what the pixel covers; `level` the mip level for 4 m noise.
        grain, blots: noise at 4 m and 32 m.
    """

    unit: Floats
    metric: Floats
    face: NDArray[np.int8]
    u: Floats
    v: Floats
    half: Floats
    params: Floats
    material: NDArray[np.int32]
    footprint_m: Floats
    level: NDArray[np.int32]
    grain: Floats
    blots: Floats


@dataclass(frozen=True)
class Surface:
    """What the materials fill in, (n, 3) or (n,) float32: linear albedo, unit normal in the map frame, highlight
    strength, glow (multiples of the albedo), mirror strength."""

    color: Floats
    normal: Floats
    highlight: Floats
    glow: Floats
    mirror: Floats


def describe(posed: Posed, primitive: Index, point: Floats, ray: Floats, pixel_m: Floats) -> tuple[Hits, Surface]:
    """Describe hits on solids.

    Args:
        posed: the table.
        primitive: (n,) index of the solid.
        point: (n, 3) in the map frame.
        ray: (n, 3) unit vectors away from the camera.
        pixel_m: (n,) size of a pixel at that depth.
    """
    # `take` is several times faster than indexing with an array.
    inverse, taper = posed.inverse.take(primitive, 0), posed.taper.take(primitive, 0)
    shape, half = posed.shape.take(primitive), posed.half.take(primitive, 0)
    params = posed.params.take(primitive, 0)
    offset = point - posed.centre.take(primitive, 0)
    unit = np.empty_like(point)
    for j in range(3):
        row = inverse[:, j]
        unit[:, j] = row[:, 0] * offset[:, 0] + row[:, 1] * offset[:, 1] + row[:, 2] * offset[:, 2]
    face, local_normal = _faces(unit, shape, taper)
    normal = np.empty_like(unit)
    for j in range(3):
        a, b, c = inverse[:, 0, j], inverse[:, 1, j], inverse[:, 2, j]
        normal[:, j] = a * local_normal[:, 0] + b * local_normal[:, 1] + c * local_normal[:, 2]
    normal /= np.sqrt((normal * normal).sum(1, keepdims=True)) + F(1e-9)
    facing = np.clip(-(normal * ray).sum(1), 0.03, 1)
    footprint = pixel_m / np.sqrt(facing)
    metric = unit * half
    u = np.where(face == X_FACE, metric[:, 1], metric[:, 0])
    u = np.where(face == ROUND, metric[:, 0] + F(0.8) * metric[:, 1], u)
    v = np.where(face == Z_FACE, metric[:, 1], metric[:, 2])
    level, offset_m = level_of_detail(footprint), params[:, 3]
    grain = noise(u + offset_m, v + offset_m * F(1.7), 4.0, level)
    blots = noise(u + offset_m * F(3.1), v + offset_m, 32.0, level - 3)
    hits = Hits(unit, metric, face, u, v, half, params, posed.material.take(primitive), footprint, level, grain, blots)
    color = params[:, :3] * (F(0.82) + F(0.2) * grain + F(0.16) * blots)[:, None]
    zeros = np.zeros(len(primitive), F)
    return hits, Surface(color, normal, zeros, zeros.copy(), zeros.copy())


def _faces(unit: Floats, shape: NDArray[np.int32], taper: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Face and outward normal (not of unit length) of hits on unit solids."""
    normal = unit.copy()
    face = np.full(len(unit), ROUND, np.int8)
    box = np.flatnonzero(shape == Shape.BOX)
    q, t = unit[box], taper[box]
    slope, middle = (1 - t) * F(0.5), (1 + t) * F(0.5)
    outside = np.abs(q)
    outside[:, :2] += slope * q[:, 2:] - middle
    outside[:, 2] -= 1
    box_face = outside.argmax(1).astype(np.int8)
    face[box] = box_face
    box_normal, sign = np.zeros_like(q), np.sign(q)
    for j in (0, 1):
        on = box_face == j
        box_normal[on, j] = sign[on, j]
        box_normal[on, 2] = slope[on, j]
    on = box_face == Z_FACE
    box_normal[on, 2] = sign[on, 2]
    normal[box] = box_normal
    cylinder = np.flatnonzero(shape == Shape.CYLINDER)
    cap = np.abs(unit[cylinder, 2]) > F(0.999)
    normal[cylinder[~cap], 2] = 0
    normal[cylinder[cap], :2] = 0
    face[cylinder[cap]] = Z_FACE
    return face, normal

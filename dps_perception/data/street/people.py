"""People: standing or walking, and riders on two-wheelers."""

from __future__ import annotations

import numpy as np

from .builder import Body, Material
from .outfits import add_outfit
from .palette import DARK, Color

MEAN_HEIGHT_M = 1.72
FOOTPRINT_M = (0.5, 0.55)
"""Space a person takes (along, across the walking direction)."""
HIP_M, SHOULDER_M, ARM_ABOVE_M = 0.86, 1.4, 0.75
"""Limbs swing about the hip, or about the shoulder where their middle is above `ARM_ABOVE_M`."""


def add_person(body: Body, rng: np.random.Generator, is_walking: bool, is_child: bool = False) -> None:
    """Add a standing or walking person."""
    height = rng.uniform(1.0, 1.4) if is_child else float(np.clip(rng.normal(MEAN_HEIGHT_M, 0.09), 1.4, 1.95))
    k = height / 1.75
    girth = rng.uniform(0.85, 1.2) * k
    palette = body.style.palette
    skin, top, legs = palette.skin(rng), palette.cloth(rng), palette.cloth(rng) * 0.8
    swing = 0.45 if is_walking else 0.05
    shoes = palette.cloth(rng) if body.style.is_varied else DARK
    has_coat, has_bag = rng.random() < 0.3, rng.random() < 0.3
    for side in (1, -1):
        leg, arm = side * swing, -side * swing * 0.7
        body.cylinder(
            Material.CLOTH,
            (0, side * 0.09 * girth, 0.44 * k),
            (0.075 * girth, 0.085 * girth, 0.42 * k),
            legs,
            swing=leg,
        )
        body.box(Material.PLAIN, (0.05, side * 0.09 * girth, 0.04), (0.13 * k, 0.05, 0.04), shoes, swing=leg * 0.99)
        upper, hand = (0.055 * girth, 0.055 * girth, 0.33 * k), (0.045, 0.04, 0.07)
        body.ball(Material.CLOTH, (0, side * 0.24 * girth, 1.12 * k), upper, top, swing=arm)
        body.ball(Material.PLAIN, (0, side * 0.25 * girth, 0.82 * k), hand, skin, swing=arm)
    trunk_z, trunk_half = (1.02, 0.42) if has_coat else (1.12, 0.31)
    body.box(Material.CLOTH, (0, 0, trunk_z * k), (0.115 * girth, 0.17 * girth, trunk_half * k), top, taper=(0.9, 1.08))
    body.ball(Material.CLOTH, (0, 0, 1.38 * k), (0.12 * girth, 0.21 * girth, 0.1 * k), top)
    if has_bag:
        body.box(Material.CLOTH, (-0.18 * girth, 0, 1.2 * k), (0.09, 0.15, 0.22), palette.cloth(rng), taper=(0.8, 0.85))
    _add_head(body, 0.0, 1.62 * k, k, skin, palette.hair(rng))
    if body.style.is_varied:
        add_outfit(body, rng, k, girth, skin, swing * 0.7)


def add_rider(body: Body, rng: np.random.Generator, seat_m: float, lean: float) -> None:
    """Add a seated person; `lean` is the forward lean of the trunk in radians."""
    k = float(np.clip(rng.normal(MEAN_HEIGHT_M, 0.09), 1.4, 1.95)) / 1.75
    palette = body.style.palette
    skin, top, legs = palette.skin(rng), palette.cloth(rng), palette.cloth(rng) * 0.8
    forward = 0.42 * np.sin(lean)
    for side in (1, -1):
        knee = (0.22, side * 0.13, seat_m - 0.12)
        body.tube(Material.CLOTH, (-0.12, side * 0.09, seat_m), knee, 0.085, legs)
        body.tube(Material.CLOTH, knee, (0.1, side * 0.13, seat_m - 0.58), 0.06, legs)
        shoulder, hand = (-0.1 + forward, side * 0.2, seat_m + 0.48), (0.38, side * 0.24, seat_m + 0.22)
        body.tube(Material.CLOTH, shoulder, hand, 0.05, top)
    trunk = (-0.15, 0, seat_m - 0.05), (-0.1 + forward, 0, seat_m + 0.55)
    body.tube(Material.CLOTH, *trunk, 0.19, top, is_ball=True)
    cover = palette.car(rng) if rng.random() < 0.6 else palette.hair(rng)
    _add_head(body, -0.06 + forward, seat_m + 0.75, k, skin, cover)


def _add_head(body: Body, x: float, z: float, scale: float, skin: Color, cover: Color) -> None:
    body.ball(Material.PLAIN, (x, 0, z), (0.1 * scale, 0.085 * scale, 0.125 * scale), skin)
    body.ball(Material.PLAIN, (x - 0.02, 0, z + 0.035), (0.108 * scale, 0.095 * scale, 0.11 * scale), cover)

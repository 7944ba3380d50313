"""Trees, bushes and hedges."""

from __future__ import annotations

import numpy as np

from . import classes
from .builder import Builder, Material, Placement
from .tree_forms import add_varied_tree

CLEARANCE_M = 2.4
"""Height below which the crown of a street tree has no leaves, so that none hangs before the camera."""


def add_tree(builder: Builder, s: float, d: float, rng: np.random.Generator, height: float | None = None) -> None:
    """A trunk with a crown of balls; `height` in metres is drawn if not given."""
    body = builder.body(Placement(s, d, rng.uniform(0, 2 * np.pi)), classes.VEGETATION, rng)
    height = float(rng.uniform(4.5, 11)) if height is None else height
    if builder.style.is_varied:
        add_varied_tree(body, height, CLEARANCE_M, rng)
        return
    trunk_radius = rng.uniform(0.07, 0.02 + height * 0.025)
    trunk = height * rng.uniform(0.3, 0.5)
    bark = np.array([0.12, 0.09, 0.07]) * rng.uniform(0.5, 1.6)
    color = builder.style.palette.crown(rng)
    radius = (height - trunk) * rng.uniform(0.42, 0.62)
    balls = []
    for _ in range(rng.integers(6, 11)):
        direction = rng.normal(0, 1, 3)
        direction /= np.linalg.norm(direction)
        ball = radius * rng.uniform(0.42, 0.72)
        x, y = direction[:2] * (radius - ball) * 1.1
        z = trunk + radius * 0.9 + direction[2] * (height - trunk) * 0.33
        balls.append((x, y, z, ball, ball * rng.uniform(0.7, 1), rng.uniform(0.8, 1.2), rng.uniform(0.3, 0.5)))
    lift = max(0.0, CLEARANCE_M - min(z - half for _, _, z, _, half, _, _ in balls))
    top = (rng.normal(0, 0.1), rng.normal(0, 0.1), trunk + 0.5 + lift)
    body.tube(Material.BARK, (0, 0, 0), top, trunk_radius, bark)
    for x, y, z, ball, half, tint, density in balls:
        body.ball(Material.LEAF, (x, y, z + lift), (ball, ball, half), color * tint, (density,))


def add_bush(builder: Builder, s: float, d: float, rng: np.random.Generator, scale: float = 1.0) -> None:
    """A few balls of leaves on the ground."""
    body = builder.body(Placement(s, d, rng.uniform(0, 2 * np.pi)), classes.VEGETATION, rng)
    color = builder.style.palette.bush(rng, 0.6, 1.6)
    for _ in range(rng.integers(1, 4)):
        centre = (*rng.normal(0, 0.7 * scale, 2), rng.uniform(0.3, 0.9) * scale)
        body.ball(Material.LEAF, centre, rng.uniform(0.5, 1.4, 3) * scale, color, (0.35,))


def add_hedge(builder: Builder, place: Placement, length: float, height: float, rng: np.random.Generator) -> None:
    """A clipped hedge along the road."""
    body = builder.body(place, classes.VEGETATION, rng)
    half = (length / 2, rng.uniform(0.25, 0.45), height / 2)
    body.box(Material.LEAF, (0, 0, height / 2), half, builder.style.palette.bush(rng, 0.7, 1.4), (0.12,))


def add_grove(builder: Builder, s: float, d: float, rng: np.random.Generator, height: float) -> None:
    """A mass of foliage seen from afar: what closes the view behind the first row."""
    body = builder.body(Placement(s, d, rng.uniform(0, 2 * np.pi)), classes.VEGETATION, rng)
    color = builder.style.palette.grove(rng)
    for _ in range(rng.integers(3, 6)):
        size = height * rng.uniform(0.35, 0.5)
        centre = (*rng.normal(0, 0.45 * height, 2), height - size)
        body.ball(Material.LEAF, centre, (size * 1.3, size * 1.3, size), color * rng.uniform(0.8, 1.2), (0.3,))
        body.tube(Material.BARK, (centre[0], centre[1], 0), centre, 0.2, (0.08, 0.06, 0.05))

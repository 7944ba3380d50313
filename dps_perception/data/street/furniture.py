"""Street furniture beside the curb: trees, lamps, signs, traffic lights, bollards, bins, guard fences."""

from __future__ import annotations

import numpy as np

from . import classes
from .builder import Body, Builder, Material, Placement
from .occupancy import Occupancy
from .palette import GALVANISED
from .road import LEFT, SIDES, Road
from .rotations import about_y
from .vegetation import add_tree

LAMP_GLOW_AT_DUSK = 3.0
LAMP_COLOR = (0.6, 0.6, 0.5)
RED, BLUE, YELLOW, GREEN = (0.6, 0.02, 0.02), (0.02, 0.08, 0.5), (0.6, 0.5, 0.05), (0.02, 0.25, 0.1)
RING, DISC, PANEL, WARNING = 0, 1, 2, 3
"""Faces of traffic signs (see `materials_street.sign`)."""


def add_street_trees(builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator) -> None:
    """A row of trees on some pavements."""
    if rng.random() > builder.style.tree_rows:
        return
    spacing, s = rng.uniform(6, 13), rng.uniform(-4, 8)
    while s < road.length:
        place = Placement(s, side * (road.curb(side) + 0.8))
        if not road.in_crossing(s, 3) and rng.random() < 0.85 and space.try_claim(place, 0.4, 0.4):
            add_tree(builder, place.s, place.d, rng, rng.uniform(4.5, 9.5))
        s += spacing


def add_lamps(
    builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator, is_dusk: bool
) -> None:
    """Street lamps of one of three kinds (an arm, two arms, a globe on the post)."""
    spacing, s = rng.uniform(18, 32), rng.uniform(0, 15)
    kind, height = rng.choice(3, p=[0.6, 0.15, 0.25]), rng.uniform(5, 9)
    radius, color = rng.uniform(0.06, 0.1), np.full(3, rng.choice([0.06, 0.2, 0.35])) + rng.normal(0, 0.01)
    color = np.clip(color, 0.02, 1)
    glow = (LAMP_GLOW_AT_DUSK if is_dusk else 0.0,)
    while s < road.length:
        place = Placement(s, side * (road.curb(side) + 0.4))
        if not road.in_crossing(s, 1) and space.try_claim(place, 0.3, 0.3):
            body = builder.body(place, classes.POLE, rng)
            if kind == 2:
                post = 0.55 * height
                body.tube(Material.METAL, (0, 0, 0), (0, 0, post), radius, color)
                body.ball(Material.LAMP, (0, 0, post + 0.22), (0.24, 0.24, 0.26), LAMP_COLOR, glow)
            else:
                body.tube(Material.METAL, (0, 0, 0), (0, 0, height), radius, color)
                for arm in (-side,) if kind == 0 else (-side, side):
                    body.tube(Material.METAL, (0, 0, height), (0, arm * 1.8, height + 0.3), 0.045, color)
                    body.ball(Material.LAMP, (0, arm * 1.9, height + 0.28), (0.15, 0.35, 0.09), LAMP_COLOR, glow)
        s += spacing


def add_signs(builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator) -> None:
    """Signs on posts: prohibition rings, mandatory discs, panels, warning triangles."""
    for _ in range(rng.poisson(0.036 * road.length)):
        place = Placement(
            rng.uniform(4, road.length),
            side * (road.curb(side) + rng.uniform(0.3, 0.7)),
            rng.normal(0, 0.15) + (np.pi if side != LEFT or rng.random() < 0.5 else 0.0),
        )
        if road.in_crossing(place.s) or not space.try_claim(place, 0.3, 0.3):
            continue
        pole = builder.body(place, classes.POLE, rng)
        height = rng.uniform(2.0, 2.8)
        pole.tube(Material.METAL, (0, 0, 0), (0, 0, height + 0.3), 0.035, GALVANISED)
        board = pole.as_class(classes.TRAFFIC_SIGN)
        _add_board(board, height, rng)
        if rng.random() < 0.25:
            _add_board(board, height - 0.75, rng)


def _add_board(board: Body, height: float, rng: np.random.Generator) -> None:
    size, face = rng.uniform(0.26, 0.38), rng.choice([RING, DISC, PANEL, WARNING], p=[0.3, 0.2, 0.3, 0.2])
    if face in (RING, DISC):
        color = RED if face == RING else (BLUE, RED)[int(rng.random() < 0.3)]
        half = (size, size, 0.015)
        board.cylinder(Material.SIGN, (0.06, 0, height), half, color, (float(face),), rotation=about_y(np.pi / 2))
    elif face == PANEL:
        color = (BLUE, YELLOW, (0.7, 0.7, 0.7), GREEN)[rng.integers(4)]
        half = (0.015, size * rng.uniform(0.7, 1.6), size * rng.uniform(0.6, 1.2))
        board.box(Material.SIGN, (0.06, 0, height), half, color, (float(face),))
    else:
        half = (0.015, size * 1.1, size * 0.95)
        board.box(Material.SIGN, (0.06, 0, height), half, RED, (float(face),), taper=(1.0, 0.06))


def add_small_things(builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator) -> None:
    """Bollards, bins and cabinets, and sometimes a guard fence along the curb."""
    for _ in range(rng.poisson(0.03 * road.length)):
        s, d = rng.uniform(3, road.length), side * (road.curb(side) + rng.uniform(0.25, 0.5))
        if road.in_crossing(s, 1):
            continue
        if rng.random() < 0.6:
            color = np.full(3, 0.5 if rng.random() < 0.5 else 0.08)
            for index in range(rng.integers(1, 6)):
                place = Placement(s + 1.6 * index, d)
                if space.try_claim(place, 0.2, 0.2):
                    post = builder.body(place, classes.POLE, rng)
                    post.tube(Material.METAL, (0, 0, 0), (0, 0, 1.05), 0.06, color)
        else:
            place = Placement(s, d + side * 0.4)
            if space.try_claim(place, 1.0, 0.5):
                half = (0.5, 0.25, rng.uniform(0.6, 0.85))
                bin_color = np.array([0.3, 0.32, 0.3]) * rng.uniform(0.4, 1.2)
                builder.body(place, classes.BUILDING, rng).box(Material.PLAIN, (0, 0, half[2]), half, bin_color)
    for _ in range(rng.poisson(0.005 * road.length)):
        length = rng.uniform(6, 25)
        place = Placement(rng.uniform(5, road.length - 30), side * (road.curb(side) + 0.25))
        ends = (place.s - length / 2, place.s, place.s + length / 2)
        if not any(road.in_crossing(s, 1) for s in ends) and space.try_claim(place, length, 0.1):
            fence = builder.body(place, classes.FENCE, rng)
            color = np.full(3, rng.choice([0.08, 0.3, 0.45]))
            fence.box(Material.FENCE, (0, 0, 0.6), (length / 2, 0.025, 0.5), color, (rng.uniform(0.1, 0.25),))


def add_traffic_lights(builder: Builder, space: Occupancy, road: Road, rng: np.random.Generator) -> None:
    """Lights at most crossings, some with an arm over the road."""
    for start, end in road.crossings:
        if rng.random() > 0.75:
            continue
        state, has_arm = float(rng.integers(3)), rng.random() < 0.45
        for side in SIDES:
            for s in (start - 1.2, end + 1.2):
                faces_ego = rng.random() < 0.75
                place = Placement(s, side * (road.curb(side) + 0.5), 0.0 if faces_ego else np.pi)
                if space.try_claim(place, 0.3, 0.3):
                    _add_traffic_light(builder, place, state, has_arm and s > start, side, rng)


def _add_traffic_light(
    builder: Builder, place: Placement, state: float, has_arm: bool, side: int, rng: np.random.Generator
) -> None:
    color = np.array([0.25, 0.26, 0.25])
    pole = builder.body(place, classes.POLE, rng)
    pole.tube(Material.METAL, (0, 0, 0), (0, 0, 5.6 if has_arm else 3.3), 0.08, color)
    heads = [(-0.15, 0.0, 2.8)]
    if has_arm:
        across = -side * 3.6 * np.cos(place.yaw)
        pole.tube(Material.METAL, (0, 0, 5.5), (0, across, 5.6), 0.06, color)
        heads.append((-0.12, across * 0.92, 5.2))
    light = pole.as_class(classes.TRAFFIC_LIGHT)
    for centre in heads:
        light.box(Material.TRAFFIC_LIGHT, centre, (0.12, 0.16, 0.47), np.full(3, 0.03), (state,))

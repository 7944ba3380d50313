"""What stands beside the pavement: buildings, parks and gaps with walls, fences and hedges; and the backdrop."""

from __future__ import annotations

import numpy as np

from . import classes
from .builder import Builder, Material, Placement
from .road import SIDES, Road
from .vegetation import add_bush, add_grove, add_hedge, add_tree

START_M = -12.0
KINDS = ("building", "park", "gap")


def add_lots(builder: Builder, road: Road, side: int, rng: np.random.Generator) -> None:
    """Fill one side of the road with lots, broken by the crossings."""
    shares = (0.66, 0.26, 0.08) if rng.random() < builder.style.built_up else (0.3, 0.58, 0.12)
    setback = rng.uniform(0.5, 6) if rng.random() < 0.5 else 0.0
    s = START_M
    while s < road.length + 20:
        inside = [end for start, end in road.crossings if start - 1.5 < s + 1 < end + 0.1]
        if inside:
            s = max(inside) + 0.05
        room = min([start for start, _ in road.crossings if start > s] + [np.inf]) - s
        if room < 3:
            s += room + 0.1
            continue
        kind = KINDS[rng.choice(len(KINDS), p=shares)]
        if kind == "building":
            width = min(rng.uniform(9, 26), room)
            extra = rng.uniform(0, 2) if rng.random() < 0.25 else 0.0
            _add_building(builder, road, side, s, width, setback + extra, rng)
            if setback > 1 and rng.random() < 0.8:
                _add_boundary(builder, road, side, s, width, rng, height=rng.uniform(0.8, 1.5))
            s += width + (0 if rng.random() < 0.8 else rng.uniform(0.5, 4))
        elif kind == "park":
            width = min(rng.uniform(10, 30), room)
            _add_park(builder, road, side, s, width, rng)
            if rng.random() < 0.75:
                _add_boundary(builder, road, side, s, width, rng, height=rng.uniform(0.9, 2.2))
            s += width
        else:
            width = min(rng.uniform(3, 8), room)
            if rng.random() < 0.7:
                _add_boundary(builder, road, side, s, width, rng, height=rng.uniform(1.4, 2.4))
            s += width


def _add_building(
    builder: Builder, road: Road, side: int, s: float, width: float, setback: float, rng: np.random.Generator
) -> None:
    depth = rng.uniform(8, 14)
    height = rng.uniform(5, 9) if rng.random() < 0.3 else rng.uniform(10, 25)
    place = Placement(s + width / 2, side * (road.lots(side) + setback + depth / 2))
    body = builder.body(place, classes.BUILDING, rng)
    color = np.clip(
        builder.style.palette.facade(rng) * rng.uniform(0.6, 1.15) * (1 + rng.normal(0, 0.04, 3)), 0.03, 0.85
    )
    floor = rng.uniform(2.8, 3.8)
    look = (floor, rng.uniform(1.8, 3.6), rng.uniform(0.4, 0.8), float(rng.integers(4)), rng.random(), rng.random())
    if builder.style.is_varied:
        look = _varied_look(rng)
    body.box(Material.FACADE, (0, 0, height / 2), (width / 2, depth / 2, height / 2), color, look)
    if rng.random() < 0.6:
        roof = builder.style.palette.roof(rng)
        half = (width / 2 + 0.3, depth / 2 + 0.3, 1.1)
        body.box(Material.PLAIN, (0, 0, height + 1.1), half, roof, taper=(0.95, rng.uniform(0.1, 0.7)))
    front = -side * depth / 2
    for _ in range(rng.integers(0, 4)):
        level = floor * rng.integers(1, max(2, int(height / floor)))
        half = (min(rng.uniform(1, 2.4), width / 3), 0.5, 0.5)
        material = Material.PLAIN if rng.random() < 0.5 else Material.FENCE
        centre = (rng.uniform(-0.4, 0.4) * width, front - side * 0.5, level + 0.45)
        body.box(material, centre, half, color * rng.uniform(0.6, 1.2), (0.12,))
    if rng.random() < 0.35:
        awning = (width * 0.3, 0.6, 0.12)
        body.box(
            Material.PLAIN,
            (rng.uniform(-0.2, 0.2) * width, front - side * 0.6, 2.8),
            awning,
            builder.style.palette.cloth(rng),
        )


def _varied_look(rng: np.random.Generator) -> tuple[float, float, float, float, float, float]:
    """Window grids of other buildings: curtain walls, wide and narrow windows, tall and blank fronts."""
    floor, style = rng.uniform(2.6, 4.4), float(rng.integers(4))
    if rng.random() < 0.15:
        return floor, rng.uniform(1.0, 2.2), rng.uniform(0.88, 0.97), 0.0, 1.0, rng.random()
    pitch = rng.uniform(1.4, 6)
    return floor, pitch, rng.uniform(0.25, 0.85), style, rng.random(), rng.random()


def _add_boundary(
    builder: Builder, road: Road, side: int, s: float, width: float, rng: np.random.Generator, height: float
) -> None:
    place = Placement(s + width / 2, side * (road.lots(side) + 0.35))
    kind = rng.choice(3, p=[0.3, 0.42, 0.28])
    if kind == 0:
        body = builder.body(place, classes.WALL, rng)
        color = np.array([0.38, 0.32, 0.29]) * rng.uniform(0.6, 1.4)
        material = Material.BRICK if rng.random() < 0.6 else Material.PLAIN
        body.box(material, (0, 0, height / 2), (width / 2, 0.13, height / 2), color)
    elif kind == 1:
        body = builder.body(place, classes.FENCE, rng)
        color = builder.style.palette.cloth(rng) * 0.5
        body.box(Material.FENCE, (0, 0, height / 2), (width / 2, 0.03, height / 2), color, (rng.uniform(0.09, 0.2),))
    else:
        add_hedge(builder, place, width, height, rng)


def _add_park(builder: Builder, road: Road, side: int, s: float, width: float, rng: np.random.Generator) -> None:
    for _ in range(int(width * rng.uniform(0.25, 0.6))):
        where = (s + rng.uniform(0, width), side * (road.lots(side) + rng.uniform(2.2, 16)))
        if rng.random() < 0.6:
            add_tree(builder, *where, rng)
        else:
            add_bush(builder, *where, rng)


def add_backdrop(builder: Builder, road: Road, rng: np.random.Generator) -> None:
    """Houses and groves behind the first row, at the ends of the cross streets and at the end of the road."""
    for side in SIDES:
        s = START_M
        while s < road.length + 30:
            s += rng.uniform(14, 26)
            d = side * (road.lots(side) + rng.uniform(24, 42))
            if not road.in_crossing(s, 4):
                _add_mass(builder, s, d, rng)
        for start, end in road.crossings:
            middle = (start + end) / 2
            _add_mass(builder, middle, side * (road.lots(side) + rng.uniform(45, 75)), rng)
            for edge in (start - 2.5, end + 2.5):
                for _ in range(rng.integers(0, 3)):
                    add_tree(builder, edge, side * (road.lots(side) + rng.uniform(16, 40)), rng)
    for d in range(-60, 61, 20):
        _add_mass(builder, road.length + rng.uniform(25, 45), d + rng.uniform(-5, 5), rng)


def _add_mass(builder: Builder, s: float, d: float, rng: np.random.Generator) -> None:
    if rng.random() < 0.55:
        add_grove(builder, s, d, rng, rng.uniform(6, 13))
        return
    body = builder.body(Placement(s, d), classes.BUILDING, rng)
    half = (rng.uniform(6, 11), rng.uniform(5, 9), rng.uniform(4, 10))
    color = np.clip(builder.style.palette.facade(rng) * rng.uniform(0.6, 1.1), 0.03, 0.85)
    look = (rng.uniform(2.8, 3.8), rng.uniform(1.8, 3.6), rng.uniform(0.4, 0.8), float(rng.integers(4)), 0.5, 1.0)
    body.box(Material.FACADE, (0, 0, half[2]), half, color, look)
    body.box(
        Material.PLAIN,
        (0, 0, 2 * half[2] + 1),
        (half[0] + 0.3, half[1] + 0.3, 1.0),
        builder.style.palette.roof(rng),
        taper=(0.95, rng.uniform(0.1, 0.7)),
    )

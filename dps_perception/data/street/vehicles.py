"""Trucks, buses, trams and two-wheelers."""

from __future__ import annotations

import numpy as np

from . import classes
from .builder import Body, Material
from .palette import DARK, TYRE
from .people import add_rider
from .rotations import about_x

BUS_COLORS = np.array([[0.7, 0.55, 0.05], [0.6, 0.04, 0.04], [0.75, 0.75, 0.75], [0.1, 0.25, 0.5], [0.1, 0.4, 0.2]])
TRAM_COLORS = np.array([[0.7, 0.6, 0.1], [0.6, 0.04, 0.04], [0.7, 0.7, 0.72], [0.1, 0.3, 0.2]])
LARGE_WIDTH_M = 2.5
LARGE_WHEEL_M = 0.48
BICYCLE_SIZE_M = (1.75, 0.6)
MOTORCYCLE_SIZE_M = (2.1, 0.75)
"""Footprints (length, width) of ridden and parked two-wheelers."""


def sample_length(class_id: int, rng: np.random.Generator) -> float:
    """Length in metres of a truck, bus or tram."""
    low, high = {classes.TRUCK: (6.0, 10.0), classes.BUS: (10.0, 14.0), classes.TRAIN: (20.0, 32.0)}[class_id]
    return float(rng.uniform(low, high))


def add_large(body: Body, length: float, rng: np.random.Generator) -> None:
    """Add the solids of the truck, bus or tram that `body` is."""
    if body.class_id == classes.TRUCK:
        _add_truck(body, length, rng)
    elif body.class_id == classes.BUS:
        _add_bus(body, length, rng)
    else:
        _add_tram(body, length, rng)


def _add_truck(body: Body, length: float, rng: np.random.Generator) -> None:
    width, height = rng.uniform(2.2, LARGE_WIDTH_M), rng.uniform(2.8, 3.8)
    paint = body.style.palette.car
    cab_color, load_color = paint(rng), np.clip(paint(rng) * 1.3 + 0.1, 0, 0.9)
    cab_height = rng.uniform(2.3, 2.9)
    body.box(
        Material.CABIN,
        (length / 2 - 0.9, 0, 0.5 + cab_height / 2),
        (0.9, width / 2 - 0.03, cab_height / 2),
        cab_color,
        (0.9, width / 2, 1.0),
        taper=(0.93, 0.96),
    )
    load_half = length / 2 - 0.95
    if rng.random() < 0.75:
        half = (load_half, width / 2, (height - 0.95) / 2)
        body.box(
            Material.COACHWORK, (-0.95, 0, (0.95 + height) / 2), half, load_color, (0.0, 0.0, float(rng.integers(3)))
        )
    else:
        body.box(Material.PLAIN, (-0.95, 0, 1.3), (load_half, width / 2, 0.45), load_color)
    body.box(Material.PLAIN, (0, 0, 0.75), (length / 2 - 0.1, 0.45, 0.2), DARK)
    _add_wheels(body, (-0.38 * length, -0.25 * length, 0.33 * length), width)


def _add_bus(body: Body, length: float, rng: np.random.Generator) -> None:
    height = rng.uniform(2.9, 3.2)
    color = BUS_COLORS[rng.integers(len(BUS_COLORS))] * rng.uniform(0.7, 1.1)
    half = (length / 2, LARGE_WIDTH_M / 2, height / 2)
    body.box(Material.COACHWORK, (0, 0, 0.3 + height / 2), half, color, (1.0, length / 2), taper=(0.99, 0.95))
    _add_wheels(body, (-0.28 * length, 0.3 * length), LARGE_WIDTH_M)


def _add_tram(body: Body, length: float, rng: np.random.Generator) -> None:
    height, color = 3.4, TRAM_COLORS[rng.integers(len(TRAM_COLORS))]
    width, car = LARGE_WIDTH_M, length / 3
    for index in (-1, 0, 1):
        half = (car / 2 * 0.97, width / 2, height / 2)
        body.box(
            Material.COACHWORK,
            (index * car, 0, 0.25 + height / 2),
            half,
            color,
            (1.0, car / 2, 1.0),
            taper=(0.98, 0.93),
        )
    body.box(Material.PLAIN, (0, 0, height / 2 + 0.2), (length / 2 * 0.95, width / 2 * 0.85, height / 2 * 0.9), DARK)
    body.tube(Material.METAL, (0, 0, height + 0.2), (1, 0, height + 1.2), 0.04, DARK)


def _add_wheels(body: Body, positions: tuple[float, ...], width: float) -> None:
    for x in positions:
        for side in (-1, 1):
            body.cylinder(
                Material.TYRE,
                (x, side * (width / 2 - 0.12), LARGE_WHEEL_M),
                (LARGE_WHEEL_M, LARGE_WHEEL_M, 0.14),
                TYRE,
                rotation=about_x(np.pi / 2),
            )


def add_two_wheeler(body: Body, rng: np.random.Generator, is_ridden: bool) -> None:
    """Add the bicycle or motorcycle that `body` is, with a rider (an instance of its own) if ridden."""
    color = body.style.palette.car(rng)
    if body.class_id == classes.BICYCLE:
        seat, lean = _add_bicycle(body, color)
    else:
        seat, lean = _add_motorcycle(body, color)
    if is_ridden:
        add_rider(body.as_class(classes.RIDER), rng, seat + 0.05, lean + rng.uniform(-0.1, 0.25))


def _add_bicycle(body: Body, color: np.ndarray) -> tuple[float, float]:
    wheel, base = 0.34, 1.05
    for x in (-base / 2, base / 2):
        body.cylinder(Material.SPOKES, (x, 0, wheel), (wheel, wheel, 0.02), DARK, (0.86,), rotation=about_x(np.pi / 2))
    crank, saddle, head = (-0.1, 0, 0.3), (-0.22, 0, 0.85), (0.35, 0, 0.8)
    for start, end in (
        ((-base / 2, 0, wheel), crank),
        (crank, saddle),
        ((-0.22, 0, 0.82), head),
        (crank, (0.36, 0, 0.72)),
        ((base / 2, 0, wheel), (0.34, 0, 1.0)),
    ):
        body.tube(Material.PAINT, start, end, 0.018, color)
    body.tube(Material.PLAIN, (0.34, -0.27, 1.02), (0.34, 0.27, 1.02), 0.016, DARK)
    body.tube(Material.PLAIN, (-0.32, 0, 0.9), (-0.1, 0, 0.9), 0.05, DARK)
    return 0.92, 0.35


def _add_motorcycle(body: Body, color: np.ndarray) -> tuple[float, float]:
    wheel, base = 0.3, 1.4
    for x in (-base / 2, base / 2):
        body.cylinder(Material.TYRE, (x, 0, wheel), (wheel, wheel, 0.07), TYRE, rotation=about_x(np.pi / 2))
    body.ball(Material.PAINT, (0.15, 0, 0.72), (0.35, 0.16, 0.18), color)
    body.box(Material.PLAIN, (0, 0, 0.45), (0.35, 0.15, 0.2), np.full(3, 0.08))
    body.box(Material.PLAIN, (-0.4, 0, 0.74), (0.38, 0.13, 0.07), DARK)
    body.tube(Material.METAL, (base / 2, 0, wheel), (0.42, 0, 0.98), 0.05, np.full(3, 0.3))
    body.tube(Material.METAL, (0.4, -0.33, 1.02), (0.4, 0.33, 1.02), 0.02, DARK)
    body.ball(Material.PAINT, (0.5, 0, 0.85), (0.14, 0.16, 0.16), color)
    body.box(Material.PAINT, (-0.75, 0, 0.7), (0.15, 0.1, 0.05), color)
    return 0.84, 0.25

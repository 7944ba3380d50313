"""Cars: their sizes, drawn before they are placed, and their solids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .builder import Body, Material
from .palette import TYRE
from .rotations import about_x
from .style import Style


@dataclass(frozen=True)
class CarModel:
    """Sizes in metres; cabin positions and the waist as shares of length and height."""

    length: float
    width: float
    height: float
    waist: float
    cabin_rear: float
    cabin_front: float
    roof_share: float
    lean: float
    share: float


MODELS = (
    CarModel(4.6, 1.8, 1.45, 0.56, -0.33, 0.22, 0.64, -0.03, 0.30),
    CarModel(4.0, 1.75, 1.5, 0.58, -0.47, 0.20, 0.74, 0.0, 0.35),
    CarModel(4.6, 1.9, 1.7, 0.58, -0.48, 0.20, 0.80, -0.01, 0.24),
    CarModel(5.0, 1.95, 2.1, 0.52, -0.49, 0.38, 0.90, -0.03, 0.11),
)
"""Saloon, hatchback, SUV, van."""
GROUND_CLEARANCE_M = 0.17
WHEEL_RADIUS_M = 0.32


@dataclass(frozen=True)
class Car:
    """One car: model and scale."""

    model: CarModel
    scale: NDArray[np.float64]

    @property
    def length(self) -> float:
        return float(self.model.length * self.scale[0])

    @property
    def width(self) -> float:
        return float(self.model.width * self.scale[1])


def sample_car(rng: np.random.Generator, style: Style) -> Car:
    """Draw the model and size of a car."""
    return Car(MODELS[rng.choice(len(MODELS), p=[m.share for m in MODELS])], rng.uniform(0.95, 1.06, 3))


def add_car(body: Body, car: Car, rng: np.random.Generator) -> None:
    """Add hull, bumpers, cabin, wheels and mirrors."""
    model = car.model
    length, width, height = car.length, car.width, float(model.height * car.scale[2])
    color = body.style.palette.car(rng)
    waist, floor = model.waist * height, GROUND_CLEARANCE_M
    size = (length / 2, width / 2)
    # Three slabs of falling width make shoulders: less of a box than one hull.
    shoulder = floor + 0.62 * (waist - floor)
    body.box(
        Material.PAINT,
        (0, 0, (floor + shoulder) / 2),
        (length / 2, width / 2, (shoulder - floor) / 2),
        color,
        (*size, 1.0),
        taper=(0.985, 0.985),
    )
    body.box(
        Material.PAINT,
        (0, 0, (shoulder + waist) / 2),
        (length / 2 * 0.985, width / 2 * 0.985, (waist - shoulder) / 2),
        color,
        (*size, 2.0),
        taper=(0.93, 0.9),
    )
    for end in (1, -1):
        body.ball(
            Material.PAINT,
            (end * (length / 2 - 0.06), 0, floor + 0.2),
            (0.16, width / 2 * 0.97, 0.16),
            color * 0.75,
            size,
        )
    rear, front = model.cabin_rear * length, model.cabin_front * length
    middle, cabin_half = (rear + front) / 2, (front - rear) / 2
    lean = model.lean * length
    body.box(
        Material.CABIN,
        (middle, 0, (waist + height) / 2 - 0.03),
        (cabin_half, width / 2 * 0.91, (height - waist) / 2),
        color,
        size,
        taper=(model.roof_share, 0.82),
        shear=lean,
    )
    body.ball(
        Material.PAINT,
        (middle + lean, 0, height - 0.06),
        (cabin_half * model.roof_share * 1.02, width / 2 * 0.75, 0.07),
        color,
        size,
    )
    for x in (-0.31, 0.31):
        for side in (-1, 1):
            body.cylinder(
                Material.TYRE,
                (x * length, side * (width / 2 - 0.1), WHEEL_RADIUS_M),
                (WHEEL_RADIUS_M, WHEEL_RADIUS_M, 0.115),
                TYRE,
                rotation=about_x(np.pi / 2),
            )
    mirror_x = front - 0.36 * cabin_half
    for side in (-1, 1):
        body.ball(Material.PAINT, (mirror_x, side * (width / 2 + 0.05), waist + 0.08), (0.07, 0.11, 0.08), color, size)

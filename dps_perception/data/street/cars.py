"""Cars: their sizes, drawn before they are placed, and their solids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .builder import Body, Material
from .palette import TYRE, Color
from .rotations import about_x
from .style import Style

CARGO, BED = "cargo", "bed"


@dataclass(frozen=True)
class CarModel:
    """Sizes in metres; cabin positions and the waist as shares of length and height; `rear` is what is behind the
    cabin, if anything (`CARGO`, `BED`)."""

    length: float
    width: float
    height: float
    waist: float
    cabin_rear: float
    cabin_front: float
    roof_share: float
    lean: float
    share: float
    rear: str = ""


MODELS = (
    CarModel(4.6, 1.8, 1.45, 0.56, -0.33, 0.22, 0.64, -0.03, 0.30),
    CarModel(4.0, 1.75, 1.5, 0.58, -0.47, 0.20, 0.74, 0.0, 0.35),
    CarModel(4.6, 1.9, 1.7, 0.58, -0.48, 0.20, 0.80, -0.01, 0.24),
    CarModel(5.0, 1.95, 2.1, 0.52, -0.49, 0.38, 0.90, -0.03, 0.11),
)
"""Saloon, hatchback, SUV, van."""
MORE_MODELS = (
    CarModel(4.6, 1.8, 1.45, 0.56, -0.33, 0.22, 0.64, -0.03, 0.17),
    CarModel(4.0, 1.75, 1.5, 0.58, -0.47, 0.20, 0.74, 0.0, 0.15),
    CarModel(4.6, 1.9, 1.7, 0.58, -0.48, 0.20, 0.80, -0.01, 0.14),
    CarModel(5.0, 1.95, 2.1, 0.52, -0.49, 0.38, 0.90, -0.03, 0.05),
    CarModel(3.6, 1.65, 1.52, 0.57, -0.47, 0.27, 0.72, 0.0, 0.12),
    CarModel(4.75, 1.82, 1.47, 0.57, -0.485, 0.20, 0.82, -0.015, 0.10),
    CarModel(4.4, 1.85, 1.32, 0.60, -0.36, 0.16, 0.55, -0.05, 0.05),
    CarModel(4.5, 1.85, 1.65, 0.55, -0.48, 0.31, 0.74, -0.02, 0.09),
    CarModel(5.4, 2.0, 2.4, 0.46, 0.12, 0.44, 0.70, -0.02, 0.09, CARGO),
    CarModel(5.3, 1.9, 1.78, 0.56, -0.12, 0.22, 0.72, -0.01, 0.04, BED),
)
"""Of the hard level: the four above, city car, estate, coupe, people carrier, panel van, pickup."""
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
    models = MORE_MODELS if style.is_varied else MODELS
    return Car(models[rng.choice(len(models), p=[m.share for m in models])], rng.uniform(0.95, 1.06, 3))


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
    if body.style.is_varied:
        _add_curves(body, car, waist, color, rng)


def _add_curves(body: Body, car: Car, waist: float, color: Color, rng: np.random.Generator) -> None:
    """Domed bonnet and boot, fenders, plastic trim, things on the roof; the rear of vans and pickups."""
    model, length, width, height = car.model, car.length, car.width, float(car.model.height * car.scale[2])
    rear, front = model.cabin_rear * length, model.cabin_front * length
    for start, end in ((front - 0.25, length / 2 - 0.02), (-length / 2 + 0.02, rear + 0.2)):
        if end - start > 0.55 and (model.rear == "" or end > 0.25 * length):
            half = ((end - start) / 2, width / 2 * 0.84, 0.09)
            body.ball(Material.PAINT, ((start + end) / 2, 0, waist - 0.045), half, color, (length / 2, width / 2))
    trim = color * 0.9 if rng.random() < 0.55 else np.full(3, 0.03)
    for x in (-0.31, 0.31):
        for side in (-1, 1):
            centre = (x * length, side * (width / 2 - 0.05), WHEEL_RADIUS_M + 0.26)
            body.ball(Material.PAINT, centre, (0.45, 0.065, 0.2), color, (length / 2, width / 2))
    body.box(Material.PLAIN, (0, 0, GROUND_CLEARANCE_M + 0.05), (length * 0.2, width / 2 + 0.015, 0.07), trim)
    if model.rear == CARGO:
        half = ((rear + 0.49 * length) / 2 + 0.1, width / 2 * 0.97, (height - waist) / 2 + 0.02)
        centre = ((rear - 0.49 * length) / 2 + 0.1, 0, (height + waist) / 2 - 0.03)
        body.box(Material.COACHWORK, centre, half, color, (0.0, 0.0, 1.0), taper=(0.98, 0.9))
    elif model.rear == BED:
        middle, half_length = (rear - 0.49 * length) / 2, (rear + 0.49 * length) / 2
        for side in (-1, 1):
            half = (half_length, 0.04, 0.13)
            body.box(Material.PAINT, (middle, side * (width / 2 * 0.9 - 0.04), waist + 0.1), half, color)
        if rng.random() < 0.4:
            body.box(Material.PLAIN, (middle, 0, waist + 0.2), (half_length * 0.8, width * 0.35, 0.25), trim)
    roof = rng.random()
    if roof < 0.15:
        for side in (-1, 1):
            rail = (rear * 0.6 + front * 0.2, side * width * 0.33, height + 0.02)
            body.box(Material.METAL, rail, (length * 0.17, 0.025, 0.025), np.full(3, 0.1))
    elif roof < 0.2:
        body.box(Material.LAMP, ((rear + front) / 2, 0, height + 0.08), (0.08, 0.2, 0.07), (0.7, 0.55, 0.1), (0.4,))

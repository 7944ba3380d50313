"""The ego vehicle, parked vehicles and moving traffic; none of them passes through another during a drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...camera import Intrinsics
from . import classes
from .builder import Builder, Placement
from .cars import add_car, sample_car
from .occupancy import Occupancy
from .road import CURB_M, LEFT, RIGHT, SIDES, TRAM_TRACKS_M, Road
from .vehicles import (
    BICYCLE_SIZE_M,
    LARGE_WIDTH_M,
    MOTORCYCLE_SIZE_M,
    add_large,
    add_two_wheeler,
    sample_length,
)

EGO_SIZE_M = (5.4, 2.0)
"""Space the camera's vehicle takes in the standard level, centred at the camera."""
MOVING_SHARES = {classes.CAR: 0.905, classes.TRUCK: 0.03, classes.BUS: 0.027, classes.MOTORCYCLE: 0.038}
PARKED_SHARES = {classes.CAR: 0.95, classes.TRUCK: 0.02, classes.MOTORCYCLE: 0.03}
SPEED_TRIES = 4


@dataclass(frozen=True)
class Lens:
    """A pinhole with square pixels: horizontal field of view in degrees, and how far the principal point is from
    the middle of the image (right, down) as shares of its width."""

    field_of_view_deg: float
    offset: tuple[float, float] = (0.0, 0.0)

    def intrinsics(self, height: int, width: int) -> Intrinsics:
        """Of an image of `height` x `width` pixels."""
        focal = width / 2 / np.tan(np.deg2rad(self.field_of_view_deg) / 2)
        right, down = (width * share for share in self.offset)
        return Intrinsics(focal, focal, (width - 1) / 2 + right, (height - 1) / 2 + down, height, width)


@dataclass(frozen=True)
class Ego:
    """The camera and its vehicle: `place` moves it, then how the camera is mounted (metres, radians); `lens` is None
    for the Cityscapes camera, `size_m` the space that the vehicle takes, centred at the camera."""

    place: Placement
    height: float
    pitch: float
    roll: float
    yaw: float
    lens: Lens | None = None
    size_m: tuple[float, float] = EGO_SIZE_M


def sample_speed(rng: np.random.Generator) -> float:
    """Speed of the ego vehicle in m/s; one in five stands."""
    return float(rng.uniform(2, 13)) if rng.random() < 0.8 else 0.0


def sample_ego(road: Road, speed: float, rng: np.random.Generator) -> Ego:
    """The ego vehicle drives on the right, mostly in the inner lane."""
    outer = road.lanes[1] > 1 and rng.random() < 0.3
    d = road.lane_center(RIGHT, 1 if outer else 0) + rng.normal(0, 0.15)
    return Ego(
        Placement(0.0, float(d), speed_s=speed),
        height=float(rng.normal(1.22, 0.04)),
        pitch=float(rng.normal(0.03, 0.012)),
        roll=float(rng.normal(0, 0.008)),
        yaw=float(rng.normal(0, 0.02)),
    )


def _draw_class(shares: dict[int, float], rng: np.random.Generator) -> int:
    return int(rng.choice(list(shares), p=list(shares.values())))


def _vehicle_size(class_id: int, rng: np.random.Generator) -> tuple[float, float]:
    if class_id == classes.MOTORCYCLE:
        return MOTORCYCLE_SIZE_M
    return sample_length(class_id, rng), LARGE_WIDTH_M


def add_parked(builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator) -> None:
    """Vehicles in the parking strip of one side, slot by slot."""
    if road.parking_on(side) == 0:
        return
    s, occupied = rng.uniform(-9, -2), rng.uniform(0.25, 0.9)
    while s < road.length - 5:
        step = rng.uniform(5.2, 6.3)
        blocked = road.in_crossing(s - 2.5, 3) or road.in_crossing(s + 2.5, 3)
        if not blocked and rng.random() < occupied:
            yaw = rng.normal(0, 0.02) + (np.pi if (side == LEFT) != (rng.random() < 0.08) else 0.0)
            class_id = _draw_class(PARKED_SHARES, rng)
            car = sample_car(rng, builder.style)
            length, width = (car.length, car.width) if class_id == classes.CAR else _vehicle_size(class_id, rng)
            offset = 1.05 if width < LARGE_WIDTH_M else 1.2
            place = Placement(s + length / 2 - 2.3, side * (road.curb(side) - offset) + rng.normal(0, 0.06), yaw)
            if space.try_claim(place, length, width):
                body = builder.body(place, class_id, rng)
                if class_id == classes.CAR:
                    add_car(body, car, rng)
                elif class_id == classes.MOTORCYCLE:
                    add_two_wheeler(body, rng, is_ridden=False)
                else:
                    add_large(body, length, rng)
                step += length - 4.6
        s += max(2.6, step)


def add_parked_bicycles(builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator) -> None:
    """Groups of bicycles on the pavement."""
    for _ in range(rng.poisson(0.025 * road.length)):
        start, across = rng.uniform(3, road.length), rng.random() < 0.5
        for index in range(rng.integers(1, 6)):
            yaw = (np.pi / 2 if across else 0.0) + rng.normal(0, 0.1)
            spacing = 0.75 if across else 1.95
            place = Placement(start + spacing * index, side * (road.curb(side) + rng.uniform(1.0, 1.2)), yaw, CURB_M)
            if not road.in_crossing(place.s, 1) and space.try_claim(place, *BICYCLE_SIZE_M, margin=0.02):
                class_id = classes.BICYCLE if rng.random() < 0.88 else classes.MOTORCYCLE
                add_two_wheeler(builder.body(place, class_id, rng), rng, is_ridden=False)


def add_tram(builder: Builder, space: Occupancy, road: Road, rng: np.random.Generator) -> None:
    """A tram on some of the roads with tracks."""
    if not road.has_tram or rng.random() > 0.6:
        return
    length = sample_length(classes.TRAIN, rng)
    side = RIGHT if rng.random() < 0.5 else LEFT
    place = Placement(
        rng.uniform(30, 100),
        side * abs(TRAM_TRACKS_M[0]),
        0.0 if side == RIGHT else np.pi,
        speed_s=-side * rng.choice([0.0, rng.uniform(3, 9)]),
    )
    if space.try_claim(place, length, LARGE_WIDTH_M):
        add_large(builder.body(place, classes.TRAIN, rng), length, rng)


def add_cyclists(builder: Builder, space: Occupancy, road: Road, rng: np.random.Generator) -> None:
    """People on bicycles at the right edge of their side."""
    for _ in range(rng.poisson(0.03 * road.length)):
        side = SIDES[rng.integers(2)]
        edge = road.curb(side) - road.parking_on(side)
        speed = rng.uniform(2, 6)
        place = Placement(
            rng.uniform(5, road.length),
            side * (edge - 0.5),
            rng.normal(0, 0.04) + (np.pi if side == LEFT else 0.0),
            speed_s=-side * speed,
        )
        if space.try_claim(place, *BICYCLE_SIZE_M, margin=0.25):
            add_two_wheeler(builder.body(place, classes.BICYCLE, rng), rng, is_ridden=True)


def add_moving(builder: Builder, space: Occupancy, road: Road, ego_speed: float, rng: np.random.Generator) -> None:
    """Moving traffic, lane by lane; whoever would touch another during the drive is left out."""
    for side in (RIGHT, LEFT):
        for lane in range(road.lanes[0 if side == LEFT else 1]):
            gap = rng.uniform(9, 60) * builder.style.gap
            flow = ego_speed * rng.uniform(0.85, 1.2) if side == RIGHT else rng.uniform(0, 13)
            s = rng.uniform(7, 45) if side == RIGHT else rng.uniform(-4, 40)
            while s < road.length:
                s += _add_mover(builder, space, road, side, lane, s, flow, rng) + 2.5 + rng.exponential(gap) * 0.7


def _add_mover(
    builder: Builder,
    space: Occupancy,
    road: Road,
    side: int,
    lane: int,
    s: float,
    flow: float,
    rng: np.random.Generator,
) -> float:
    class_id = _draw_class(MOVING_SHARES, rng)
    car = sample_car(rng, builder.style)
    length, width = (car.length, car.width) if class_id == classes.CAR else _vehicle_size(class_id, rng)
    d = road.lane_center(side, lane) + rng.normal(0, 0.15)
    yaw = rng.normal(0, 0.015) + (np.pi if side == LEFT else 0.0)
    for speed in flow * rng.uniform(0.9, 1.1, SPEED_TRIES):
        place = Placement(s + length / 2, d, yaw, speed_s=-side * speed)
        if space.try_claim(place, length, width, margin=0.25):
            body = builder.body(place, class_id, rng)
            if class_id == classes.CAR:
                add_car(body, car, rng)
            elif class_id == classes.MOTORCYCLE:
                add_two_wheeler(body, rng, is_ridden=True)
            else:
                add_large(body, length, rng)
            break
    return length

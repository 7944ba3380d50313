"""Pedestrians on the pavements and across the zebra crossings."""

from __future__ import annotations

import numpy as np

from . import classes
from .builder import Builder, Placement
from .occupancy import Occupancy
from .people import FOOTPRINT_M, add_person
from .road import CURB_M, LEFT, RIGHT, Road

BUSYNESS = (3, 9, 20)
"""Groups of people on the nearest `BUSY_LENGTH_M` of a pavement."""
BUSY_LENGTH_M = 68.0
CURB_STOP_M, CROSSING_SLACK_M = 1.2, 3.0
"""People wait this far from a cross street; those who start closer stand."""


def add_pedestrians(
    builder: Builder, space: Occupancy, road: Road, side: int, rng: np.random.Generator, reach_m: float, crowd: float
) -> None:
    """Groups of one to five people, standing or walking, up to `reach_m` along the road."""
    rate = rng.choice(BUSYNESS) * crowd * (reach_m / BUSY_LENGTH_M)
    for _ in range(rng.poisson(rate)):
        s = rng.uniform(2, reach_m)
        d = road.curb(side) + rng.uniform(0.6, max(0.8, road.walk_on(side) - 0.4))
        direction = rng.choice([-1, 1])
        speed = rng.uniform(0.8, 1.6) if rng.random() < 0.75 else 0.0
        for _ in range(rng.choice([1, 2, 3, 5], p=[0.6, 0.25, 0.1, 0.05])):
            place = Placement(
                s + rng.normal(0, 0.6),
                side * np.clip(d + rng.normal(0, 0.45), road.curb(side) + 0.35, road.lots(side) - 0.3),
                (np.pi if direction < 0 else 0.0) + rng.normal(0, 0.15 if speed else 1.0),
                CURB_M,
                speed_s=direction * speed,
                moves_for_s=_time_to_crossing(road, s, direction * speed),
                gait=rng.uniform(0.1, 6) if speed else 0.0,
            )
            is_child = rng.random() < 0.1
            if road.in_crossing(place.s, 0.5):
                continue
            if space.try_claim(place, *FOOTPRINT_M, margin=0.02):
                add_person(builder.body(place, classes.PERSON, rng), rng, speed > 0, is_child)


def _time_to_crossing(road: Road, s: float, speed_s: float) -> float:
    """Seconds until someone at `s` comes to the edge of a cross street and waits there (Inf if never)."""
    if speed_s > 0:
        ways = [start - CURB_STOP_M - s for start, _ in road.crossings]
    else:
        ways = [s - end - CURB_STOP_M for _, end in road.crossings]
    ahead = [way for way in ways if way > -CROSSING_SLACK_M]
    return max(0.0, min(ahead)) / abs(speed_s) if ahead and speed_s else np.inf


def add_crossers(builder: Builder, space: Occupancy, road: Road, rng: np.random.Generator, crowd: float) -> None:
    """People who walk across the road at the zebra crossings and stop on the other pavement."""
    for start, end in road.zebras:
        for _ in range(rng.poisson(2.2 * crowd)):
            d = rng.uniform(-road.curb(RIGHT), road.curb(LEFT))
            direction, speed = rng.choice([-1, 1]), rng.uniform(0.9, 1.5)
            way = (road.curb(LEFT) - d if direction > 0 else d + road.curb(RIGHT)) - 0.3
            place = Placement(
                rng.uniform(start, end),
                d,
                direction * np.pi / 2 + rng.normal(0, 0.1),
                speed_d=direction * speed,
                moves_for_s=max(0.0, way / speed),
                gait=rng.uniform(0.1, 6),
            )
            if space.try_claim(place, *FOOTPRINT_M, margin=0.2):
                add_person(builder.body(place, classes.PERSON, rng), rng, is_walking=True)

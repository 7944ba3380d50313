"""Where the camera of the hard level is: on any wheels, or carried or rolling on the pavement, with any lens."""

from __future__ import annotations

import numpy as np

from .builder import Placement
from .road import CURB_M, RIGHT, SIDES, Road
from .traffic import Ego, Lens

ROOM_BEHIND_M = 24.0
"""The street is furnished this far behind the camera, which may look sideways."""
ROAD_SHARE = 0.65
FIELD_OF_VIEW_DEG = (50.0, 100.0)
VEHICLES = {"robot": (0.4, 0.8, 1.2, 0.9), "car": (1.1, 1.7, 5.0, 2.0), "truck": (1.7, 2.2, 7.0, 2.5)}
"""Lowest and highest camera, length and width, metres."""


def sample_vantage(road: Road, speed: float, rng: np.random.Generator) -> Ego:
    """Draw the camera's vehicle or carrier, its place and its lens.

    Args:
        road: it stands on.
        speed: of a vehicle on the road, m/s; on the pavement it is at most a walk.
        rng: the scene's stream for it.
    """
    on_road = rng.random() < ROAD_SHARE
    kind = rng.choice(list(VEHICLES), p=[0.15, 0.6, 0.25])
    lens = Lens(
        float(rng.uniform(*FIELD_OF_VIEW_DEG)),
        (float(rng.normal(0, 0.012)), float(np.clip(rng.normal(0, 0.02), -0.05, 0.05))),
    )
    roll, tilt = float(np.clip(rng.normal(0, 0.03), -0.09, 0.09)), rng.normal(0, 1)
    if on_road:
        low, high, length, width = VEHICLES[kind]
        height = float(rng.uniform(low, high))
        lane = int(rng.integers(road.lanes[1]))
        d = road.lane_center(RIGHT, lane) + rng.normal(0, 0.3)
        place = Placement(ROOM_BEHIND_M, float(d), speed_s=speed)
        yaw = rng.normal(0, 0.06) if rng.random() < 0.7 else rng.uniform(-0.7, 0.7)
    else:
        side = SIDES[rng.integers(2)]
        height, length, width = (
            float(rng.choice([rng.uniform(0.4, 1.0), rng.uniform(1.3, 1.8)], p=[0.35, 0.65])),
            0.8,
            0.8,
        )
        d = road.curb(side) + rng.uniform(0.45, max(0.5, road.walk_on(side) - 0.5))
        is_raised = not road.is_road(np.float64(ROOM_BEHIND_M), np.float64(side * d))
        place = Placement(ROOM_BEHIND_M, float(side * d), z=CURB_M * is_raised, speed_s=min(speed, 1.5))
        # Towards the road: along it, or across to the other side.
        yaw = -side * (rng.uniform(-0.1, 0.6) if rng.random() < 0.55 else rng.uniform(0.6, 1.57))
    pitch = float(np.clip(0.03 + 0.09 * tilt, -0.14, 0.26)) - (0.05 if height < 0.8 else 0.0)
    return Ego(place, height, pitch, roll, float(yaw), lens=lens, size_m=(length, width))

"""The near field of the hard level: people, cyclists and vehicles close to the camera, as photographs have them."""

from __future__ import annotations

import numpy as np

from . import classes
from .builder import Builder, Placement
from .cars import add_car, sample_car
from .occupancy import Occupancy
from .people import FOOTPRINT_M, add_person
from .road import CURB_M, LEFT, RIGHT, SIDES, Road
from .traffic import Ego
from .vehicles import BICYCLE_SIZE_M, LARGE_WIDTH_M, MOTORCYCLE_SIZE_M, add_large, add_two_wheeler, sample_length

PEOPLE = ((0, 1, 2, 4, 8), (0.35, 0.2, 0.2, 0.15, 0.1))
"""How many people to try for, and how often."""
NEAREST_M, FARTHEST_M = 1.7, 14.0
VEHICLES = ((0, 1, 2, 3), (0.3, 0.35, 0.25, 0.1))
SHARES = {classes.CAR: 0.74, classes.TRUCK: 0.07, classes.BUS: 0.05, classes.BICYCLE: 0.09, classes.MOTORCYCLE: 0.05}
CLEAR_AHEAD_M = 3.0
"""Room to the vehicle ahead in the camera's own lane."""
ON_ROAD_SHARE = 0.3


def keep_a_view(space: Occupancy, road: Road, ego: Ego, rng: np.random.Generator) -> None:
    """Keep the parking strip before a camera on the pavement empty, mostly: a parked car there hides the street."""
    side = LEFT if ego.place.d > 0 else RIGHT
    if road.is_road(np.float64(ego.place.s), np.float64(ego.place.d)) or rng.random() > 0.85:
        return
    strip = max(road.parking_on(side), 1.0)
    space.claim(Placement(ego.place.s + 3.0, side * (road.curb(side) - strip / 2)), 13.0, strip - 0.5)


def add_near_people(builder: Builder, space: Occupancy, road: Road, ego: Ego, rng: np.random.Generator) -> None:
    """People in view, on the pavement and sometimes on the road, standing or walking either way."""
    if ego.lens is None:
        return
    spread = np.deg2rad(ego.lens.field_of_view_deg) * 0.5
    for _ in range(rng.choice(PEOPLE[0], p=PEOPLE[1])):
        distance, bearing = NEAREST_M * (FARTHEST_M / NEAREST_M) ** rng.random(), ego.yaw + rng.uniform(-spread, spread)
        s, d = ego.place.s + distance * np.cos(bearing), ego.place.d + distance * np.sin(bearing)
        on_road = bool(road.is_road(np.float64(s), np.float64(d)))
        side = LEFT if d > 0 else RIGHT
        if abs(d) > road.lots(side) - 0.4 or (on_road and rng.random() > ON_ROAD_SHARE):
            continue
        walks, towards = rng.random() < 0.6, rng.choice([-1, 1])
        speed = float(rng.uniform(0.7, 1.6)) if walks else 0.0
        across = on_road and rng.random() < 0.7
        yaw = (towards * np.pi / 2 if across else (np.pi if towards < 0 else 0.0)) + rng.normal(
            0, 0.15 if walks else 1.5
        )
        place = Placement(
            s,
            d,
            yaw,
            0.0 if on_road else CURB_M,
            speed_s=0.0 if across else towards * speed,
            speed_d=towards * speed if across else 0.0,
            moves_for_s=1.5,
            gait=rng.uniform(0.1, 6) if walks else 0.0,
        )
        if space.try_claim(place, *FOOTPRINT_M, margin=0.03):
            add_person(builder.body(place, classes.PERSON, rng), rng, walks, bool(rng.random() < 0.12))


def add_near_vehicles(
    builder: Builder, space: Occupancy, road: Road, ego: Ego, speed: float, rng: np.random.Generator
) -> None:
    """Vehicles a few metres from the camera, in any lane, some of them turning."""
    for _ in range(rng.choice(VEHICLES[0], p=VEHICLES[1])):
        class_id = int(rng.choice(list(SHARES), p=list(SHARES.values())))
        car = sample_car(rng, builder.style)
        length, width = car.length, car.width
        if class_id in (classes.BICYCLE, classes.MOTORCYCLE):
            length, width = BICYCLE_SIZE_M if class_id == classes.BICYCLE else MOTORCYCLE_SIZE_M
        elif class_id != classes.CAR:
            length, width = sample_length(class_id, rng), LARGE_WIDTH_M
        side = SIDES[rng.integers(2)]
        lane = int(rng.integers(road.lanes[0 if side == LEFT else 1]))
        gap, turning = rng.uniform(-1, 12), rng.random() < 0.15
        d = road.lane_center(side, lane) + rng.normal(0, 0.25)
        yaw = rng.normal(0, 0.6 if turning else 0.03) + (np.pi if side == LEFT else 0.0)
        s = ego.place.s + gap + length / 2
        beside = abs(d - ego.place.d) > (width + ego.size_m[1]) / 2
        if not beside and abs(s - ego.place.s) < (length + ego.size_m[0]) / 2 + CLEAR_AHEAD_M:
            s = ego.place.s + (length + ego.size_m[0]) / 2 + CLEAR_AHEAD_M + abs(gap) / 2
        for pace in (speed, speed * rng.uniform(0.5, 1.1), 0.0):
            place = Placement(s, d, yaw, speed_s=-side * (0.0 if turning else pace))
            if not space.try_claim(place, length, width, margin=0.25):
                continue
            body = builder.body(place, class_id, rng)
            if class_id == classes.CAR:
                add_car(body, car, rng)
            elif class_id in (classes.BICYCLE, classes.MOTORCYCLE):
                add_two_wheeler(body, rng, is_ridden=True)
            else:
                add_large(body, length, rng)
            break

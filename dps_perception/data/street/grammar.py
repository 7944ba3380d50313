"""The grammar of a street: a seed becomes weather, a road, what stands beside it and who moves on it."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConfigError
from .builder import Builder, Primitives
from .buildings import add_backdrop, add_lots
from .furniture import add_lamps, add_signs, add_small_things, add_street_trees, add_traffic_lights
from .occupancy import Occupancy
from .pedestrians import add_crossers, add_pedestrians
from .randomness import stream
from .road import SIDES, Road, sample_road
from .traffic import (
    EGO_SIZE_M,
    Ego,
    add_cyclists,
    add_moving,
    add_parked,
    add_parked_bicycles,
    add_tram,
    sample_ego,
    sample_speed,
)
from .weather import DUSK, OVERCAST, Weather, sample_weather

STREET_M = 150.0
"""Furnished length of the street ahead of where the drive ends."""
PEOPLE_REACH_M = 70.0
DEFAULT_DURATION_S = 10.0


@dataclass(frozen=True)
class Scene:
    """A street and everything in it; `render.render` draws it at any time of its `duration_s`."""

    seed: int
    weather: Weather
    road: Road
    ego: Ego
    primitives: Primitives
    duration_s: float


def build_scene(seed: int, difficulty: float = 1.0, duration_s: float = DEFAULT_DURATION_S) -> Scene:
    """Build the scene of a seed; the same arguments always give the same scene.

    Args:
        seed: non-negative; see `seeds` for the ranges in use.
        difficulty: factor on the number of pedestrians, 0 and up.
        duration_s: how long a drive may last: the street is that much longer, and nothing collides for that long.

    Raises:
        ConfigError: a negative argument.
    """
    if seed < 0 or difficulty < 0 or duration_s < 0:
        raise ConfigError(
            f"seed {seed}, difficulty {difficulty}, duration {duration_s} s: none of them may be negative"
        )
    weather = sample_weather(stream(seed, "weather"))
    speed = sample_speed(stream(seed, "speed"))
    driven = speed * duration_s
    road = sample_road(stream(seed, "road"), STREET_M + driven, weather.kind == OVERCAST)
    builder, space = Builder(), Occupancy(duration_s)

    ego = sample_ego(road, speed, stream(seed, "ego"))
    space.claim(ego.place, *EGO_SIZE_M)
    for side in SIDES:
        add_lots(builder, road, side, stream(seed, "lots", side))
    add_backdrop(builder, road, stream(seed, "backdrop"))
    add_traffic_lights(builder, space, road, stream(seed, "traffic lights"))
    for side in SIDES:
        add_lamps(builder, space, road, side, stream(seed, "lamps", side), weather.kind == DUSK)
        add_street_trees(builder, space, road, side, stream(seed, "trees", side))
        add_signs(builder, space, road, side, stream(seed, "signs", side))
        add_small_things(builder, space, road, side, stream(seed, "small things", side))
        add_parked(builder, space, road, side, stream(seed, "parked", side))
        add_parked_bicycles(builder, space, road, side, stream(seed, "parked bicycles", side))
    add_tram(builder, space, road, stream(seed, "tram"))
    add_cyclists(builder, space, road, stream(seed, "cyclists"))
    add_crossers(builder, space, road, stream(seed, "crossers"), difficulty)
    add_moving(builder, space, road, speed, stream(seed, "traffic"))
    for side in SIDES:
        crowd = stream(seed, "pedestrians", side)
        add_pedestrians(builder, space, road, side, crowd, PEOPLE_REACH_M + driven, difficulty)
    return Scene(seed, weather, road, ego, builder.finish(), duration_s)

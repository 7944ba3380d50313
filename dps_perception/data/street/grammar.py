"""The grammar of a street: a seed becomes weather, a road, what stands beside it and who moves on it."""

from __future__ import annotations

from dataclasses import replace

from ...errors import ConfigError
from .builder import Builder
from .buildings import add_backdrop, add_lots
from .clearance import clear_the_camera
from .covers import vary_look
from .furniture import add_lamps, add_signs, add_small_things, add_street_trees, add_traffic_lights
from .levels import HARD, STANDARD, level_of
from .near import add_near_people, add_near_vehicles, keep_a_view
from .occupancy import Occupancy
from .pedestrians import add_crossers, add_pedestrians
from .randomness import stream
from .road import SIDES, Road, sample_road
from .scene import Scene
from .style import STANDARD_STYLE, Style, sample_style
from .traffic import (
    Ego,
    add_cyclists,
    add_moving,
    add_parked,
    add_parked_bicycles,
    add_tram,
    sample_ego,
    sample_speed,
)
from .vantage import ROOM_BEHIND_M, sample_vantage
from .weather import OVERCAST, Weather, sample_weather
from .weather_varied import sample_varied_weather

STREET_M = 150.0
"""Furnished length of the street ahead of where the drive ends."""
PEOPLE_REACH_M = 70.0
DEFAULT_DURATION_S = 10.0


def build_scene(
    seed: int, difficulty: float = 1.0, duration_s: float = DEFAULT_DURATION_S, level: str = STANDARD
) -> Scene:
    """Build the scene of a seed; the same arguments always give the same scene.

    Args:
        seed: non-negative; see `seeds` for the ranges in use.
        difficulty: factor on the number of pedestrians, 0 and up.
        duration_s: how long a drive may last: the street is that much longer, and nothing collides for that long.
        level: one of `levels.LEVELS`.

    Raises:
        ConfigError: a negative argument, or no such level.
    """
    if seed < 0 or difficulty < 0 or duration_s < 0:
        raise ConfigError(
            f"seed {seed}, difficulty {difficulty}, duration {duration_s} s: none of them may be negative"
        )
    is_hard = level_of(seed, level) == HARD
    speed = sample_speed(stream(seed, "speed"))
    driven = speed * duration_s
    if is_hard:
        road, ego, weather, style = _sample_varied(seed, speed, driven)
    else:
        weather, style = sample_weather(stream(seed, "weather")), STANDARD_STYLE
        road = sample_road(stream(seed, "road"), STREET_M + driven, weather.kind == OVERCAST)
        ego = sample_ego(road, speed, stream(seed, "ego"))
    builder, space = Builder(style), Occupancy(duration_s)
    crowd, reach_m = difficulty * style.crowd, PEOPLE_REACH_M + ego.place.s + driven

    space.claim(ego.place, *ego.size_m)
    if is_hard:
        keep_a_view(space, road, ego, stream(seed, "view"))
    for side in SIDES:
        add_lots(builder, road, side, stream(seed, "lots", side))
    add_backdrop(builder, road, stream(seed, "backdrop"))
    if is_hard:
        add_near_vehicles(builder, space, road, ego, speed, stream(seed, "near vehicles"))
        add_near_people(builder, space, road, ego, stream(seed, "near people"))
    add_traffic_lights(builder, space, road, stream(seed, "traffic lights"))
    for side in SIDES:
        add_lamps(builder, space, road, side, stream(seed, "lamps", side), weather.is_dark)
        add_street_trees(builder, space, road, side, stream(seed, "trees", side))
        add_signs(builder, space, road, side, stream(seed, "signs", side))
        add_small_things(builder, space, road, side, stream(seed, "small things", side))
        add_parked(builder, space, road, side, stream(seed, "parked", side))
        add_parked_bicycles(builder, space, road, side, stream(seed, "parked bicycles", side))
    add_tram(builder, space, road, stream(seed, "tram"))
    add_cyclists(builder, space, road, stream(seed, "cyclists"))
    add_crossers(builder, space, road, stream(seed, "crossers"), crowd)
    add_moving(builder, space, road, speed, stream(seed, "traffic"))
    for side in SIDES:
        add_pedestrians(builder, space, road, side, stream(seed, "pedestrians", side), reach_m, crowd)
    scene = Scene(seed, weather, road, ego, builder.finish(), duration_s)
    return clear_the_camera(scene) if is_hard else scene


def _sample_varied(seed: int, speed: float, driven: float) -> tuple[Road, Ego, Weather, Style]:
    """Road, camera, weather and style of a scene of the hard level."""
    road = sample_road(stream(seed, "road"), ROOM_BEHIND_M + STREET_M + driven, is_wet=False)
    road = replace(road, look=vary_look(road.look, stream(seed, "covers")))
    ego = sample_vantage(road, speed, stream(seed, "ego"))
    heading = float(road.position(ego.place.s, ego.place.d)[2])
    weather = sample_varied_weather(stream(seed, "weather"), heading + ego.yaw)
    return road, ego, weather, sample_style(seed, weather.wet > 0)

"""A scene: a street and everything in it."""

from __future__ import annotations

from dataclasses import dataclass

from .builder import Primitives
from .road import Road
from .traffic import Ego
from .weather import Weather


@dataclass(frozen=True)
class Scene:
    """A street and everything in it; `render.render` draws it at any time of its `duration_s`."""

    seed: int
    weather: Weather
    road: Road
    ego: Ego
    primitives: Primitives
    duration_s: float

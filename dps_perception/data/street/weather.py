"""Weather and light of a scene: sun, sky, fog, exposure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Color = NDArray[np.float64]
SUNNY, OVERCAST, HAZY, DUSK = "sunny", "overcast", "hazy", "dusk"
LOW_SUN, FOG, NIGHT = "low sun", "fog", "night"
KINDS = (SUNNY, OVERCAST, HAZY, DUSK)
SHARES = (0.4, 0.35, 0.15, 0.1)


@dataclass(frozen=True)
class Weather:
    """Light in linear RGB, relative to a white diffuse surface under the open sky.

    Attributes:
        kind: one of `KINDS`, or of the hard level `LOW_SUN`, `FOG`, `NIGHT`.
        to_sun: (3,) unit vector towards the sun.
        sun, sky, horizon: (3,) colours of direct sunlight, zenith and horizon.
        fog_per_m: extinction per metre.
        cloud: cloud cover, 0..1.
        exposure: factor of the camera's exposure.
        white_balance: (3,) factor per channel.
        is_varied: of the hard level; the rest is 0 in the standard one.
        sunset: (3,) light added to the sky around the sun.
        lamplight: (3,) light of the street lamps in their pools on the ground.
        wet: how much the whole road mirrors.
        glare: share of the sun's light that the lens scatters.
        saturation: factor on the colours' distance from grey.
        haze: light added to the whole image by the lens.
    """

    kind: str
    to_sun: Color
    sun: Color
    sky: Color
    horizon: Color
    fog_per_m: float
    cloud: float
    exposure: float
    white_balance: Color
    is_varied: bool = False
    sunset: Color = field(default_factory=lambda: np.zeros(3))
    lamplight: Color = field(default_factory=lambda: np.zeros(3))
    wet: float = 0.0
    glare: float = 0.0
    saturation: float = 1.0
    haze: float = 0.0

    @property
    def is_dark(self) -> bool:
        """Whether lamps and windows are lit."""
        return self.kind in (DUSK, NIGHT)


def from_angles(azimuth: float, elevation: float) -> Color:
    """Unit vector of angles in radians."""
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def sample_weather(rng: np.random.Generator) -> Weather:
    """Draw the weather of a scene."""
    kind = KINDS[rng.choice(len(KINDS), p=SHARES)]
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(18, 60))
    strength, tint = rng.random(), rng.random()
    fog, cloud = rng.random(), rng.random()
    if kind == SUNNY:
        sun = np.array([1, 0.93, 0.82]) * (2.2 + strength)
        sky = np.array([0.32, 0.45, 0.7]) * (0.8 + 0.4 * tint)
        horizon = np.array([0.75, 0.82, 0.9])
        fog_per_m, cover = 0.0008 + 0.0022 * fog, 0.6 * cloud
    elif kind == HAZY:
        sun = np.array([1, 0.9, 0.75]) * (1 + 0.8 * strength)
        sky = np.array([0.6, 0.66, 0.72])
        horizon = np.array([0.85, 0.85, 0.84])
        fog_per_m, cover = 0.004 + 0.01 * fog, 0.5
    elif kind == OVERCAST:
        sun = np.full(3, 0.12)
        sky = np.array([0.68, 0.71, 0.76]) * (0.7 + 0.4 * tint)
        horizon = np.array([0.8, 0.82, 0.85])
        fog_per_m, cover = 0.002 + 0.007 * fog, 1.0
    else:
        elevation = np.deg2rad(rng.uniform(6, 14))
        sun = np.array([1, 0.55, 0.25]) * (0.5 + 0.7 * strength)
        sky = np.array([0.22, 0.25, 0.38]) * (0.5 + 0.4 * tint)
        horizon = np.array([0.8, 0.55, 0.4]) * (0.5 + 0.4 * tint)
        fog_per_m, cover = 0.002 + 0.006 * fog, 0.2 + 0.7 * cloud
    exposure, white_balance = float(rng.uniform(0.75, 1.15)), rng.normal(1, 0.03, 3)
    to_sun = from_angles(azimuth, elevation)
    return Weather(kind, to_sun, sun, sky, horizon, fog_per_m, cover, exposure, white_balance)

"""Weather of the hard level: any sun, sky, fog and night, and a camera that exposes for it or doesn't."""

from __future__ import annotations

import numpy as np

from .weather import DUSK, FOG, HAZY, LOW_SUN, NIGHT, OVERCAST, SUNNY, Weather, from_angles

SHARES = {SUNNY: 0.26, OVERCAST: 0.24, HAZY: 0.08, DUSK: 0.1, LOW_SUN: 0.12, FOG: 0.1, NIGHT: 0.1}
ADAPTS = 0.75
"""How far the camera's exposure follows the light."""
MIDDLE_LIGHT = 1.1


def sample_varied_weather(rng: np.random.Generator, camera_yaw: float) -> Weather:
    """Draw the weather of a scene.

    Args:
        rng: the scene's stream for it.
        camera_yaw: where the camera looks, radians; low suns like to stand there.
    """
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(20, 70))
    strength, tint, cover, density, sky_hue = rng.random(5)
    blue, grey = np.array([0.2, 0.38, 0.75]), np.array([0.7, 0.73, 0.77])
    lamplight, sunset, wet = np.zeros(3), np.zeros(3), 0.0
    if kind == SUNNY:
        sun = np.array([1, 0.94, 0.85]) * (2 + 1.6 * strength)
        sky = blue * (0.6 + 0.8 * tint) * (1 - 0.5 * sky_hue) + 0.5 * sky_hue * grey
        horizon, fog = np.array([0.72, 0.82, 0.95]) * (0.8 + 0.4 * tint), 0.0002 + 0.002 * density
        cloud = cover if rng.random() < 0.7 else 0.0
    elif kind == LOW_SUN:
        elevation = np.deg2rad(rng.uniform(4, 16))
        if rng.random() < 0.6:
            azimuth = camera_yaw + rng.normal(0, 0.5)
        sun = np.array([1, 0.68, 0.38]) * (1.6 + 1.6 * strength)
        sky, horizon = blue * (0.5 + 0.6 * tint), np.array([0.95, 0.8, 0.62]) * (0.8 + 0.3 * tint)
        sunset, fog, cloud = np.array([1.0, 0.6, 0.3]) * (0.5 + 1.2 * strength), 0.001 + 0.004 * density, 0.7 * cover
    elif kind == DUSK:
        elevation = np.deg2rad(rng.uniform(3, 10))
        sun = np.array([1, 0.5, 0.22]) * (0.2 + 0.5 * strength)
        sky = np.array([0.16, 0.22, 0.42]) * (0.3 + 0.7 * tint)
        horizon = np.array([0.75, 0.5, 0.42 + 0.2 * sky_hue]) * (0.25 + 0.5 * tint)
        sunset, fog, cloud = np.array([0.9, 0.35, 0.15]) * strength, 0.0005 + 0.003 * density, cover
        lamplight = np.array([1, 0.75, 0.45]) * 0.15
    elif kind == NIGHT:
        sun = np.zeros(3)
        sky = np.array([0.03, 0.04, 0.08]) * (0.4 + 1.4 * tint)
        horizon = np.array([0.1, 0.085, 0.08]) * (0.4 + 1.2 * tint)
        lamplight = np.array([1, 0.72 + 0.25 * sky_hue, 0.4 + 0.5 * sky_hue]) * (0.25 + 0.4 * strength)
        fog, cloud, wet = 0.0002 + 0.002 * density**2, cover, 0.5 * (rng.random() < 0.4)
    elif kind == FOG:
        sun, sky = np.full(3, 0.1), grey * (0.7 + 0.3 * tint)
        horizon = np.array([0.78, 0.8, 0.83]) * (0.75 + 0.3 * tint)
        fog, cloud, wet = 0.012 + 0.035 * density**2, 1.0, 0.3 * (rng.random() < 0.5)
    elif kind == HAZY:
        sun, sky = np.array([1, 0.9, 0.75]) * (0.8 + strength), np.array([0.6, 0.66, 0.72])
        horizon, fog, cloud = np.array([0.85, 0.85, 0.84]), 0.003 + 0.007 * density, 0.5
    else:
        sun, sky = np.full(3, 0.1 + 0.3 * strength), grey * (0.5 + 0.6 * tint)
        horizon = np.array([0.82, 0.84, 0.88]) * (0.6 + 0.5 * tint)
        fog, cloud = 0.0002 + 0.003 * density**2, 0.0 if rng.random() < 0.35 else 0.6 + 0.5 * cover
        wet = float(rng.uniform(0.2, 0.8)) if rng.random() < 0.45 else 0.0
    warm, green = rng.normal(0, 0.1), rng.normal(0, 0.03)
    light = float((sun * np.sin(elevation) * 0.6 + sky + 0.3 * horizon + lamplight).mean())
    exposure = (MIDDLE_LIGHT / light) ** ADAPTS * 2 ** rng.uniform(-0.7, 0.6)
    return Weather(
        kind,
        from_angles(azimuth, elevation),
        sun,
        sky,
        horizon,
        float(fog),
        float(cloud),
        float(min(exposure, 6.0)),
        np.exp(np.array([warm, green, -warm])),
        is_varied=True,
        sunset=sunset,
        lamplight=lamplight,
        wet=float(wet),
        glare=float(rng.uniform(0.0, 0.35)) if kind in (LOW_SUN, SUNNY) and rng.random() < 0.6 else 0.0,
        saturation=float(rng.uniform(0.65, 1.5)),
        haze=float(rng.exponential(0.008)) * min(light, 1.0),
    )

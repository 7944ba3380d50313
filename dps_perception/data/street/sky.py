"""The sky of the hard level: gradients, clouds with depth, a glow around the sun, the sun itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .noise import smooth_noise, smooth_step
from .weather import Weather

F = np.float32
Floats = NDArray[np.float32]
CLOUD_TILE, CLOUD_LEVEL = 9.0, 2
FOG_DEPTH_M = 25.0
"""Height of the fog that lies before the sky."""
SUN_DISC = (0.9993, 0.9997)
"""Cosines of the angle from the sun's middle at its rim."""


def varied_sky_color(weather: Weather, ray: Floats) -> Floats:
    """Linear RGB (n, 3) of the sky along unit rays (n, 3)."""
    dx, dy, dz = ray.T
    fade = np.exp(-np.clip(dz, 0, 1) * F(4))[:, None]
    horizon, to_sun = weather.horizon.astype(F), weather.to_sun.astype(F)
    color = horizon * fade + weather.sky.astype(F) * (1 - fade)
    towards = np.clip(ray @ to_sun, 0, 1)
    halo = (F(0.5) * towards**6 + F(0.5) * towards**60)[:, None]
    color += halo * (F(0.4) + fade) * weather.sunset.astype(F)
    sunlight = weather.sun.astype(F)
    if weather.cloud < 1:
        color += (F(0.05) * towards**30 + 4 * smooth_step(*SUN_DISC, towards))[:, None] * sunlight
    if weather.cloud > 0:
        # Clouds lie in a plane above; the sun's azimuth is as good as random, so it shifts them.
        spread = 1 / np.maximum(dz + F(0.12), F(0.05))
        density = smooth_noise(
            dx * spread + F(31 + 50 * to_sun[0]), dy * spread + F(17 + 50 * to_sun[1]), CLOUD_TILE, CLOUD_LEVEL
        )
        low = 0.78 - 0.55 * weather.cloud
        cover = (smooth_step(low, low + 0.22, density) * smooth_step(0.0, 0.1, dz))[:, None]
        shade = F(1.15) - F(0.55) * smooth_step(low + 0.1, low + 0.5, density)[:, None]
        lit = horizon * shade + (F(0.06) + F(0.5) * halo) * (sunlight * F(0.3) + weather.sunset.astype(F))
        color = color * (1 - cover) + lit * cover
    veiled = 1 - np.exp(-F(weather.fog_per_m * FOG_DEPTH_M) / (np.clip(dz, 0, 1) + F(0.15)))[:, None]
    return (color * (1 - veiled) + F(0.95) * horizon * veiled).astype(F)

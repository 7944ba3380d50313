"""The camera's sensor: exposure, lens blur, vignette, tone curve, noise, 8 bits."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from .weather import Weather

F = np.float32
BLUR = F(0.12)
VIGNETTE = F(0.16)
SHOULDER = F(0.18)
NOISE = F(0.024)
GLARE_RADIUS = 0.22
"""Of the veil around the sun, as a share of the image's width."""
GAMMA = 2.2
GAMMA_STEPS = 65535


def expose(
    light: NDArray[np.float32],
    weather: Weather,
    rng: np.random.Generator,
    sun_px: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Turn linear light (H, W, 3) into an image (H, W, 3) uint8 RGB; `sun_px` is where the sun is, (u, v), if it is
    before the camera."""
    height, width, _ = light.shape
    if weather.is_varied:
        light = _through_lens(light, weather, sun_px)
    x = light * (weather.exposure * weather.white_balance).astype(F)
    x[1:-1] = x[1:-1] * (1 - 2 * BLUR) + BLUR * (x[:-2] + x[2:])
    x[:, 1:-1] = x[:, 1:-1] * (1 - 2 * BLUR) + BLUR * (x[:, :-2] + x[:, 2:])
    v, u = np.linspace(-0.5, 0.5, height, dtype=F)[:, None], np.linspace(-1, 1, width, dtype=F)[None]
    x *= (1 - VIGNETTE * (u * u + v * v))[..., None]
    x = np.clip(x / (1 + SHOULDER * x), 0, 4)
    x += _normal_table().take(rng.integers(0, 1 << 16, x.shape, np.uint16)) * (NOISE * np.sqrt(x * F(0.35) + F(0.015)))
    steps = np.clip(x * F(GAMMA_STEPS) + F(0.5), 0, GAMMA_STEPS).astype(np.uint16)
    return _gamma_table().take(steps)


def _through_lens(
    light: NDArray[np.float32], weather: Weather, sun_px: tuple[float, float] | None
) -> NDArray[np.float32]:
    """Saturation, haze of the lens, glare of a sun in or near the picture."""
    grey = light.mean(2, keepdims=True)
    light = np.maximum(grey + (light - grey) * F(weather.saturation), 0)
    light += F(weather.haze)
    if weather.glare > 0 and sun_px is not None:
        height, width, _ = light.shape
        u, v = np.arange(width, dtype=F)[None] - F(sun_px[0]), np.arange(height, dtype=F)[:, None] - F(sun_px[1])
        falloff = 1 / (1 + (u * u + v * v) / F((GLARE_RADIUS * width) ** 2))
        light += falloff[..., None] * (F(weather.glare) * weather.sun.astype(F))
    return light


@functools.cache
def _normal_table() -> NDArray[np.float32]:
    """Normal deviates to pick from: five times faster than drawing each."""
    return np.random.Generator(np.random.PCG64(11)).standard_normal(1 << 16, dtype=F)


@functools.cache
def _gamma_table() -> NDArray[np.uint8]:
    linear = np.arange(GAMMA_STEPS + 1) / GAMMA_STEPS
    return np.rint(linear ** (1 / GAMMA) * 255).astype(np.uint8)

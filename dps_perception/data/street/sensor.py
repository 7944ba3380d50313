"""The camera's sensor: exposure, lens blur, vignette, tone curve, noise, 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .weather import Weather

F = np.float32
BLUR = F(0.12)
VIGNETTE = F(0.16)
SHOULDER = F(0.18)
NOISE = F(0.024)
GAMMA = 2.2


def expose(light: NDArray[np.float32], weather: Weather, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn linear light (H, W, 3) into an image (H, W, 3) uint8 RGB."""
    height, width, _ = light.shape
    x = light * (weather.exposure * weather.white_balance).astype(F)
    x[1:-1] = x[1:-1] * (1 - 2 * BLUR) + BLUR * (x[:-2] + x[2:])
    x[:, 1:-1] = x[:, 1:-1] * (1 - 2 * BLUR) + BLUR * (x[:, :-2] + x[:, 2:])
    v, u = np.linspace(-0.5, 0.5, height, dtype=F)[:, None], np.linspace(-1, 1, width, dtype=F)[None]
    x *= (1 - VIGNETTE * (u * u + v * v))[..., None]
    x = np.clip(x / (1 + SHOULDER * x), 0, 4)
    x += rng.standard_normal(x.shape, dtype=F) * (NOISE * np.sqrt(x * F(0.35) + F(0.015)))
    encoded = np.clip(x, 0, 1) ** F(1 / GAMMA)
    return (encoded * 255 + F(0.5)).astype(np.uint8)

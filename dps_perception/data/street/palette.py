"""Random colours (linear RGB) of things that people choose colours for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Color = NDArray[np.float64]
_CAR_HUES = np.array(
    [[0.45, 0.03, 0.03], [0.05, 0.1, 0.4], [0.02, 0.2, 0.1], [0.5, 0.4, 0.05], [0.1, 0.3, 0.5], [0.35, 0.2, 0.1]]
)
TYRE: Color = np.full(3, 0.02)
DARK: Color = np.full(3, 0.03)
GALVANISED: Color = np.full(3, 0.35)


def car_color(rng: np.random.Generator) -> Color:
    """Mostly greys, as on the road."""
    if rng.random() < 0.62:
        grey = rng.choice([0.03, 0.06, 0.12, 0.25, 0.45, 0.7, 0.85])
        return np.clip(grey + rng.normal(0, 0.015, 3), 0.01, 0.95)
    return np.clip(_CAR_HUES[rng.integers(6)] * rng.uniform(0.5, 1.2), 0.01, 0.95)


def cloth_color(rng: np.random.Generator) -> Color:
    """Clothes, awnings, painted metal."""
    if rng.random() < 0.55:
        return np.clip(rng.choice([0.03, 0.06, 0.1, 0.2, 0.35, 0.6]) + rng.normal(0, 0.02, 3), 0.01, 0.9)
    return np.clip(rng.random(3) ** 2 * 0.7, 0.02, 0.9)

"""Random colours (linear RGB) of things that people choose colours for, and of plants."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

Color = NDArray[np.float64]
_CAR_HUES = np.array(
    [[0.45, 0.03, 0.03], [0.05, 0.1, 0.4], [0.02, 0.2, 0.1], [0.5, 0.4, 0.05], [0.1, 0.3, 0.5], [0.35, 0.2, 0.1]]
)
TYRE: Color = np.full(3, 0.02)
DARK: Color = np.full(3, 0.03)
GALVANISED: Color = np.full(3, 0.35)
_FACADES = np.array(
    [
        [0.55, 0.5, 0.42],
        [0.6, 0.58, 0.55],
        [0.45, 0.25, 0.18],
        [0.62, 0.52, 0.3],
        [0.35, 0.33, 0.32],
        [0.7, 0.68, 0.65],
        [0.5, 0.4, 0.36],
        [0.4, 0.45, 0.48],
    ]
)
_BUSH = np.array([0.06, 0.1, 0.025])
_GREEN = np.array([0.07, 0.12, 0.025])
_AUTUMN = np.array([0.25, 0.13, 0.03])
_ROOF = np.array([0.22, 0.12, 0.09])
_SKIN = np.array([0.55, 0.36, 0.26])
_HAIR = np.array([0.05, 0.035, 0.02])


class Palette:
    """The colours of the standard level."""

    def car(self, rng: np.random.Generator) -> Color:
        """Mostly greys, as on the road."""
        if rng.random() < 0.62:
            grey = rng.choice([0.03, 0.06, 0.12, 0.25, 0.45, 0.7, 0.85])
            return np.clip(grey + rng.normal(0, 0.015, 3), 0.01, 0.95)
        return np.clip(_CAR_HUES[rng.integers(6)] * rng.uniform(0.5, 1.2), 0.01, 0.95)

    def cloth(self, rng: np.random.Generator) -> Color:
        """Clothes, awnings, painted metal."""
        if rng.random() < 0.55:
            return np.clip(rng.choice([0.03, 0.06, 0.1, 0.2, 0.35, 0.6]) + rng.normal(0, 0.02, 3), 0.01, 0.9)
        return np.clip(rng.random(3) ** 2 * 0.7, 0.02, 0.9)

    def facade(self, rng: np.random.Generator) -> Color:
        """Plaster, brick, stone; before weathering."""
        return _FACADES[rng.integers(8)]

    def roof(self, rng: np.random.Generator) -> Color:
        return _ROOF * rng.uniform(0.5, 1.6)

    def crown(self, rng: np.random.Generator) -> Color:
        """The leaves of a tree."""
        return _GREEN * rng.uniform(0.5, 1.7, 3) if rng.random() < 0.85 else _AUTUMN * rng.uniform(0.6, 1.3)

    def grove(self, rng: np.random.Generator) -> Color:
        """Far trees."""
        return _GREEN * rng.uniform(0.5, 1.2, 3)

    def bush(self, rng: np.random.Generator, low: float, high: float) -> Color:
        """Bushes and hedges, `low` to `high` times the usual."""
        return _BUSH * rng.uniform(low, high)

    def skin(self, rng: np.random.Generator) -> Color:
        return _SKIN * rng.uniform(0.35, 1.2)

    def hair(self, rng: np.random.Generator) -> Color:
        return _HAIR * rng.uniform(0.3, 4)


def from_hsv(hue: float, saturation: float, value: float) -> Color:
    """Linear RGB of a hue (0..1, wrapped), saturation and brightest channel."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


class VariedPalette(Palette):
    """The colours of the hard level: any hue, and the season of the scene in its plants.

    Args:
        rng: draws what the whole scene has in common.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._autumn = float(rng.choice([0.05, 0.6], p=[0.75, 0.25]))
        self._leaf_hue = float(rng.normal(0.26, 0.025))
        self._leaf_value = float(rng.uniform(0.05, 0.22))
        self._town_hue, self._town_value = float(rng.normal(0.08, 0.05)), float(rng.uniform(0.25, 0.7))

    def car(self, rng: np.random.Generator) -> Color:
        if rng.random() < 0.6:
            value, tint = rng.choice([0.015, 0.04, 0.1, 0.22, 0.4, 0.7, 0.85]), rng.normal(0, 0.06, 3)
            return np.clip(value * (1 + tint), 0.008, 0.92)
        hue = rng.choice([0.0, 0.6, rng.random()])
        return np.clip(from_hsv(hue, rng.uniform(0.5, 0.97), rng.uniform(0.08, 0.7)), 0.01, 0.92)

    def cloth(self, rng: np.random.Generator) -> Color:
        if rng.random() < 0.55:
            return np.clip(rng.choice([0.012, 0.03, 0.08, 0.2, 0.45, 0.75]) * (1 + rng.normal(0, 0.12, 3)), 0.008, 0.9)
        jeans = rng.random() < 0.25
        hue, saturation = (0.6, 0.55) if jeans else (rng.random(), rng.uniform(0.2, 0.95))
        return from_hsv(hue, saturation, rng.uniform(0.04, 0.3 if jeans else 0.75))

    def facade(self, rng: np.random.Generator) -> Color:
        kind = rng.choice(4, p=[0.45, 0.2, 0.2, 0.15])
        if kind == 0:
            hue, value = self._town_hue + rng.normal(0, 0.03), self._town_value * rng.uniform(0.6, 1.4)
            return from_hsv(hue, rng.uniform(0.03, 0.4), min(value, 0.85))
        if kind == 1:
            return from_hsv(rng.uniform(0.0, 0.05), rng.uniform(0.5, 0.75), rng.uniform(0.15, 0.45))
        if kind == 2:
            return np.full(3, rng.uniform(0.08, 0.85)) * (1 + rng.normal(0, 0.03, 3))
        return from_hsv(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.8))

    def roof(self, rng: np.random.Generator) -> Color:
        return from_hsv(rng.normal(0.03, 0.03), rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.4))

    def crown(self, rng: np.random.Generator) -> Color:
        if rng.random() < self._autumn:
            return from_hsv(rng.uniform(0.01, 0.15), rng.uniform(0.7, 0.95), rng.uniform(0.12, 0.5))
        value = self._leaf_value * rng.uniform(0.6, 1.6)
        return from_hsv(self._leaf_hue + rng.normal(0, 0.02), rng.uniform(0.5, 0.85), value)

    def grove(self, rng: np.random.Generator) -> Color:
        return self.crown(rng) * rng.uniform(0.6, 1.1)

    def bush(self, rng: np.random.Generator, low: float, high: float) -> Color:
        return self.crown(rng) * rng.uniform(low, high) * 0.8

    def skin(self, rng: np.random.Generator) -> Color:
        return from_hsv(rng.uniform(0.03, 0.08), rng.uniform(0.35, 0.65), rng.uniform(0.06, 0.75))

    def hair(self, rng: np.random.Generator) -> Color:
        return from_hsv(rng.uniform(0.02, 0.12), rng.uniform(0.0, 0.7), rng.choice([0.01, 0.03, 0.1, 0.35]))

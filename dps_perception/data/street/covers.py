"""What covers the ground in the hard level: asphalt of any tone, setts, slabs, brick; grass, soil, fallen leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .noise import fraction, scramble
from .palette import from_hsv
from .road import GroundLook

F = np.float32
Floats = NDArray[np.float32]
SEAMLESS, SETTS, SLABS = "seamless", "setts", "slabs"


@dataclass(frozen=True)
class Cover:
    """A laid ground: its `kind` (`SEAMLESS`, `SETTS`, `SLABS`) and the size of its stones in metres."""

    kind: str
    stone_m: float

    def tone(self, s: Floats, d: Floats, footprint_m: Floats, grain: Floats, patches: Floats) -> Floats:
        """Brightness relative to the ground's colour, about 1 on average, (n,)."""
        tone: Floats = F(0.6) + F(0.4) * grain + F(0.4) * patches
        if self.kind == SEAMLESS:
            return tone
        stone = F(self.stone_m)
        across = d / (stone if self.kind == SLABS else stone * F(0.8))
        row = np.floor(across)
        along = s / stone + F(0.5) * (row % 2)
        # Stones fade out where a pixel covers a good part of one.
        clear = np.clip(F(1.6) - footprint_m / (stone * F(0.3)), 0, 1)
        width = F(0.16 if self.kind == SETTS else 0.02)
        joint = (fraction(along) < width) | (fraction(across) < width)
        each = scramble(np.floor(along) * F(3.17) + row * F(7.31))
        vary = F(0.5 if self.kind == SETTS else 0.18)
        faded: Floats = tone * (1 + clear * (vary * (each - F(0.5)) - F(0.45) * joint))
        return faded


def vary_look(look: GroundLook, rng: np.random.Generator) -> GroundLook:
    """Draw other covers and colours for the ground of a road."""
    road = str(rng.choice([SEAMLESS, SETTS, SLABS], p=[0.74, 0.16, 0.1]))
    light = rng.uniform(0.04, 0.22) if road == SEAMLESS else rng.uniform(0.1, 0.4)
    stone_m = {SEAMLESS: 1.0, SETTS: float(rng.uniform(0.1, 0.22)), SLABS: float(rng.uniform(3, 6))}
    walk = str(rng.choice([SEAMLESS, SETTS, SLABS], p=[0.3, 0.35, 0.35]))
    walk_stone_m = {SEAMLESS: 1.0, SETTS: float(rng.uniform(0.1, 0.3)), SLABS: float(rng.uniform(0.3, 1.5))}
    hue = rng.choice([rng.normal(0.08, 0.03), rng.normal(0.02, 0.02), rng.normal(0.6, 0.05)], p=[0.6, 0.2, 0.2])
    pavement = from_hsv(hue, rng.uniform(0.02, 0.45), rng.uniform(0.1, 0.55))
    tint = 1 + np.array([1, 0, -1]) * rng.normal(0, 0.05) + rng.normal(0, 0.015, 3)
    grass = from_hsv(rng.normal(0.22, 0.035), rng.uniform(0.45, 0.85), rng.uniform(0.07, 0.28))
    return replace(
        look,
        asphalt=float(light),
        pavement=pavement,
        grass=grass,
        paint=float(rng.uniform(0.0, 0.35) if rng.random() < 0.2 else rng.uniform(0.35, 0.8)),
        yellow_paint=bool(rng.random() < 0.2),
        verge=(bool(rng.random() < 0.35), bool(rng.random() < 0.35)),
        road_cover=None if road == SEAMLESS else Cover(road, stone_m[road]),
        walk_cover=Cover(walk, walk_stone_m[walk]),
        tint=tint,
        bare=float(rng.uniform(0.35, 0.8)),
        litter=float(rng.uniform(0.2, 1)) if rng.random() < 0.25 else 0.0,
        has_paint=bool(rng.random() < 0.88),
        curb_tone=float(rng.uniform(0.7, 1.9)),
        wear=float(rng.uniform(0.0, 1.2)),
    )

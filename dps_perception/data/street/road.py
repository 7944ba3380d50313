"""The road: its cross section, its crossings, and road coordinates (s along, d left of the centre line, metres)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .covers import Cover

LEFT, RIGHT = 1, -1
SIDES = (LEFT, RIGHT)
CURB_M = 0.12
"""Height of everything beside the road surface (pavement, verge, park)."""
TRAM_TRACKS_M = (-1.6, 1.6)
Floats = NDArray[Any]


@dataclass(frozen=True)
class GroundLook:
    """Colours and coverings of the ground; colours are linear RGB (3,), `verge` is (left, right). What has a default
    is for the hard level: the covers (None: asphalt, tiles), the asphalt's tint, where soil shows through grass
    (noise level), fallen leaves 0..1, the curb's brightness and how much asphalt is mended and worn."""

    asphalt: float
    pavement: NDArray[np.float64]
    grass: NDArray[np.float64]
    paint: float
    tile_m: float
    verge: tuple[bool, bool]
    lots_paved: bool
    yellow_paint: bool
    wet: float
    road_cover: Cover | None = None
    walk_cover: Cover | None = None
    tint: NDArray[np.float64] = field(default_factory=lambda: np.array([1, 1, 1.03]))
    bare: float = 0.55
    litter: float = 0.0
    has_paint: bool = True
    curb_tone: float = 1.2
    wear: float = 1.0


@dataclass(frozen=True)
class Road:
    """A road of constant curvature (1/m, positive bends left). Pairs are (left, right), lengths in metres."""

    curvature: float
    lane_width: float
    lanes: tuple[int, int]
    parking: tuple[float, float]
    walk: tuple[float, float]
    median: float
    has_tram: bool
    crossings: tuple[tuple[float, float], ...]
    zebras: tuple[tuple[float, float], ...]
    length: float
    look: GroundLook

    def curb(self, side: int) -> float:
        """Distance (positive) of the curb from the centre line."""
        index = 0 if side > 0 else 1
        return self.median / 2 + self.lanes[index] * self.lane_width + self.parking[index]

    def lots(self, side: int) -> float:
        """Distance (positive) from the centre line where the building lots begin."""
        return self.curb(side) + self.walk[0 if side > 0 else 1]

    def lane_center(self, side: int, index: int) -> float:
        """Signed d of the middle of lane `index` (0 is next to the centre line)."""
        return side * (self.median / 2 + self.lane_width * (index + 0.5))

    def parking_on(self, side: int) -> float:
        return self.parking[0 if side > 0 else 1]

    def walk_on(self, side: int) -> float:
        return self.walk[0 if side > 0 else 1]

    def position(self, s: Floats | float, d: Floats | float) -> tuple[Floats, Floats, Floats]:
        """World x, y and heading (radians) of road coordinates; broadcasts."""
        s, d = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(d, np.float64))
        k = self.curvature
        if k == 0:
            return s, d, np.zeros_like(s)
        heading = k * s
        sin, cos = np.sin(heading), np.cos(heading)
        return sin / k - d * sin, (1 - cos) / k + d * cos, heading

    def coordinates(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Road coordinates (s, d) of world points, in the dtype of the input."""
        k = self.curvature
        if k == 0:
            return x, y
        y = y - 1 / k
        sign = np.float32(np.sign(k))
        radius = np.sqrt(x * x + y * y)
        return np.arctan2(sign * x, -sign * y) / np.float32(k), np.float32(1 / k) - sign * radius

    def is_road(self, s: Floats, d: Floats) -> NDArray[np.bool_]:
        """Whether points lie on the road surface (the rest is raised by `CURB_M`)."""
        on = (d > -self.curb(RIGHT)) & (d < self.curb(LEFT))
        if self.median > 0 and not self.has_tram:
            on &= ~(np.abs(d) < self.median / 2 - 0.15)
        for start, end in self.crossings:
            on |= (s > start) & (s < end)
        return on

    def in_crossing(self, s: float, margin: float = 0.0) -> bool:
        return any(start - margin < s < end + margin for start, end in self.crossings)


def sample_road(rng: np.random.Generator, length: float, is_wet: bool) -> Road:
    """Draw a road that is furnished for `length` metres."""
    lanes_right = int(rng.choice([1, 2], p=[0.65, 0.35]))
    lanes_left = int(rng.choice([1, 2], p=[0.7, 0.3]))
    lane_width = float(rng.uniform(2.9, 3.5))
    has_tram = bool(rng.random() < 0.1)
    has_median, median = rng.random() < 0.12, rng.uniform(1.5, 4)
    crossings: list[tuple[float, float]] = []
    zebras: list[tuple[float, float]] = []
    s = rng.uniform(15, 60)
    while s < length:
        width = rng.uniform(6, 12)
        crossings.append((s, s + width))
        if rng.random() < 0.7:
            zebras.append((s - 4.5, s - 1.5))
        s += width + rng.uniform(35, 90)
    look = GroundLook(
        asphalt=float(rng.uniform(0.09, 0.2)),
        pavement=np.clip(rng.uniform(0.2, 0.4) * (1 + rng.normal(0, 0.05, 3)), 0.1, 0.6),
        grass=np.array([0.1, 0.15, 0.04]) * rng.uniform(0.7, 1.5),
        paint=float(rng.uniform(0.45, 0.75)),
        tile_m=float(rng.uniform(0.3, 1.0)),
        verge=(bool(rng.random() < 0.25), bool(rng.random() < 0.25)),
        lots_paved=bool(rng.random() < 0.4),
        yellow_paint=bool(rng.random() < 0.08),
        wet=float(max(0.0, rng.normal(-0.3, 0.5))) if is_wet else 0.0,
    )
    curvature = float(rng.normal(0, 0.004)) if rng.random() < 0.5 else 0.0
    return Road(
        curvature=curvature if abs(curvature) > 1e-5 else 0.0,
        lane_width=lane_width,
        lanes=(lanes_left, lanes_right),
        parking=(float(rng.choice([0, 2.2])), float(rng.choice([0, 2.2]))),
        walk=(float(rng.uniform(1.6, 5)), float(rng.uniform(1.6, 5))),
        median=6.4 if has_tram else float(median) if has_median else 0.0,
        has_tram=has_tram,
        crossings=tuple(crossings),
        zebras=tuple(zebras),
        length=length,
        look=look,
    )

"""Who stands where and when: keeps vehicles, people and street furniture from passing through each other.

Footprints are rectangles in road coordinates, checked at fixed times over the length of a drive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .builder import Placement

STEP_S = 0.2


class Occupancy:
    """Space-time occupancy of the street over `duration_s` seconds."""

    def __init__(self, duration_s: float) -> None:
        self.times_s: NDArray[np.float64] = np.arange(0, duration_s + STEP_S, STEP_S)
        self._count = 0
        self._s = np.zeros((64, len(self.times_s)))
        self._d = np.zeros((64, len(self.times_s)))
        self._half = np.zeros((64, 2))

    def _track(self, place: Placement) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        moved = np.minimum(self.times_s, place.moves_for_s)
        return place.s + place.speed_s * moved, place.d + place.speed_d * moved

    def is_free(self, place: Placement, length: float, width: float, margin: float = 0.1) -> bool:
        """Whether a rectangle of `length` x `width` metres (along, across its own yaw) never touches another."""
        half = _half_extents(place.yaw, length, width) + margin
        s, d = self._track(place)
        n = self._count
        overlap_s = np.abs(self._s[:n] - s) < self._half[:n, :1] + half[0]
        overlap_d = np.abs(self._d[:n] - d) < self._half[:n, 1:] + half[1]
        return not bool((overlap_s & overlap_d).any())

    def claim(self, place: Placement, length: float, width: float) -> None:
        """Take the space without a check."""
        if self._count == len(self._half):
            self._s, self._d = (np.concatenate([a, np.zeros_like(a)]) for a in (self._s, self._d))
            self._half = np.concatenate([self._half, np.zeros_like(self._half)])
        self._s[self._count], self._d[self._count] = self._track(place)
        self._half[self._count] = _half_extents(place.yaw, length, width)
        self._count += 1

    def try_claim(self, place: Placement, length: float, width: float, margin: float = 0.1) -> bool:
        """Take the space if it is free at all times; say whether it was."""
        if not self.is_free(place, length, width, margin):
            return False
        self.claim(place, length, width)
        return True


def _half_extents(yaw: float, length: float, width: float) -> NDArray[np.float64]:
    cos, sin = abs(np.cos(yaw)), abs(np.sin(yaw))
    return np.array([cos * length + sin * width, sin * length + cos * width]) / 2

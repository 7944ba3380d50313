"""Sums of float64 numbers that don't depend on the order of addition, whatever the split over processes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


class ExactSums:
    """A vector of running sums; every addition is exact (rational numbers), only reading rounds to float64."""

    def __init__(self, length: int) -> None:
        self._sums = [Fraction(0)] * length

    def add(self, values: Iterable[float]) -> None:
        """Add one finite number to each sum; zeros cost nothing."""
        for i, value in enumerate(values):
            if value:
                self._sums[i] += Fraction(float(value))

    def merge(self, other: ExactSums) -> None:
        self._sums = [a + b for a, b in zip(self._sums, other._sums, strict=True)]

    def values(self) -> NDArray[np.float64]:
        """(length,) float64, each the float nearest to its exact sum."""
        return np.array([float(s) for s in self._sums], np.float64)

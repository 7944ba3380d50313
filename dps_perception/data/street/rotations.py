"""Rotation matrices (3, 3) float64, angles in radians, right-handed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

OPTICAL_IN_BODY: Matrix = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Columns are the optical axes (x right, y down, z forward) in the body frame (x forward, y left, z up)."""


def about_x(angle: float) -> Matrix:
    """Right-handed turn about x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> Matrix:
    """Right-handed turn about y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle: float) -> Matrix:
    """Right-handed turn about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0], [0, 0, 1]])


def along(direction: NDArray[np.float64]) -> Matrix:
    """Columns right, down, forward of a view that looks along `direction` (3,)."""
    forward = direction / np.linalg.norm(direction)
    up = np.array([0, 0, 1.0]) if abs(forward[2]) < 0.95 else np.array([1.0, 0, 0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], 1)

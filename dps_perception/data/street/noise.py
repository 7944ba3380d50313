"""Tileable fractal noise with a mip pyramid: the one texture of the street world."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 1024
_SEED, _LOWEST_FREQUENCY = 5, 4


@dataclass(frozen=True)
class Pyramid:
    """All levels in one flat array; level k starts at `offsets[k]` and is `sizes[k]` squared."""

    texels: NDArray[np.float32]
    offsets: NDArray[np.int32]
    sizes: NDArray[np.int32]


@functools.cache
def pyramid() -> Pyramid:
    """1/f noise in 0..1 with mean 0.5."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    amplitude = 1 / np.maximum(frequency, _LOWEST_FREQUENCY / SIZE)
    amplitude[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * amplitude)
    level = np.clip(field / field.std() * 0.22 + 0.5, 0, 1).astype(np.float32)
    levels = [level]
    while levels[-1].shape[0] > 4:
        finer = levels[-1]
        levels.append(finer.reshape(finer.shape[0] // 2, 2, -1, 2).mean((1, 3)))
    offsets = np.cumsum([0] + [a.size for a in levels])[:-1].astype(np.int32)
    sizes = np.array([len(a) for a in levels], np.int32)
    return Pyramid(np.concatenate([a.ravel() for a in levels]), offsets, sizes)


def level_of_detail(footprint_m: NDArray[np.float32], tile_m: float = 4.0) -> NDArray[np.int32]:
    """Mip level at which a pixel that covers `footprint_m` metres sees about one texel."""
    return np.floor(np.log2(np.maximum(footprint_m * np.float32(SIZE / tile_m), np.float32(1e-3)))).astype(np.int32)


def noise(u: NDArray[Any], v: NDArray[Any], tile_m: float, level: NDArray[Any]) -> NDArray[np.float32]:
    """Noise of period `tile_m` metres at (u, v) metres, from the given mip levels (clipped to those there are)."""
    mips = pyramid()
    level = np.clip(level, 0, len(mips.offsets) - 1)
    size = mips.sizes.take(level)
    scale = (mips.sizes / tile_m).astype(np.float32).take(level)
    column = (u * scale).astype(np.int32) & (size - 1)
    row = (v * scale).astype(np.int32) & (size - 1)
    return mips.texels.take(mips.offsets.take(level) + row * size + column)


def smooth_noise(u: NDArray[Any], v: NDArray[Any], tile_m: float, level: int) -> NDArray[np.float32]:
    """Like `noise`, of one mip level and interpolated between its texels."""
    mips = pyramid()
    size, offset = int(mips.sizes[level]), int(mips.offsets[level])
    column, row = u * np.float32(size / tile_m), v * np.float32(size / tile_m)
    i, j = np.floor(column).astype(np.int32), np.floor(row).astype(np.int32)
    a, b = column - i, row - j

    def texel(di: int, dj: int) -> NDArray[np.float32]:
        return mips.texels.take(offset + ((j + dj) & (size - 1)) * size + ((i + di) & (size - 1)))

    upper = texel(0, 0) * (1 - a) + texel(1, 0) * a
    return upper * (1 - b) + (texel(0, 1) * (1 - a) + texel(1, 1) * a) * b


def fine_noise(column: NDArray[np.float32], row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Noise at texel coordinates of the finest level (wrapped)."""
    i, j = column.astype(np.int32) & (SIZE - 1), row.astype(np.int32) & (SIZE - 1)
    return pyramid().texels.take(j * SIZE + i)


def fraction(x: NDArray[Any]) -> NDArray[Any]:
    """x - floor(x)."""
    return x - np.floor(x)


def scramble(x: NDArray[Any]) -> NDArray[Any]:
    """A value in 0..1 that looks random, for each x."""
    return fraction(np.sin(x) * np.float32(43758.5453))


def smooth_step(low: float, high: float, x: NDArray[Any]) -> NDArray[Any]:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)

"""Random streams: each part of a scene draws from its own, so that changing one part does not reshuffle the rest."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """An independent generator for the part of scene `seed` named by `key`, e.g. `stream(7, "people", 1)`."""
    words = [seed] + [zlib.crc32(str(part).encode()) for part in key]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))

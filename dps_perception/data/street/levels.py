"""Difficulty levels: the street as it is benchmarked, and the same street seen by any camera in any light."""

from __future__ import annotations

from ...errors import ConfigError, nearest

STANDARD, HARD = "standard", "hard"
MIXED = "mixed"
"""Even seeds standard, odd seeds hard."""
LEVELS = (STANDARD, HARD, MIXED)


def level_of(seed: int, level: str) -> str:
    """`STANDARD` or `HARD`: the level of a seed where `level` is asked for.

    Raises:
        ConfigError: there is no such level.
    """
    if level not in LEVELS:
        raise ConfigError(f"level '{level}': one of {', '.join(LEVELS)}{nearest(level, LEVELS)}")
    if level == MIXED:
        return HARD if seed % 2 else STANDARD
    return level

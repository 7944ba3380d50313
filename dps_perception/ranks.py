"""Which of several cooperating processes this is, as torchrun tells it."""

from __future__ import annotations

import os

from .errors import ConfigError


def rank_and_size() -> tuple[int, int]:
    """(rank, number of processes) from RANK and WORLD_SIZE, which torchrun sets; (0, 1) without them.

    Raises:
        ConfigError: the two are not whole numbers with 0 <= RANK < WORLD_SIZE.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise ConfigError(f"RANK '{rank}' and WORLD_SIZE '{size}': torchrun sets them to 0 <= RANK < WORLD_SIZE")
    return int(rank), int(size)

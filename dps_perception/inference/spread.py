"""Evaluation spread over processes and machines by torchrun."""

from __future__ import annotations

import os
from typing import TypeVar

from ..ranks import rank_and_size

T = TypeVar("T")


def share(number: int) -> range:
    """The indices below `number` that are this process' own; all of them without torchrun."""
    rank, size = rank_and_size()
    return range(rank, number, size)


def gather(value: T) -> list[T]:
    """Everybody's value in the first process, by rank; nothing in the others. Every process must call it."""
    rank, size = rank_and_size()
    if size == 1:
        return [value]
    import torch.distributed as dist  # here, so that scoring files does not wait for torch

    dist.init_process_group("gloo")
    try:
        gathered: list[T | None] | None = [None] * size if rank == 0 else None
        dist.gather_object(value, gathered)
    finally:
        dist.destroy_process_group()
    return [part for part in gathered or () if part is not None]


def local_device(device: str) -> str:
    """The GPU of this process where "auto" is asked for and torchrun runs several processes on a machine."""
    if device != "auto" or _local_size() == 1:
        return device
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"


def cores_each() -> int:
    """Processor cores for each of the processes on this machine."""
    return max(1, (os.cpu_count() or 1) // _local_size())


def _local_size() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

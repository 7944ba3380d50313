"""Which images make up which batch: a pure function of seed, batch number and process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, index): a training view is a function of the seed and these two."""


class BatchOrder(Sampler[list[Key]]):
    """Endless batches; each epoch goes through all images once, in an order of its own.

    Nothing is remembered from one batch to the next, so a run that starts at batch N has exactly the batches that a run
    from 0 would have come to. The processes of a run share out each global batch; with the same global batch the
    images are the same for any number of processes.

    Args:
        images: number of images.
        batch_size: images per process and batch.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        start: number of the first batch.
    """

    def __init__(
        self, images: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.rank, self.world_size, self.start = rank, world_size, start

    def __iter__(self) -> Iterator[list[Key]]:
        number = self.start
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> list[Key]:
        """The keys of one batch of this process."""
        first = (number * self.world_size + self.rank) * self.batch_size
        keys = []
        for place in range(first, first + self.batch_size):
            epoch, position = divmod(place, self.images)
            keys.append((epoch, int(_permutation(self.seed, epoch, self.images)[position])))
        return keys


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, images: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(images)


class ValidationShare(Sampler[int]):
    """The validation images of one process; every process has equally many.

    An index at or past the number of images is a filler: strategies need equally many forward passes of each process,
    but no image may count twice.
    """

    def __init__(self, images: int, rank: int = 0, world_size: int = 1) -> None:
        self._share = range(rank, -(-images // world_size) * world_size, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self._share)

    def __len__(self) -> int:
        return len(self._share)

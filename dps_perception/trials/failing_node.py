"""dps_node whose network fails when a picture tells it to: the real node and weights, only the backend is wrapped.

What it obeys are one-coloured pictures, as no camera sends them (see `PICTURES`).
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import cli
from ..errors import BackendError
from ..inference.backends.base import Backend
from ..inference.predictor import Predictor
from ..node import main

ERROR, SURPRISE, LOSE = "error", "surprise", "lose"
PICTURES = {ERROR: 11, SURPRISE: 22, LOSE: 33}
"""Name -> the value of all pixels. "error": that frame fails as runtimes fail; "surprise": with an exception that no
backend should raise; "lose": from then on every frame fails, until the model is loaded again."""
_numbers = itertools.count(1)  # so that each error differs from the one before


class FailingBackend:
    """A backend that does what it is told, and otherwise what the real one does."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """As `Backend.run`."""
        flat = images.min() == images.max()
        told = next((name for name, value in PICTURES.items() if flat and images.max() == value), "")
        self._lost |= told == LOSE
        if self._lost:
            raise BackendError(f"backend torch on cpu: the device is gone (injected {next(_numbers)})")
        if told == ERROR:
            raise BackendError(f"backend torch on cpu: out of memory (injected {next(_numbers)})")
        if told == SURPRISE:
            raise KeyError(f"a surprise (injected {next(_numbers)})")
        return self._backend.run(images)


def load(*args: Any, **settings: Any) -> Predictor:
    """As `Predictor.load`."""
    predictor = Predictor.load(*args, **settings)
    predictor.backend = FailingBackend(predictor.backend)
    return predictor


if __name__ == "__main__":
    sys.exit(cli.run(lambda argv: main.command(argv, load=load)))

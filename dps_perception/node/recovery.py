"""A model whose runs all fail (a device that was lost, a runtime that broke) is loaded again, less and less often."""

from __future__ import annotations

import time
from collections.abc import Callable

from .diagnostics import ModelHealth

FAILED_RUNS = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class Recovery:
    """Asks for the model to be loaded again after `FAILED_RUNS` runs in a row have failed.

    If that doesn't help it asks again after 1 s, 2 s, 4 s ... at most every minute, as long as runs fail; frames go on
    being tried meanwhile. Called on the threads of the worker.

    Args:
        reload: loads the model again, beside the one that fails; returns at once.
        health: keeps the books.
        clock: seconds, steady.
    """

    def __init__(
        self, reload: Callable[[], None], health: ModelHealth, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reload = reload
        self._health = health
        self._clock = clock
        self._wait_s = FIRST_WAIT_S
        self._next_s = 0.0

    def run_failed(self) -> None:
        """A run of the network failed."""
        health = self._health
        health.failed_runs += 1
        if health.failed_runs < FAILED_RUNS or health.switching_to or self._clock() < self._next_s:
            return
        self._next_s = self._clock() + self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        health.recoveries += 1
        self._reload()

    def run_succeeded(self) -> None:
        """A run of the network gave a result."""
        if self._health.failed_runs:
            self._health.failed_runs = 0
            self._wait_s = FIRST_WAIT_S

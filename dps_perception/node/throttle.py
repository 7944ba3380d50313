"""Per-frame warnings that don't flood: the same kind of trouble is logged once in a few seconds, with a count."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Throttle:
    """Pass the first message of a kind on to `log`, then at most one every `period_s`; safe to call from any thread."""

    def __init__(
        self, log: Callable[[str], object], period_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._period_s = period_s
        self._clock = clock
        self._lock = Lock()
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def __call__(self, kind: str, message: str) -> None:
        """Log `message` unless one of the same `kind` (a short fixed word) was logged within the period."""
        now = self._clock()
        with self._lock:
            last = self._last.get(kind)
            if last is not None and now - last < self._period_s:
                self._held_back[kind] = self._held_back.get(kind, 0) + 1
                return
            self._last[kind] = now
            more = self._held_back.pop(kind, 0)
        self._log(f"{message} ({more} more like this since the last warning)" if more else message)

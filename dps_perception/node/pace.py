"""From the time in a recording to the time on the wall, at a rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Pace:
    """Says when a moment of the recording is due.

    Args:
        start_ns: moment of the recording that is due now.
        rate: recorded seconds per second; infinite: everything is due at once.
        clock: seconds, monotonic.
    """

    def __init__(self, start_ns: int, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._held = False
        self._anchor_ns, self._anchor_s = start_ns, clock()

    @property
    def held(self) -> bool:
        """Whether the time of the recording stands still."""
        return self._held

    @property
    def rate(self) -> float:
        """Recorded seconds per second; setting it leaves the present moment where it is."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._anchor_here()
        self._rate = value

    def hold(self, held: bool) -> None:
        """Let the time of the recording stand still, or go on from where it stood."""
        self._anchor_here()
        self._held = held

    def _anchor_here(self) -> None:
        if not math.isinf(self._rate) and not self._held:
            self._anchor_ns += int((self._clock() - self._anchor_s) * self._rate * 1e9)
        self._anchor_s = self._clock()

    def restart(self, now_ns: int) -> None:
        """Let `now_ns` be due now, after playback was held up or looped; while held, once it goes on."""
        self._anchor_ns = now_ns
        self._anchor_s = self._clock()

    def due_in_s(self, stamp_ns: int) -> float:
        """Seconds until `stamp_ns` is due; negative when it is late, infinite while the time is held."""
        if self._held:
            return math.inf
        return self._anchor_s + (stamp_ns - self._anchor_ns) * 1e-9 / self._rate - self._clock()

    def now_ns(self, at_most_ns: int) -> int:
        """Moment of the recording that is due now, not beyond `at_most_ns` (the next message)."""
        if self._held:
            return min(at_most_ns, self._anchor_ns)
        if math.isinf(self._rate):
            return at_most_ns
        return min(at_most_ns, self._anchor_ns + int((self._clock() - self._anchor_s) * self._rate * 1e9))

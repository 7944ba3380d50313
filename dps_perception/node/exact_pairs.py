"""Sets of messages with one stamp, and which stamps never made a set; goes on when stamps jump back (a bag loops)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import message_filters


class ExactPairs(message_filters.SimpleFilter):
    """As `message_filters.TimeSynchronizer`, but each stamp counts once and the oldest arrivals give way.

    (The synchronizer there drops the smallest stamps first: after a jump back in time it would drop all that comes.)

    Args:
        inputs: filters, such as `message_filters.Subscriber`; callbacks get one message of each, in this order.
        capacity: messages that wait at each input.
    """

    def __init__(self, inputs: Sequence[message_filters.SimpleFilter], capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._waiting: list[dict[int, Any]] = [{} for _ in inputs]
        self._seen: list[set[int]] = [set() for _ in inputs]
        self._paired: set[int] = set()
        for index, source in enumerate(inputs):
            source.registerCallback(self._add, index)

    @property
    def paired(self) -> int:
        """Stamps that every input had."""
        return len(self._paired)

    def unpaired(self, inputs: Sequence[int], *, now: bool = True) -> int:
        """Stamps that one of these inputs had and that made no set; with `now` also those that may still do."""
        seen = set.union(*(self._seen[index] for index in inputs)) - self._paired
        return len(seen if now else seen.difference(*self._waiting))

    def _add(self, message: Any, index: int) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self._seen[index].add(stamp_ns)
        if stamp_ns in self._paired:  # the bag loops
            return
        waiting = self._waiting[index]
        waiting.pop(stamp_ns, None)
        waiting[stamp_ns] = message
        if len(waiting) > self._capacity:
            del waiting[next(iter(waiting))]
        if all(stamp_ns in others for others in self._waiting):
            self._paired.add(stamp_ns)
            self.signalMessage(*(others.pop(stamp_ns) for others in self._waiting))

"""Stand-in for ROS 2's Python message_filters, for environments made from wheels only (see ../README.md)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy.logging
from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.time import Time

__version__ = "0.0.0+dps.standin"
__all__ = ["ApproximateTimeSynchronizer", "Cache", "SimpleFilter", "Subscriber", "TimeSynchronizer"]


def _stamp_of(message: Any, allow_headerless: bool, who: str) -> Time | None:
    """Stamp of the header; without one the current ROS time where that is allowed, otherwise None and a warning."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None:
        if allow_headerless:
            return ROSClock().now()
        rclpy.logging.get_logger(who).warning(
            f"{type(message).__name__} without header.stamp ignored; allow_headerless=True would use its arrival time"
        )
        return None
    return stamp if isinstance(stamp, Time) else Time.from_msg(stamp)


class SimpleFilter:
    """Anything that hands messages on to registered callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:  # noqa: N802
        """Call `cb(*messages, *args)` for each output; return the connection's number."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:  # noqa: N802
        """Hand messages to all callbacks, in the order of registration."""
        for callback, extra in list(self.callbacks.values()):
            callback(*msg, *extra)


class Subscriber(SimpleFilter):
    """A subscription as the first filter: `Subscriber(node, msg_type, topic, **kwargs of create_subscription)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.node = args[0]
        self.topic = args[2]
        kwargs.setdefault("qos_profile", 10)
        self.sub = self.node.create_subscription(*args[1:], self.callback, **kwargs)

    def callback(self, msg: Any) -> None:
        """Receive one message."""
        self.signalMessage(msg)

    def getTopic(self) -> str:  # noqa: N802
        """Topic as given to the constructor."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        if key == "sub":  # not there yet: create_subscription failed
            raise AttributeError(key)
        return getattr(self.sub, key)


class Cache(SimpleFilter):
    """The latest `cache_size` messages with their stamps, in order of arrival."""

    def __init__(self, f: SimpleFilter, cache_size: int = 1, allow_headerless: bool = False) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:  # noqa: N802
        """Take messages from `f`."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Store a message, drop the oldest beyond the size, hand the message on."""
        stamp = _stamp_of(msg, self.allow_headerless, "message_filters_cache")
        if stamp is None:
            return
        self.cache_msgs.append(msg)
        self.cache_times.append(stamp)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def _where(self, fits: Callable[[Time], bool]) -> list[Any]:
        return [msg for msg, time in zip(self.cache_msgs, self.cache_times, strict=True) if fits(time)]

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:  # noqa: N802
        """Messages from the first to the second stamp, both included."""
        assert from_stamp <= to_stamp
        return self._where(lambda time: from_stamp <= time <= to_stamp)

    def getElemAfterTime(self, stamp: Time) -> Any:  # noqa: N802
        """First message at or after the stamp, or None."""
        return next(iter(self._where(lambda time: time >= stamp)), None)

    def getElemBeforeTime(self, stamp: Time) -> Any:  # noqa: N802
        """Last message at or before the stamp, or None."""
        return next(reversed(self._where(lambda time: time <= stamp)), None)

    def getLastestTime(self) -> Time | None:  # noqa: N802  (spelt so in ROS)
        """Stamp of the latest message, or None."""
        return self.cache_times[-1] if self.cache_times else None

    def getOldestTime(self) -> Time | None:  # noqa: N802
        """Stamp of the oldest message, or None."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any:  # noqa: N802
        """First message not older than the latest stamp, or None."""
        latest = self.getLastestTime()
        return None if latest is None else self.getElemAfterTime(latest)


class TimeSynchronizer(SimpleFilter):
    """Hands on sets of messages, one of each input, whose stamps are equal.

    Each input keeps its `queue_size` newest stamps; what is older is dropped unmatched.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:  # noqa: N802
        """Take messages from the filters `fs`, in this order."""
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def _enqueue(self, queue: dict[int, Any], stamp_ns: int, msg: Any) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _emit(self, stamps_ns: Sequence[int]) -> None:
        self.signalMessage(*(queue[ns] for queue, ns in zip(self.queues, stamps_ns, strict=True)))
        for queue, ns in zip(self.queues, stamps_ns, strict=True):
            del queue[ns]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take one message of one input; hand on every set that is complete now."""
        with self.lock:
            self._enqueue(my_queue, Time.from_msg(msg.header.stamp).nanoseconds, msg)
            for ns in sorted(set.intersection(*map(set, self.queues))):
                self._emit([ns] * len(self.queues))


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Hands on sets whose stamps all lie strictly closer together than `slop` seconds, nearest first."""

    def __init__(
        self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take one message of one input; hand on at most one set."""
        stamp = _stamp_of(msg, self.allow_headerless, "message_filters_approx")
        if stamp is None:
            return
        now, slop = stamp.nanoseconds, self.slop.nanoseconds
        with self.lock:
            self._enqueue(my_queue, now, msg)
            near = [
                [now]
                if index == my_queue_index
                else sorted((s for s in q if abs(s - now) <= slop), key=lambda s: abs(s - now))
                for index, q in enumerate(self.queues)
            ]
            for stamps in itertools.product(*near):
                complete = all(ns in queue for ns, queue in zip(stamps, self.queues, strict=True))
                if complete and max(stamps) - min(stamps) < slop:
                    self._emit(stamps)
                    return

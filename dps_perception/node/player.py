"""Publishes the messages of an open bag: raw bytes, in order, at a pace, with /clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.duration import Duration, Infinite
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from ..data.bag import BagReader, BagTopic, RawMessage, header_stamp_ns
from ..errors import DpsError
from .graph import TypeNotInstalledError, connected, matching_qos, message_class, offered_type
from .pace import Pace
from .qos import publisher_qos
from .replay_options import ReplayOptions
from .spin import spin_until

_FLUSH_S = 5.0
_CLOCK_TOPIC = "/clock"


class ReplayError(DpsError):
    """Playing waited in vain for subscribers or for results."""


class Player:
    """Publishers for the topics of a bag, and the loop that feeds them.

    Args:
        reader: an open bag.
        node: that publishes; its services are answered between messages.
        executor: spins the node.
        options: what to play and how; see `replay_options`. Without topics asked for, those whose type is not
            installed are left out and named on stderr.
        stopped: asked between messages; playing ends when it is true.

    Raises:
        DatasetError: the bag lacks a topic.
        TypeNotInstalledError: the type of a topic asked for is not installed.
    """

    def __init__(
        self,
        reader: BagReader,
        node: Node,
        executor: Executor,
        options: ReplayOptions,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        reader.require([*(options.topics or ()), *options.exclude_topics, *(options.lock_step or ())[:1]])
        self.counts: dict[str, int] = {}
        self._node = node
        self._executor = executor
        self._steps = 0
        self._reader = reader
        self._options = options
        self._stopped = stopped
        self._pace = Pace(0, options.rate)
        self._pace.hold(options.start_paused)
        self._clock_period_s = 1 / options.clock_hz if options.clock_hz else 0.0
        self._clock = self._node.create_publisher(Clock, _CLOCK_TOPIC, 1) if options.clock_hz else None
        self._next_clock_s = 0.0
        self._publishers: dict[str, Any] = {}
        for topic in reader.topics().values():
            named = topic.name in (options.topics or ())
            if options.chooses(topic.name) and (named or not (topic.name == _CLOCK_TOPIC and options.clock_hz)):
                self._add_publisher(topic, required=named)
        self._latched = {t.name for t in reader.topics().values() if t.latched and t.name in self._publishers}
        self._asked_ns: int | None = None
        self._answered_ns: set[int] = set()
        self._answers: Any = None

    def _add_publisher(self, topic: BagTopic, required: bool) -> None:
        try:
            message_type = message_class(topic.type_name)
        except TypeNotInstalledError as error:
            if required:
                raise
            print(f"warning: topic '{topic.name}' is not played: {error}", file=sys.stderr)
            return
        qos = publisher_qos(topic, self._options.qos.get(topic.name, {}))
        if self._options.lock_step is not None and topic.name == self._options.lock_step[0]:
            qos.reliability = ReliabilityPolicy.RELIABLE  # a frame that gets lost would be waited for in vain
        self._publishers[topic.name] = self._node.create_publisher(message_type, topic.name, qos)

    @property
    def rate(self) -> float:
        """Recorded seconds per second; may be set while it plays."""
        return self._pace.rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._pace.rate = value

    @property
    def paused(self) -> bool:
        return self._pace.held

    def pause(self, paused: bool) -> None:
        """Pause or go on; /clock stands still meanwhile."""
        self._pace.hold(paused)
        self._steps *= paused  # steps that were asked for come by themselves now

    def play_next(self) -> bool:
        """While paused: let the next message out. False where it is not paused."""
        self._steps += self.paused
        return self.paused

    def wait_for_subscribers(self, counts: Mapping[str, int]) -> None:
        """Wait until each topic has that many subscribers: names as published here, or by other nodes.

        Raises:
            ReplayError: the time is up.
        """
        ours = {publisher.topic_name: publisher for publisher in self._publishers.values()}

        def found(topic: str) -> int:
            return int(ours[topic].get_subscription_count() if topic in ours else self._node.count_subscribers(topic))

        waited = self._wait(lambda: all(found(topic) >= number for topic, number in counts.items()))
        if not waited and not self._stopped():
            told = ", ".join(
                f"{topic}: {found(topic)} of {number}{'' if topic in ours else ', not played'}"
                for topic, number in counts.items()
            )
            raise ReplayError(f"no such number of subscribers after {self._options.wait_timeout_s:g} s ({told})")

    def play(self, start_ns: int) -> None:
        """Publish all messages recorded from `start_ns` on, and before it the latched ones.

        Raises:
            ReplayError: there is none, or waiting for a result took too long.
        """
        self._delay()
        if self._latched and start_ns > self._reader.start_ns:
            for message in self._reader.raw_messages(self._latched):
                if message.stamp_ns >= start_ns:
                    break
                self._publish(message)
        self._pace.restart(start_ns)
        self._next_clock_s = 0.0
        end_ns = self._options.end_ns(start_ns)
        last_ns = self._reader.end_ns if end_ns is None else min(end_ns, self._reader.end_ns)
        seconds = max(0.0, (last_ns - start_ns) * 1e-9)
        form = "{l_bar}{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}{postfix}]"
        hidden = None if self._options.progress else True  # None: shown on terminals only
        with tqdm(total=seconds, bar_format=form, desc=self._reader.path.name, disable=hidden) as bar:
            # The last moment is played too, as in `ros2 bag play`.
            stop_ns = None if end_ns is None else end_ns + 1
            played = 0
            for message in self._reader.raw_messages(self._publishers.keys(), start_ns, stop_ns):
                self._hold_for_result(message)
                self._sleep_until(message.stamp_ns)
                if self._stopped():
                    return
                self._publish(message)
                played += 1
                bar.update((message.stamp_ns - start_ns) * 1e-9 - bar.n)
        if not played and (self._options.loop or not self.counts) and not self._stopped():
            lasts_s = (self._reader.end_ns - self._reader.start_ns) * 1e-9
            raise ReplayError(
                f"nothing to play: bag '{self._reader.path}' has no message of the topics asked for in the part asked "
                f"for; it lasts {lasts_s:.1f} s and has {self._reader.described()}"
            )

    def _delay(self) -> None:
        if self._options.delay_s:
            spin_until(self._executor, self._stopped, self._options.delay_s)

    def flush(self) -> None:
        """Give reliable subscribers time to acknowledge the last messages."""
        asked_ms = self._options.wait_acked_ms
        seconds = _FLUSH_S if asked_ms < 0 else asked_ms / 1000
        for publisher in self._publishers.values():
            if publisher.get_subscription_count() and not self._stopped():
                publisher.wait_for_all_acked(Duration(seconds=seconds) if asked_ms else Infinite)

    def _publish(self, message: RawMessage) -> None:
        self._publishers[message.topic].publish(message.data)
        self.counts[message.topic] = self.counts.get(message.topic, 0) + 1

    def _sleep_until(self, stamp_ns: int) -> None:
        while not self._stopped():
            if self._steps:
                self._steps -= 1
                self._pace.restart(stamp_ns)
                return
            left_s = self._pace.due_in_s(stamp_ns)
            if self._clock is not None:
                left_s = min(left_s, self._tick(stamp_ns))
            if left_s <= 0:
                # Now and then even when every message is late: for keys and services.
                self._executor.spin_once(timeout_sec=0)
                if not self.paused:
                    return
                continue
            self._executor.spin_once(timeout_sec=min(left_s, 0.2))

    def _tick(self, next_stamp_ns: int) -> float:
        """Publish /clock if it is time for it; seconds until the message or the next tick is due, if sooner."""
        assert self._clock is not None
        due_s = self._pace.due_in_s(next_stamp_ns)
        now_ns = self._pace.now_ns(next_stamp_ns)
        wall_s = time.monotonic()
        if wall_s >= self._next_clock_s:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now_ns, 10**9)
            self._clock.publish(message)
            self._next_clock_s = wall_s + self._clock_period_s
        return due_s if due_s <= 0 else min(due_s, max(self._next_clock_s - wall_s, 1e-4))

    def _hold_for_result(self, message: RawMessage) -> None:
        """Before a frame: wait for the result of the one before, or before the first for somebody to give results."""
        if self._options.lock_step is None or message.topic != self._options.lock_step[0]:
            return
        result_topic = self._options.lock_step[1]
        if not self._wait(lambda: self._subscribed(result_topic)) and not self._stopped():
            raise ReplayError(
                f"nobody publishes '{result_topic}' after {self._options.wait_timeout_s:g} s; start the node first"
            )
        self.wait_for_result()
        if self._pace.due_in_s(message.stamp_ns) < 0:
            self._pace.restart(message.stamp_ns)
        self._answered_ns.clear()
        self._asked_ns = header_stamp_ns(message.data)

    def wait_for_result(self) -> None:
        """Wait for the result of the last frame, in lock step.

        Raises:
            ReplayError: it does not come in time.
        """
        asked_ns = self._asked_ns
        if asked_ns is not None and not self._wait(lambda: asked_ns in self._answered_ns) and not self._stopped():
            assert self._options.lock_step is not None
            topic, result_topic = self._options.lock_step
            raise ReplayError(
                f"no message on '{result_topic}' with stamp {asked_ns * 1e-9:.9f} came within "
                f"{self._options.wait_timeout_s:g} s; is the node active and subscribed to '{topic}'?"
            )

    def _subscribed(self, topic: str) -> bool:
        """Subscribe to the results as soon as somebody offers them; true once that is done."""
        type_name = None if self._answers else offered_type(self._node, topic)
        if type_name is not None:
            self._answers = self._node.create_subscription(
                message_class(type_name),
                topic,
                lambda data: self._answered_ns.add(header_stamp_ns(data)),
                matching_qos(self._node, topic),
                raw=True,
            )
        return self._answers is not None and connected(self._node, self._answers, topic)

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """True when the condition holds; False when the time is up or playing is to stop."""
        spin_until(self._executor, lambda: self._stopped() or condition(), self._options.wait_timeout_s)
        return not self._stopped() and condition()

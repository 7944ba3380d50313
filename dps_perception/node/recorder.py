"""Subscriptions that write topics to a rosbag2 (MCAP), byte for byte as they arrive."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from ..data.bag import header_stamp_ns
from ..data.bag_writer import BagWriter
from .graph import (
    TypeNotInstalledError,
    connected,
    matching_qos,
    message_class,
    message_definitions,
    offered_type,
    topics_published_by,
)

_LOOK_S = 0.05
_FLUSH_S = 0.5


@dataclass(frozen=True)
class Selection:
    """Topics to record besides those that are named, as they turn up.

    Attributes:
        nodes: full names of nodes, all of whose topics are meant but /rosout and /parameter_events.
        everything: all topics but hidden ones.
        exclude: topics left out of these: a regular expression found in their name; "" leaves out none.
    """

    nodes: tuple[str, ...] = ()
    everything: bool = False
    exclude: str = ""

    def __bool__(self) -> bool:
        return bool(self.nodes) or self.everything

    def topics(self, node: Node) -> list[str]:
        """The topics that are there now."""
        found = {topic for name in self.nodes for topic in topics_published_by(node, name)}
        found -= {"/rosout", "/parameter_events"}
        if self.everything:
            found |= {name for name, _ in node.get_topic_names_and_types() if "/_" not in name}
        return sorted(topic for topic in found if not (self.exclude and re.search(self.exclude, topic)))


class Recorder:
    """Subscriptions of a node that write what they receive to a bag.

    A topic is subscribed as soon as somebody publishes it, with a QoS that its publishers offer.

    Args:
        node: whose executor spins.
        writer: an entered BagWriter.
        topics: full names, e.g. "/camera/image_raw".
        on_message: called with (topic, header stamp in nanoseconds or None) after each message.
        selection: more topics, looked for all the time.
        warn: told once of each selected topic whose type is not installed.
    """

    def __init__(
        self,
        node: Node,
        writer: BagWriter,
        topics: Iterable[str],
        on_message: Callable[[str, int | None], None] = lambda topic, stamp_ns: None,
        *,
        selection: Selection = Selection(),
        warn: Callable[[str], None] = print,
    ) -> None:
        self._node = node
        self._writer = writer
        self._on_message = on_message
        self.missing = list(dict.fromkeys(topics))
        self.counts = dict.fromkeys(self.missing, 0)
        self._subscriptions: dict[str, Any] = {}
        self._selection, self._warn = selection, warn
        self._refused: set[str] = set()
        self._timer = node.create_timer(_LOOK_S, self.look)
        self._flushing = node.create_timer(_FLUSH_S, writer.flush_if_due)
        self.look()

    def look(self) -> None:
        """Subscribe to those missing topics that are published by now.

        Raises:
            TypeNotInstalledError: the type of a topic asked for by name is not installed.
        """
        for topic in self._selection.topics(self._node):
            if topic not in self.counts and topic not in self._refused:
                self._take(topic)
        for topic in list(self.missing):
            type_name = offered_type(self._node, topic)
            if type_name is not None:
                self._subscribe(topic, type_name)
                self.missing.remove(topic)
        if not self.missing and not self._selection:
            self._timer.cancel()

    def _take(self, topic: str) -> None:
        """Subscribe to a selected topic; one that can't be is left out with a warning."""
        type_name = offered_type(self._node, topic)
        if type_name is None:
            return
        try:
            self._subscribe(topic, type_name)
        except TypeNotInstalledError as error:
            self._refused.add(topic)
            self._warn(f"topic '{topic}' is not recorded: {error}")

    def connected(self, topic: str) -> bool:
        """The topic has a subscription that is connected to a publisher."""
        return topic in self._subscriptions and connected(self._node, self._subscriptions[topic], topic)

    def _subscribe(self, topic: str, type_name: str) -> None:
        message_type = message_class(type_name)
        if not self._writer.knows(type_name):
            self._writer.register_types(message_definitions(message_type))
        qos = matching_qos(self._node, topic)
        self._writer.add_topic(
            topic,
            type_name,
            latched=qos.durability == DurabilityPolicy.TRANSIENT_LOCAL,
            reliable=qos.reliability == ReliabilityPolicy.RELIABLE,
        )
        self.counts.setdefault(topic, 0)
        has_header = message_type.get_fields_and_field_types().get("header") == "std_msgs/Header"

        def keep(data: bytes) -> None:
            self._writer.write_raw(topic, time.time_ns(), data)
            self.counts[topic] += 1
            self._on_message(topic, header_stamp_ns(data) if has_header else None)

        self._subscriptions[topic] = self._node.create_subscription(message_type, topic, keep, qos, raw=True)

    def drain(self, executor: Executor, at_most_s: float = 2.0) -> None:
        """Write what has arrived already: spin until a tenth of a second brings nothing new."""
        begin = last_new = time.monotonic()
        written = sum(self.counts.values())
        while time.monotonic() < min(last_new + 0.1, begin + at_most_s):
            executor.spin_once(timeout_sec=0.02)
            if sum(self.counts.values()) != written:
                written, last_new = sum(self.counts.values()), time.monotonic()

    def close(self) -> None:
        """Stop receiving; the writer can be closed after."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_timer(self._flushing)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)

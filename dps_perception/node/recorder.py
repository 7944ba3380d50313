"""Records topics to a rosbag2 (MCAP), byte for byte as they arrive.

As a command: `python -m dps_perception.node.recorder OUT TOPIC... [--until TOPIC=N]`. The bag is whole and readable
after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.signals import SignalHandlerOptions

from .. import cli
from ..data.bag import BagWriter, header_stamp_ns
from ..errors import ConfigError, DpsError
from .graph import connected, matching_qos, message_class, message_definitions, offered_type, split_ros_args
from .spin import StopSignal, spin_until


class Recorder:
    """Subscriptions of a node that write what they receive to a bag.

    A topic is subscribed as soon as somebody publishes it, with a QoS that its publishers offer.

    Args:
        node: whose executor spins.
        writer: an entered BagWriter.
        topics: full names, e.g. "/camera/image_raw".
        on_message: called with (topic, header stamp in nanoseconds or None) after each message.
    """

    def __init__(
        self,
        node: Node,
        writer: BagWriter,
        topics: Iterable[str],
        on_message: Callable[[str, int | None], None] = lambda topic, stamp_ns: None,
    ) -> None:
        self._node = node
        self._writer = writer
        self._on_message = on_message
        self.missing = list(dict.fromkeys(topics))
        self.counts = dict.fromkeys(self.missing, 0)
        self.stamps_ns: dict[str, list[int]] = {topic: [] for topic in self.missing}
        self._subscriptions: dict[str, Any] = {}
        self._timer = node.create_timer(0.05, self.look)
        self.look()

    def look(self) -> None:
        """Subscribe to those missing topics that are published by now."""
        for topic in list(self.missing):
            type_name = offered_type(self._node, topic)
            if type_name is not None:
                self._subscribe(topic, type_name)
                self.missing.remove(topic)
        if not self.missing:
            self._timer.cancel()

    def connected(self, topic: str) -> bool:
        """The topic has a subscription that is connected to a publisher."""
        return topic in self._subscriptions and connected(self._node, self._subscriptions[topic], topic)

    def _subscribe(self, topic: str, type_name: str) -> None:
        message_type = message_class(type_name)
        if not self._writer.knows(type_name):
            self._writer.register_types(message_definitions(message_type))
        qos = matching_qos(self._node, topic)
        self._writer.add_topic(topic, type_name, latched=qos.durability == DurabilityPolicy.TRANSIENT_LOCAL)
        has_header = message_type.get_fields_and_field_types().get("header") == "std_msgs/Header"

        def keep(data: bytes) -> None:
            self._writer.write_raw(topic, time.time_ns(), data)
            self.counts[topic] += 1
            stamp_ns = header_stamp_ns(data) if has_header else None
            if stamp_ns is not None:
                self.stamps_ns[topic].append(stamp_ns)
            self._on_message(topic, stamp_ns)

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
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dps_perception.node.recorder",
        description="Record topics to a rosbag2 (MCAP) until Ctrl-C, or until enough messages have come.",
    )
    parser.add_argument("out", type=Path, help="bag folder to write; it appears when the recording is complete")
    parser.add_argument("topics", nargs="+", help="full topic names; a topic may begin to be published later")
    parser.add_argument(
        "--until", nargs="+", default=[], metavar="TOPIC=N", help="stop by itself when these topics have N messages"
    )
    parser.add_argument("--timeout", type=float, default=float("inf"), metavar="S", help="an error after S seconds")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bag")
    return parser


def _goals(texts: Sequence[str], topics: Sequence[str]) -> dict[str, int]:
    goals = {}
    for text in texts:
        topic, _, number = text.partition("=")
        if topic not in topics or not number.isdigit():
            raise ConfigError(f"--until '{text}': give TOPIC=N with a recorded topic: {', '.join(topics)}")
        goals[topic] = int(number)
    return goals


def record(
    out: Path,
    topics: Sequence[str],
    goals: Mapping[str, int],
    *,
    timeout_s: float = float("inf"),
    overwrite: bool = False,
    ros_args: Sequence[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Record until all goals (topic -> number of messages) are met or `stopped()`; return the number by topic.

    Raises:
        DatasetError: `out` exists and may not be replaced, or can't be written.
        DpsError: the goals are not met in time; nothing is left then.
    """
    with BagWriter(out, overwrite=overwrite) as writer, contextlib.ExitStack() as stack:
        context = rclpy.Context()
        rclpy.init(args=list(ros_args), context=context, signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(context.try_shutdown)
        node = Node("dps_recorder", context=context)
        stack.callback(node.destroy_node)
        executor = SingleThreadedExecutor(context=context)
        stack.callback(executor.shutdown)
        executor.add_node(node)
        recorder = Recorder(node, writer, topics)
        stack.callback(recorder.close)

        def done() -> bool:
            met = bool(goals) and all(recorder.counts[topic] >= number for topic, number in goals.items())
            return met or stopped()

        if not spin_until(executor, done, timeout_s):
            raise DpsError(f"recording not complete after {timeout_s:g} s: {recorder.counts}, wanted {dict(goals)}")
        recorder.drain(executor)
        return dict(recorder.counts)


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    signal = StopSignal()
    try:
        counts = record(
            args.out,
            args.topics,
            _goals(args.until, args.topics),
            timeout_s=args.timeout,
            overwrite=args.overwrite,
            ros_args=ros,
            stopped=lambda: signal.received,
        )
    finally:
        signal.restore()
    print(f"{args.out}: " + ", ".join(f"{topic} x{count}" for topic, count in counts.items()))


def main() -> int:
    """Entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""The other side of `node_run`, in a process of its own: subscribes to outputs and notes when each message arrives."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from dps_msgs.msg import PipelineStats

from .. import cli
from ..data.bag import header_stamp_ns
from ..files import replacing
from ..node import qos
from ..node.encode import OUTPUTS
from ..node.memory import keep_freed_memory
from ..node.spin import StopSignal

DEPTH = 5


class Arrivals:
    """Subscriptions to outputs of the node; messages stay the bytes that they are.

    Attributes:
        outputs: name -> [(stamp [ns], arrival on the monotonic clock [ns]), ...].
        stats: fields of ~/stats, with `stamp_ns`.

    Args:
        node: that subscribes.
        dps: full name of the node that publishes.
        names: outputs (see `OUTPUTS`).
    """

    def __init__(self, node: Node, dps: str, names: Sequence[str]) -> None:
        self.outputs: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
        self.stats: list[dict[str, Any]] = []
        profile = qos.profile("reliable", DEPTH)
        for name in names:
            node.create_subscription(OUTPUTS[name][0], f"{dps}/{name}", self._noting(name), profile, raw=True)
        node.create_subscription(PipelineStats, f"{dps}/stats", self._on_stats, profile, raw=True)

    def _noting(self, name: str) -> Callable[[bytes], None]:
        def note(data: bytes) -> None:
            now_ns = time.monotonic_ns()
            self.outputs[name].append((_stamp_ns(name, data), now_ns))

        return note

    def _on_stats(self, data: bytes) -> None:
        message = deserialize_message(data, PipelineStats)
        kinds = message.get_fields_and_field_types()
        values = {name: getattr(message, name) for name, kind in kinds.items() if kind in ("float", "string", "uint64")}
        self.stats.append(values | {"stamp_ns": header_stamp_ns(data)})


def _stamp_ns(name: str, data: bytes) -> int:
    """The stamp in the bytes of an output; markers have theirs behind their number, since each has its own header."""
    if name == "markers":
        data = data[:4] + data[8:16]
    return header_stamp_ns(data)


def command(argv: Sequence[str] | None = None) -> None:
    """Listen until SIGINT, then write what came."""
    parser = argparse.ArgumentParser(prog="python -m dps_perception.benchmark.node_listen", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON file to write at the end")
    parser.add_argument("names", nargs="+", choices=list(OUTPUTS), help="outputs")
    parser.add_argument("--dps", default="/dps", help="full name of the node (%(default)s)")
    args = parser.parse_args(argv)
    keep_freed_memory()
    stop = StopSignal()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node, executor = Node("dps_listen"), SingleThreadedExecutor()
    executor.add_node(node)
    arrivals = Arrivals(node, args.dps, args.names)
    try:
        stop.spin(executor)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
        stop.restore()
    with replacing(args.file) as path:
        path.write_text(json.dumps({"outputs": arrivals.outputs, "stats": arrivals.stats}))


if __name__ == "__main__":
    sys.exit(cli.run(command))

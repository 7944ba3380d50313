"""The other side of `node_run`, in a process of its own: subscribes to outputs and notes when each message arrives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from .. import cli
from ..files import replacing
from ..node.arrivals import Arrivals
from ..node.encode import OUTPUTS
from ..node.memory import keep_freed_memory
from ..node.spin import StopSignal


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

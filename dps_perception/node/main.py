"""`dps_node`: run the node until SIGINT or SIGTERM, then end in order with status 0."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from .. import cli
from .spin import StopSignal


def command(argv: Sequence[str] | None = None, **node_args: Any) -> None:
    """Run the node.

    Args:
        argv: without the program's name; None takes the process's own.
        node_args: of DpsNode.

    Raises:
        ConfigError: unknown or invalid parameters.
    """
    arguments = list(sys.argv if argv is None else ["dps_node", *argv])
    stop = StopSignal(at_once=True)  # ROS and PyTorch take seconds to import
    try:
        _run(arguments, stop, node_args)
    finally:
        stop.restore()


def _run(arguments: list[str], stop: StopSignal, node_args: dict[str, Any]) -> None:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    _parser().parse_args(remove_ros_args(arguments)[1:])
    from .memory import keep_freed_memory
    from .node import DpsNode
    from .shared_memory import clear_dead_segments

    stop.at_once = False
    keep_freed_memory()
    freed = clear_dead_segments()
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    try:
        node = DpsNode(**node_args)
        if freed:
            node.get_logger().info(f"freed {freed / 1e6:.0f} MB of shared memory that killed ROS processes had left")
        executor.add_node(node)
        stop.spin(executor)
        if node.state in ("unconfigured", "inactive", "active"):
            node.trigger_shutdown()
        executor.remove_node(node)
        node.destroy_node()
    finally:
        executor.shutdown()
        rclpy.try_shutdown()


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="dps_node",
        description="Panoptic labels, metric depth, labelled points and instances from one camera.",
        epilog="Parameters and remappings are ROS arguments: dps_node --ros-args -r image:=/camera/image_raw "
        "-r camera_info:=/camera/camera_info -p score_threshold_things:=0.4 --params-file dps.yaml. "
        "config/dps.yaml describes every parameter.",
    )


def main() -> int:
    """Entry point of `dps_node`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""Other processes around the node: a camera that sends 10 images per second, or a subscriber to two outputs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from .. import cli
from ..camera import Intrinsics
from ..node import qos
from ..node.camera_messages import camera_messages
from ..node.spin import StopSignal

NODE = "/dps"
SIZE = (64, 128)
INTRINSICS = Intrinsics(100.0, 100.0, SIZE[1] / 2, SIZE[0] / 2, *SIZE)
CAMERA, SUBSCRIBER = "camera", "subscriber"
RATE_HZ = 10.0


def _camera(node: Node) -> Any:
    """Prints the stamps of what it sends, see `stamps`."""
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    image, info = camera_messages(rgb, INTRINSICS)
    infos = node.create_publisher(CameraInfo, "camera_info", qos.profile("reliable", 1))
    images = node.create_publisher(Image, "image", qos.profile("reliable", 1))

    def send() -> None:
        now = node.get_clock().now()
        image.header.stamp = info.header.stamp = now.to_msg()
        print(now.nanoseconds, flush=True)
        infos.publish(info)
        images.publish(image)

    return node.create_timer(1 / RATE_HZ, send)


def stamps(log: Path) -> list[int]:
    """Stamps [ns] that a camera has sent, from its log."""
    return [int(line) for line in log.read_text(errors="replace").splitlines() if line.isdigit()]


def _subscriber(node: Node) -> Any:
    profile = qos.profile("reliable", 1)
    return [
        node.create_subscription(Image, f"{NODE}/{name}", lambda _: None, profile) for name in ("panoptic", "depth")
    ]


def command(argv: Sequence[str] | None = None) -> None:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m dps_perception.trials.peer", description=__doc__)
    parser.add_argument("role", choices=[CAMERA, SUBSCRIBER])
    role = parser.parse_args(argv).role
    stop = StopSignal()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node, executor = Node(f"dps_trials_{role}"), SingleThreadedExecutor()
    executor.add_node(node)
    _at_work = (_camera if role == CAMERA else _subscriber)(node)
    try:
        stop.spin(executor)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
        stop.restore()


if __name__ == "__main__":
    sys.exit(cli.run(command))

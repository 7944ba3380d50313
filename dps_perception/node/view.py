"""`dps_view`: what the node publishes, or a bag recorded of it, in the Rerun viewer."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from tqdm import tqdm

from .. import cli
from ..data.bag import BagReader
from ..data.bag_topics import find_image
from ..errors import ConfigError, DatasetError, DpsError
from ..viewing.rerun_log import RerunLog
from .graph import Awaited, split_ros_args
from .qos import LATCHED, profile
from .spin import StopSignal, ros_node, spin_until
from .throttle import Throttle

_LATCHED_NAMES = ("panoptic_info",)
_LOOK_S = 0.25
_QUEUE = 5


class Viewer(Node):
    """Subscriptions that log what they get; a topic is subscribed as soon as somebody publishes it.

    Args:
        log: where messages go.
        topics: full topic by the name under which `log` knows it.
        context: an initialised ROS context.
    """

    def __init__(self, log: RerunLog, topics: Mapping[str, str], context: rclpy.Context | None = None) -> None:
        super().__init__("dps_view", context=context)
        self._log = log
        self._warn = Throttle(self.get_logger().warning)
        awaited = Awaited(self, _LOOK_S)
        for name, topic in topics.items():
            # Best effort receives from publishers of either kind, and never holds the node up.
            qos = LATCHED if name in _LATCHED_NAMES else profile("best_effort", _QUEUE)
            awaited.subscribe(topic, self._logger_of(name), qos=qos)

    def _logger_of(self, name: str) -> Callable[[Any], None]:
        def log(message: Any) -> None:
            try:
                self._log.add(name, message)
            except DpsError as error:
                self._warn(name, f"{name} is not shown: {error}")

        return log


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="dps_view",
        description="Show what dps_node publishes, or what dps_record recorded of it, in the Rerun viewer.",
        epilog="dps_view beside a running node opens a window; dps_view recording --save out.rrd makes a file, which "
        "`rerun out.rrd` shows anywhere. Needs the package rerun-sdk.",
    )
    add = parser.add_argument
    add("bag", type=Path, nargs="?", help="rosbag2 with the node's topics [live]")
    add("--node", default="/dps", help="full name of the node [%(default)s]")
    add("--image", default="", metavar="TOPIC", help="camera image [bag: found; live: not shown]")
    add("--point-stride", type=int, default=1, metavar="N", help="every Nth row and column of the cloud [%(default)s]")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--save", type=Path, metavar="FILE.rrd", help="write a file instead of opening a window")
    where.add_argument(
        "--connect", metavar="URL", help="send to a viewer that runs, e.g. rerun+http://127.0.0.1:9876/proxy"
    )
    where.add_argument("--serve", action="store_true", help="serve the viewer to web browsers")
    return parser


def _send(log: RerunLog, args: argparse.Namespace) -> None:
    if args.save:
        log.save(args.save)
    elif args.connect:
        log.connect(args.connect)
    elif args.serve:
        address = log.serve()
        print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
    else:
        log.open_window()


def _view_bag(args: argparse.Namespace, log: RerunLog, stopped: Callable[[], bool]) -> None:
    with BagReader(args.bag) as reader:
        names = {f"{args.node}/{name}": name for name in log.names}
        reader.require([args.image] if args.image else [])
        image = args.image or _image_of(reader, args.node)
        if image:
            names[image] = "image"
        found = sorted(set(names) & set(reader.topics()))
        if not any(topic.startswith(f"{args.node}/") for topic in found):
            raise DatasetError(f"bag '{args.bag}' has no topic of node '{args.node}'; its topics: {reader.described()}")
        _send(log, args)
        total = sum(reader.topics()[topic].message_count for topic in found)
        for raw in tqdm(reader.raw_messages(found), total=total, desc=reader.path.name, disable=None):
            if stopped():
                return
            log.add(names[raw.topic], reader.deserialize(raw))


def _image_of(reader: BagReader, node: str) -> str:
    """The camera's image, which is none of the node's pictures; "" where that is not clear."""
    try:
        return find_image(reader, ignore=(f"{node}/",))
    except DatasetError as error:
        print(f"no camera image is shown: {str(error).replace('as topics.image', 'with --image')}", file=sys.stderr)
        return ""


def _view_live(args: argparse.Namespace, log: RerunLog, ros: Sequence[str], stopped: Callable[[], bool]) -> None:
    topics = {name: f"{args.node}/{name}" for name in log.names if name != "image"}
    if args.image:
        topics["image"] = args.image
    with ros_node(lambda context: Viewer(log, topics, context), ros) as (_, executor):
        spin_until(executor, stopped, math.inf)


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    if args.point_stride < 1:
        raise ConfigError(f"--point-stride {args.point_stride}: must be 1 or more")
    log = RerunLog(point_stride=args.point_stride)
    signal = StopSignal()
    try:
        if args.bag:
            _view_bag(args, log, lambda: signal.received)
        else:
            _send(log, args)
            _view_live(args, log, ros, lambda: signal.received)
    finally:
        signal.restore()
        log.close()
    where = f"{args.save}: " if args.save else ""
    print(where + (", ".join(f"{name} x{count}" for name, count in log.counts.items()) or "nothing came"))


def main() -> int:
    """Entry point of `dps_view`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""`dps_replay`: rosbag2 in, topics out; options are named as in `ros2 bag play`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from rclpy.node import Node

from .. import cli
from ..data.bag import BagReader
from .controls import Controls, keyboard
from .graph import split_ros_args
from .player import Player
from .replay_options import ReplayOptions, make_parser, options_of
from .spin import StopSignal, ros_node


def replay(
    options: ReplayOptions, ros_args: Sequence[str] = (), stopped: Callable[[], bool] = lambda: False
) -> dict[str, int]:
    """Play a bag until its end (or until `stopped()`), and return the number of messages published by topic.

    Raises:
        DatasetError: the bag is missing or damaged, or lacks a topic (its topics are listed).
        TypeNotInstalledError: the type of a chosen topic is not installed here.
        ReplayError: waited too long for subscribers or results, or there is nothing to play.
    """
    remap = [word for rule in options.remap for word in ("-r", rule)]
    own = [*ros_args, *(["--ros-args", *remap] if remap else [])]
    with (
        BagReader(options.bag) as reader,
        ros_node(lambda context: Node("dps_replay", context=context), own) as (node, executor),
    ):
        player = Player(reader, node, executor, options, stopped=stopped)
        controls = Controls(node, player)
        with keyboard(node, controls) if options.keyboard else contextlib.nullcontext():
            player.wait_for_subscribers(options.wait_for)
            start_ns = reader.start_ns + int(options.start_offset_s * 1e9)
            while True:
                player.play(start_ns)
                if stopped() or not options.loop:
                    break
            player.wait_for_result()
            player.flush()
        return player.counts


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    options = options_of(args)
    if args.node:
        from . import replay_session

        replay_session.run(args, ros)
        return
    signal = StopSignal()
    try:
        counts = replay(options, ros, lambda: signal.received)
    finally:
        signal.restore()
    by_topic = ", ".join(f"{topic} x{count}" for topic, count in counts.items())
    ending = " (stopped)" if signal.received else ""
    print(f"{options.bag}: {sum(counts.values())} messages published{ending}: {by_topic or 'nothing'}")


def main() -> int:
    """Entry point of `dps_replay`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

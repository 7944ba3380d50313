"""`dps_replay`: rosbag2 in, topics out; options are named as in `ros2 bag play`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions

from .. import cli
from ..data.bag import BagReader
from .controls import Controls, keyboard
from .graph import split_ros_args
from .player import Player
from .replay_options import ReplayOptions, make_parser, options_of
from .spin import StopSignal


def replay(
    options: ReplayOptions, ros_args: Sequence[str] = (), stopped: Callable[[], bool] = lambda: False
) -> dict[str, int]:
    """Play a bag until its end (or until `stopped()`), and return the number of messages published by topic.

    Raises:
        DatasetError: the bag is missing or damaged, or lacks a topic (its topics are listed).
        TypeNotInstalledError: the type of a chosen topic is not installed here.
        ReplayError: waited too long for subscribers or results.
    """
    remap = [word for rule in options.remap for word in ("-r", rule)]
    with BagReader(options.bag) as reader, contextlib.ExitStack() as stack:
        context = rclpy.Context()
        rclpy.init(
            args=[*ros_args, *(["--ros-args", *remap] if remap else [])],
            context=context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        stack.callback(context.try_shutdown)
        player = Player(reader, context, options, stopped=stopped)
        stack.callback(player.close)
        controls = Controls(player.node, player)
        if options.keyboard:
            stack.enter_context(keyboard(player.node, controls))
        player.wait_for_subscribers(options.wait_for)
        start_ns = reader.start_ns + int(options.start_offset_s * 1e9)
        while True:
            player.play(start_ns)
            if stopped() or not options.loop:
                break
        player.flush()
        return player.counts


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    options = options_of(args)
    if args.node:
        from . import replay_session

        replay_session.run(args)
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

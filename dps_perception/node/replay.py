"""`dps_replay`: rosbag2 in, topics out; options are named as in `ros2 bag play`."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from .. import cli
from ..data.bag import BagReader
from ..errors import ConfigError
from .graph import split_ros_args
from .player import Player
from .spin import StopSignal


@dataclass(frozen=True)
class ReplayOptions:
    """What to play and how; see `dps_replay --help`."""

    bag: Path
    rate: float = 1.0
    loop: bool = False
    start_offset_s: float = 0.0
    topics: tuple[str, ...] | None = None
    clock_hz: float = 0.0
    remap: tuple[str, ...] = ()
    wait_for: dict[str, int] = field(default_factory=dict)
    lock_step: tuple[str, str] | None = None
    wait_timeout_s: float = 30.0
    progress: bool = True


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_replay`."""
    parser = argparse.ArgumentParser(
        prog="dps_replay",
        description="Publish what a rosbag2 holds, byte for byte, at the pace of the recording.",
        epilog="Arguments after --ros-args go to ROS. Ctrl-C ends it. Latched topics are published latched, and those "
        "recorded before --start-offset are published at the start.",
    )
    add = parser.add_argument
    add("bag", type=Path, help="rosbag2 folder, or a single .mcap or .db3 file")
    add("-r", "--rate", type=float, default=1.0, help="recorded seconds per second; inf: as fast as possible [1.0]")
    add("-l", "--loop", action="store_true", help="start again at the end, until Ctrl-C")
    add("--start-offset", type=float, default=0.0, metavar="S", help="skip the first S seconds of the recording [0]")
    add("--topics", nargs="+", metavar="TOPIC", help="play only these (names as in the bag) [all]")
    add(
        "--clock",
        type=float,
        nargs="?",
        const=40.0,
        default=0.0,
        metavar="HZ",
        help="publish the time of the recording on /clock, HZ times a second [off; 40 if no number is given]",
    )
    add("-m", "--remap", nargs="+", default=[], metavar="OLD:=NEW", help="publish topic OLD under the name NEW")
    add(
        "--wait-for-subscribers",
        nargs="+",
        default=[],
        metavar="N/TOPIC",
        help="start when each of these topics (names as published) has N subscribers, e.g. 2/camera/image_raw; "
        "without a number 1",
    )
    add(
        "--lock-step",
        metavar="TOPIC=RESULT",
        help="before each further message of TOPIC wait until a message on RESULT has the header stamp of the one "
        "before: every frame is processed, however slow the node",
    )
    add("--wait-timeout", type=float, default=30.0, metavar="S", help="give up waiting after S seconds [30]")
    add("--no-progress", action="store_true", help="no progress bar")
    return parser


def _subscriber_counts(texts: Sequence[str]) -> dict[str, int]:
    counts = {}
    for text in texts:
        match = re.fullmatch(r"(\d*)(/.+)", text)
        if match is None or match[1] == "0":
            raise ConfigError(f"--wait-for-subscribers '{text}': give a number and a topic, e.g. 1/camera/image_raw")
        counts[match[2]] = int(match[1] or 1)
    return counts


def parse(argv: Sequence[str]) -> ReplayOptions:
    """Options of a command line without ROS arguments.

    Raises:
        ConfigError: a value is out of range or malformed.
    """
    args = make_parser().parse_args(argv)
    if not args.rate > 0:
        raise ConfigError(f"--rate {args.rate}: must be above 0")
    for name, value in (("--start-offset", args.start_offset), ("--clock", args.clock)):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} {value}: must be 0 or more")
    if not args.wait_timeout > 0:
        raise ConfigError(f"--wait-timeout {args.wait_timeout}: must be above 0 seconds")
    for rule in args.remap:
        if not re.fullmatch(r"[^:=]+:=[^:=]+", rule):
            raise ConfigError(f"--remap '{rule}': give OLD:=NEW, e.g. /camera/image_raw:=/front/image_raw")
    lock_step = None
    if args.lock_step is not None:
        left, equals, right = args.lock_step.partition("=")
        if not (left and equals and right):
            raise ConfigError(f"--lock-step '{args.lock_step}': give TOPIC=RESULT, e.g. /camera/image_raw=/dps/stats")
        lock_step = (left, right)
    return ReplayOptions(
        bag=args.bag,
        rate=args.rate,
        loop=args.loop,
        start_offset_s=args.start_offset,
        topics=tuple(args.topics) if args.topics else None,
        clock_hz=args.clock,
        remap=tuple(args.remap),
        wait_for=_subscriber_counts(args.wait_for_subscribers),
        lock_step=lock_step,
        wait_timeout_s=args.wait_timeout,
        progress=not args.no_progress,
    )


def replay(options: ReplayOptions, ros_args: Sequence[str] = (), stopped: Callable[[], bool] = lambda: False) -> int:
    """Play a bag until its end (or until `stopped()`), and return the number of messages published.

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
        player = Player(
            reader,
            context,
            rate=options.rate,
            topics=options.topics,
            clock_hz=options.clock_hz,
            lock_step=options.lock_step,
            wait_timeout_s=options.wait_timeout_s,
            stopped=stopped,
        )
        stack.callback(player.close)
        player.wait_for_subscribers(options.wait_for)
        start_ns = reader.start_ns + int(options.start_offset_s * 1e9)
        while True:
            player.play(start_ns, progress=options.progress)
            if stopped() or not options.loop:
                break
        player.flush()
        return player.published


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    options = parse(own)
    signal = StopSignal()
    try:
        count = replay(options, ros, lambda: signal.received)
    finally:
        signal.restore()
    print(f"{options.bag}: {count} messages published{' (stopped)' if signal.received else ''}")


def main() -> int:
    """Entry point of `dps_replay`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

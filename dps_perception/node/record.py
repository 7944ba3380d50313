"""`dps_record`: topics to a rosbag2 (MCAP) that stays readable, whatever ends the recording."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rclpy.node import Node

from .. import cli
from ..data.bag_recovery import recover_bag, unfinished
from ..data.bag_writer import BagWriter
from ..errors import ConfigError, DpsError
from .graph import split_ros_args
from .recorder import Recorder, Selection
from .spin import StopSignal, ros_node, spin_until


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="dps_record",
        description="Record topics to a rosbag2 (MCAP) until Ctrl-C, or until enough messages have come. Foxglove, "
        "`ros2 bag` and dps_view open it as it is.",
        epilog="dps_record out --node /dps /camera/image_raw /camera/camera_info records all that makes a picture. "
        "The bag appears when the recording ends; whatever ends it, what had come is kept: Ctrl-C and SIGTERM (status "
        "0), a full disk (status 2). A recorder that was killed leaves a hidden folder with all but the last second, "
        "which `dps_record --recover out` makes a bag.",
    )
    add = parser.add_argument
    add("out", type=Path, help="bag folder to write")
    add("topics", nargs="*", help="full topic names; a topic may begin to be published later")
    add("--node", nargs="+", default=[], metavar="NAME", help="all topics that these nodes publish, e.g. /dps")
    add("-a", "--all", action="store_true", help="all topics but hidden ones")
    add("-x", "--exclude-regex", default="", metavar="RE", help="leave these out of --node and --all")
    add("--until", nargs="+", default=[], metavar="TOPIC=N", help="stop by itself when these topics have N messages")
    add("--timeout", type=float, default=float("inf"), metavar="S", help="an error after S seconds")
    add("--compress", action="store_true", help="compress by zstd: about half the size, more work")
    add("--overwrite", action="store_true", help="replace an existing bag")
    add("--recover", action="store_true", help="record nothing: make OUT readable, whose recorder was killed")
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
    selection: Selection = Selection(),  # noqa: B008
    timeout_s: float = float("inf"),
    overwrite: bool = False,
    compress: bool = False,
    ros_args: Sequence[str] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Record until all goals (topic -> number of messages) are met or `stopped()`; return the number by topic.

    Raises:
        DatasetError: `out` exists and may not be replaced, or can't be written; what came before is kept.
        DpsError: the goals are not met in time; what came before is kept.
    """
    with (
        BagWriter(out, overwrite=overwrite, compress=compress, keep=True) as writer,
        ros_node(lambda context: Node("dps_recorder", context=context), ros_args) as (node, executor),
        contextlib.closing(Recorder(node, writer, topics, selection=selection, warn=_warn)) as recorder,
    ):

        def done() -> bool:
            met = bool(goals) and all(recorder.counts[topic] >= number for topic, number in goals.items())
            return met or stopped()

        if not spin_until(executor, done, timeout_s):
            raise DpsError(f"recording not complete after {timeout_s:g} s: {recorder.counts}, wanted {dict(goals)}")
        recorder.drain(executor)
        return dict(recorder.counts)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _selection(args: argparse.Namespace) -> Selection:
    if not (args.topics or args.node or args.all):
        raise ConfigError("nothing to record: name topics, or give --node /dps or --all")
    if wrong := [name for name in args.node if not name.startswith("/")]:
        raise ConfigError(f"--node '{wrong[0]}': give the full name, e.g. /dps")
    try:
        re.compile(args.exclude_regex)
    except re.error as error:
        raise ConfigError(f"--exclude-regex '{args.exclude_regex}' is no regular expression: {error}") from error
    return Selection(tuple(args.node), args.all, args.exclude_regex)


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    if args.recover:
        place, messages = recover_bag(args.out)
        print(f"{place}: {messages} messages recovered")
        return
    selection = _selection(args)
    if unfinished(args.out):
        _warn(f"'{args.out}' was recorded before and not finished; `dps_record --recover {args.out}` makes it readable")
    signal = StopSignal()
    try:
        counts = record(
            args.out,
            args.topics,
            _goals(args.until, args.topics),
            selection=selection,
            timeout_s=args.timeout,
            overwrite=args.overwrite,
            compress=args.compress,
            ros_args=ros,
            stopped=lambda: signal.received,
        )
    finally:
        signal.restore()
    print(f"{args.out}: " + ", ".join(f"{topic} x{count}" for topic, count in counts.items()))


def main() -> int:
    """Entry point of `dps_record`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

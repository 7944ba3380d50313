"""The command line of `dps_replay`; options are named as in `ros2 bag play`."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from .qos import POLICIES

_TIMES = (
    *("rate", "loop", "delay", "start_offset", "playback_duration", "playback_until_sec", "playback_until_nsec"),
    "no_progress",
)
_WITH_NODE = (*_TIMES, "clock", "disable_keyboard_controls")  # its replay has no keyboard anyway


@dataclass(frozen=True)
class ReplayOptions:
    """What to play and how; see `dps_replay --help`. `qos` holds policies by topic as the YAML file gives them."""

    bag: Path
    rate: float
    loop: bool
    delay_s: float
    start_offset_s: float
    duration_s: float
    until_ns: int
    start_paused: bool
    keyboard: bool
    topics: tuple[str, ...] | None
    regex: str
    exclude_topics: tuple[str, ...]
    exclude_regex: str
    qos: Mapping[str, Mapping[str, Any]]
    clock_hz: float
    remap: tuple[str, ...]
    wait_for: Mapping[str, int]
    wait_acked_ms: int
    lock_step: tuple[str, str] | None
    wait_timeout_s: float
    progress: bool

    def chooses(self, topic: str) -> bool:
        """Whether a topic of the bag is to be played."""
        asked = topic in (self.topics or ()) or (self.regex and re.search(self.regex, topic))
        if (self.topics or self.regex) and not asked:
            return False
        return topic not in self.exclude_topics and not (self.exclude_regex and re.search(self.exclude_regex, topic))

    def end_ns(self, start_ns: int) -> int | None:
        """Recording time at which to stop, None for the bag's end: the later one of duration and until."""
        by_duration = start_ns + int(self.duration_s * 1e9) if self.duration_s >= 0 else -1
        end = max(by_duration, self.until_ns)
        return end if end >= 0 else None


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_replay`."""
    parser = argparse.ArgumentParser(
        prog="dps_replay",
        parents=[_session_parser()],
        description="Publish what a rosbag2 holds, byte for byte, at the pace of the recording, with its QoS.",
        epilog="Keys on a terminal: space pauses and goes on, right plays the next message while paused, up and down "
        "change the rate by a tenth. Services: ~/pause, ~/resume, ~/toggle_paused, ~/play_next (std_srvs/Trigger). "
        "Arguments after --ros-args go to ROS, with --node to the node. Ctrl-C ends it. Latched topics that were "
        "recorded before --start-offset are published at the start.",
    )
    add = parser.add_argument
    add("bag", type=Path, help="rosbag2 folder, or a single .mcap or .db3 file")
    add("-r", "--rate", type=float, default=1.0, help="recorded seconds per second; inf: as fast as possible [1.0]")
    add("-l", "--loop", action="store_true", help="start again at the end, until Ctrl-C")
    add("-d", "--delay", type=float, default=0.0, metavar="S", help="wait S seconds before playing, each time [0]")
    add("--start-offset", type=float, default=0.0, metavar="S", help="skip the first S seconds of the recording [0]")
    add("--playback-duration", type=float, default=-1.0, metavar="S", help="stop after S recorded seconds [never]")
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--playback-until-sec", type=float, metavar="S", help="stop at this time of recording [never]")
    until.add_argument("--playback-until-nsec", type=int, metavar="NS", help="the same in nanoseconds")
    add("-p", "--start-paused", action="store_true", help="begin paused")
    add("--disable-keyboard-controls", action="store_true", help="leave the keyboard alone")
    add("--topics", nargs="+", metavar="TOPIC", help="play only these (names as in the bag) [all]")
    add("-e", "--regex", default="", help="play only, or besides --topics, those in whose name this is found")
    add("--exclude-topics", nargs="+", default=[], metavar="TOPIC", help="leave these out")
    add("-x", "--exclude-regex", default="", metavar="RE", help="leave out those in whose name this is found")
    add("--qos-profile-overrides-path", type=Path, metavar="YAML", help="QoS by topic, instead of the recorded one")
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
        "--wait-for-all-acked",
        type=int,
        default=-1,
        metavar="MS",
        help="at the end wait so many milliseconds for reliable subscribers to acknowledge all; 0: for ever [5000]",
    )
    add(
        "--wait-for-subscribers",
        nargs="+",
        default=[],
        metavar="N/TOPIC",
        help="start when each of these topics (names as published, here or by other nodes) has N subscribers, e.g. "
        "2/camera/image_raw; without a number 1",
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


def _session_parser() -> argparse.ArgumentParser:
    """Options that mean something only with --node."""
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument_group("through the node", "started with --node, in simulated time").add_argument
    add("--node", action="store_true", help="start dps_node on the bag's images, and report how it did at the end")
    add("--image", default="", metavar="TOPIC", help="Image or CompressedImage [the one in the bag]")
    add("--camera-info", default="", metavar="TOPIC", help="CameraInfo of that image [the one in the bag]")
    add("--weights", default="", help="weights file, or name of shipped weights [the shipped ones]")
    add("--params-file", type=Path, metavar="YAML", help="the node's parameters, as config/dps.yaml")
    add("--every-frame", action="store_true", help="let the bag wait for the node: each frame is processed")
    add("--record", type=Path, metavar="OUT", help="record images, ground truth and all that the node publishes")
    add("--overwrite", action="store_true", help="--record may replace a bag")
    add(
        "--evaluate",
        choices=["auto", "true", "false"],
        default="auto",
        help="running PQ and DPQ against the bag's ground truth; auto: where it has some [auto]",
    )
    add("--view", nargs="?", const="", metavar="FILE.rrd", help="open the viewer of dps_view, or write its file")
    add("--rviz", action="store_true", help="open RViz with all outputs")
    add("--out", type=Path, default=Path("outputs/replay"), help="folder for logs and report.json [%(default)s]")
    return parser


def _given(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """(name, value) of each option whose value is not the default."""
    defaults = vars(make_parser().parse_args([str(args.bag)]))
    return ((name, value) for name, value in vars(args).items() if value != defaults[name])


def time_words(args: argparse.Namespace) -> list[str]:
    """The options that say when and how long a bag is played, and whether a bar shows it, as they were given."""
    given = ((_option(name), value) for name, value in _given(args) if name in _TIMES)
    return [option if value is True else f"{option}={value}" for option, value in given]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _subscriber_counts(texts: Sequence[str]) -> dict[str, int]:
    counts = {}
    for text in texts:
        match = re.fullmatch(r"(\d*)(/.+)", text)
        if match is None or match[1] == "0":
            raise ConfigError(f"--wait-for-subscribers '{text}': give a number and a topic, e.g. 1/camera/image_raw")
        counts[match[2]] = int(match[1] or 1)
    return counts


def read_qos(path: Path) -> dict[str, dict[str, Any]]:
    """QoS policies by topic of a file as `ros2 bag play --qos-profile-overrides-path` takes.

    Raises:
        ConfigError: it can't be read, or has something that is no policy.
    """
    try:
        profiles = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--qos-profile-overrides-path '{path}' can't be read: {error}") from error
    example = "write e.g. /camera/image_raw: {reliability: best_effort, history: keep_last, depth: 1}"
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise ConfigError(f"QoS file '{path}': {example}")
    for topic, policies in profiles.items():
        for name, value in policies.items():
            good = type(value) is int and value > 0 if name == "depth" else value in [*POLICIES.get(name, ())]
            if not good:
                allowed = "; ".join(f"{n}: {' or '.join(v)}" for n, v in POLICIES.items())
                raise ConfigError(
                    f"QoS file '{path}', {topic}: {name}: {value} is not known; {allowed}; depth: 1 and more"
                )
    return profiles


def _check(args: argparse.Namespace) -> None:
    if not args.rate > 0:
        raise ConfigError(f"--rate {args.rate}: must be above 0")
    for name in ("start_offset", "clock", "delay"):
        value = getattr(args, name)
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{_option(name)} {value}: must be 0 or more")
    for name in ("playback_duration", "playback_until_sec"):
        value = getattr(args, name)
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{_option(name)} {value}: must be a number of seconds; leave it out to play to the end")
    if not args.wait_timeout > 0:
        raise ConfigError(f"--wait-timeout {args.wait_timeout}: must be above 0 seconds")
    for rule in args.remap:
        if not re.fullmatch(r"[^:=]+:=[^:=]+", rule):
            raise ConfigError(f"--remap '{rule}': give OLD:=NEW, e.g. /camera/image_raw:=/front/image_raw")
    for name in ("regex", "exclude_regex"):
        try:
            re.compile(getattr(args, name))
        except re.error as error:
            raise ConfigError(f"{_option(name)} '{getattr(args, name)}': {error}") from error
    session = vars(_session_parser().parse_args([]))
    for name, _ in _given(args):
        if not args.node and name in session:
            raise ConfigError(f"{_option(name)} is for a replay through the node: give --node too")
        if args.node and name not in session and name not in _WITH_NODE:
            raise ConfigError(f"{_option(name)} is not for --node, which plays what the node needs: leave it out")


def options_of(args: argparse.Namespace) -> ReplayOptions:
    """Options of what the parser made.

    Raises:
        ConfigError: a value is out of range or malformed.
    """
    _check(args)
    lock_step = None
    if args.lock_step is not None:
        left, equals, right = args.lock_step.partition("=")
        if not (left and equals and right):
            raise ConfigError(f"--lock-step '{args.lock_step}': give TOPIC=RESULT, e.g. /camera/image_raw=/dps/stats")
        lock_step = (left, right)
    until_ns = -1 if args.playback_until_nsec is None else args.playback_until_nsec
    if args.playback_until_sec is not None:
        until_ns = int(args.playback_until_sec * 1e9)
    return ReplayOptions(
        bag=args.bag,
        rate=args.rate,
        loop=args.loop,
        delay_s=args.delay,
        start_offset_s=args.start_offset,
        duration_s=args.playback_duration,
        until_ns=until_ns,
        start_paused=args.start_paused,
        keyboard=not args.disable_keyboard_controls,
        topics=tuple(args.topics) if args.topics else None,
        regex=args.regex,
        exclude_topics=tuple(args.exclude_topics),
        exclude_regex=args.exclude_regex,
        qos=read_qos(args.qos_profile_overrides_path) if args.qos_profile_overrides_path else {},
        clock_hz=args.clock,
        remap=tuple(args.remap),
        wait_for=_subscriber_counts(args.wait_for_subscribers),
        wait_acked_ms=args.wait_for_all_acked,
        lock_step=lock_step,
        wait_timeout_s=args.wait_timeout,
        progress=not args.no_progress,
    )

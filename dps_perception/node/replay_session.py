"""`dps_replay BAG --node`: bag, node, recording, evaluation and viewer in one command, each in a process of its own."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.bag import BagReader
from ..data.bag_topics import BagTopics, find_topics
from ..errors import ConfigError, DatasetError
from .demo_processes import ChildError, Children, config_file, large_message_environment
from .demo_session import FRAME_TIMEOUT_S, NODE, Session, output, session
from .live_stats import RunStats
from .spin import StopSignal

_CLOCK_HZ = 100
_IDLE_S = 2.0
_WAIT_S = 120.0
_WRITE_S = 60.0
_PLAYED_TOO = ("/tf", "/tf_static")


@dataclass(frozen=True)
class Plan:
    """What belongs to a run: topics of the bag, and which processes are started beside node and replay."""

    topics: BagTopics
    evaluate: bool
    record: Path | None
    view: str | None

    @property
    def watchers(self) -> int:
        """Subscribers that each ~/stats gets from the other processes."""
        return 1 + (self.record is not None) + (self.view is not None)


def make_plan(args: argparse.Namespace) -> Plan:
    """Find the topics in the bag, and whether there is ground truth.

    Raises:
        DatasetError: the bag or a topic is missing, or several topics could be meant; or there is no ground truth
            where an evaluation is asked for.
        ConfigError: what is to be recorded exists already.
    """
    if args.topics or args.regex or args.exclude_topics or args.exclude_regex or args.remap or args.lock_step:
        raise ConfigError(
            "--node plays the topics that it needs: leave out --topics, --remap, --lock-step and the like"
        )
    with BagReader(args.bag) as reader:
        try:
            topics = find_topics(reader, BagTopics(image=args.image, camera_info=args.camera_info))
        except DatasetError as error:
            cure = str(error).replace("topics.image", "--image").replace("topics.camera_info", "--camera-info")
            raise DatasetError(cure) from error
        truth = bool(topics.panoptic and topics.depth)
        if args.evaluate == "true" and not truth:
            raise DatasetError(
                f"--evaluate true: bag '{args.bag}' has no ground truth (panoptic ids and depth of the image's size); "
                f"its topics are: {reader.described()}"
            )
    if args.record is not None and args.record.exists() and not args.overwrite:
        raise ConfigError(f"--record '{args.record}' exists already; remove it, or give --overwrite")
    return Plan(topics, truth and args.evaluate != "false", args.record, args.view)


def run(args: argparse.Namespace) -> None:
    """Run everything and print the report; what was recorded stays readable however it ends.

    Args:
        args: what the parser of `dps_replay` made.

    Raises:
        ChildError: a process ended when it should not have.
        DatasetError, ConfigError: see `make_plan`.
    """
    plan = make_plan(args)
    if args.rviz and shutil.which("rviz2") is None:
        raise ConfigError("--rviz: there is no rviz2 here; source a ROS installation, or take --view")
    os.environ.update(environment := large_message_environment())
    with Children(args.out, environment) as children:
        stop = StopSignal()
        try:
            with session(children) as ros:
                finished = _play(args, plan, children, ros, lambda: stop.received)
        finally:
            stop.restore()
    if children.log("dps_replay").exists():
        print(_told(children, "dps_replay"))
    if plan.record is not None:
        print(f"recorded {_told(children, 'dps_record')}")
    print(children.log("dps_evaluate_live").read_text(errors="replace").rstrip())
    if not finished:
        print("stopped before the end")


def _told(children: Children, name: str) -> str:
    return (children.log(name).read_text(errors="replace").strip().splitlines() or [f"{name} said nothing"])[-1]


def _play(
    args: argparse.Namespace,
    plan: Plan,
    children: Children,
    ros: Session,
    stopped: Callable[[], bool],
) -> bool:
    parameters = {"use_sim_time": "true"}
    if args.weights:
        parameters["weights"] = json.dumps(args.weights)
    if args.every_frame:
        parameters |= {"qos_input": "reliable", "qos_input_depth": "10"}
    print(f"{plan.topics.image} of {args.bag} through dps_node; logs are in {args.out}", flush=True)
    ros.start_node(parameters, plan.topics.image, plan.topics.camera_info, args.params_file)
    _start_watchers(args, plan, children)
    ros.wait_until_active(stopped)
    stats = ros.listen_to_stats()
    named = [name for name in ("dps_node", "dps_evaluate_live", "dps_record", "dps_view") if children.started(name)]

    def watched(name: str, subscribers: int) -> bool:
        children.check(*named)
        return stopped() or ros.subscribers(name) >= subscribers

    for name in ("stats", *(("panoptic", "depth") if plan.evaluate else ())):
        wanted = plan.watchers + 1 if name == "stats" else plan.watchers
        if not ros.wait(functools.partial(watched, name, wanted), _WAIT_S):
            raise ChildError(f"not all subscribed to {output(name)} within {_WAIT_S:g} s; see {args.out}")
    if not stopped():
        lock_step = ("--lock-step", f"{plan.topics.image}={output('stats')}") if args.every_frame else ()
        children.start(
            "dps_replay",
            "dps_perception.node.replay",
            *(str(args.bag), *_pace(args), *lock_step, "--clock", str(args.clock or _CLOCK_HZ)),
            *("--wait-timeout", str(FRAME_TIMEOUT_S), "--wait-for-subscribers", *_needed(args, plan)),
            show_errors=True,
        )
        while not stopped() and not children.finished("dps_replay"):
            children.check(*(name for name in named if name != "dps_view"))  # people close viewers
            ros.spin_once()
        if not stopped():
            _until_idle(ros, stats)
    finished = not stopped() and children.finished("dps_replay")
    for name in ("dps_replay", "dps_evaluate_live", "dps_record", "dps_view"):
        if children.started(name):
            status = children.stop(name, patience_s=_WRITE_S)
            if finished and status and name != "dps_view":
                raise ChildError(f"{name} ended (status {status}): {children.last_words(name)}; see {args.out}")
    return finished


def _start_watchers(args: argparse.Namespace, plan: Plan, children: Children) -> None:
    topics = plan.topics
    truth = [str(topics.panoptic), str(topics.depth)]
    sources = ["--gt-panoptic", truth[0], "--gt-depth", truth[1]] if plan.evaluate else ["--no-ground-truth"]
    report = str(args.out / "report.json")
    children.start(
        "dps_evaluate_live", "dps_perception.node.live_evaluation", "--node", NODE, "--json", report, *sources
    )
    if plan.record is not None:
        also = [topics.image, topics.camera_info, *_PLAYED_TOO, *(truth if plan.evaluate else ())]
        overwrite = ["--overwrite"] if args.overwrite else []
        words = [str(plan.record), *also, *overwrite, "--node", NODE]
        children.start("dps_record", "dps_perception.node.record", *words)
    if plan.view is not None:
        words = ["--node", NODE, "--image", topics.image, *(["--save", plan.view] if plan.view else [])]
        children.start("dps_view", "dps_perception.node.view", *words)
    if args.rviz:
        children.start_program(
            "rviz2", "rviz2", "-d", str(config_file("dps.rviz")), "--ros-args", "-p", "use_sim_time:=true"
        )


def _pace(args: argparse.Namespace) -> Iterator[str]:
    """Arguments of the replay that say when what is played."""
    for name in ("rate", "delay", "start_offset", "playback_duration", "playback_until_sec", "playback_until_nsec"):
        if getattr(args, name) is not None:
            yield f"--{name.replace('_', '-')}={getattr(args, name)}"
    if args.loop:
        yield "--loop"
    if args.no_progress:
        yield "--no-progress"


def _needed(args: argparse.Namespace, plan: Plan) -> Iterator[str]:
    """Subscribers that the replay waits for."""
    with BagReader(args.bag) as reader:
        there = set(reader.topics())
    recorded = plan.record is not None
    for topic in (plan.topics.image, plan.topics.camera_info):
        yield f"{1 + recorded}{topic}"
    truth = [t for t in (plan.topics.panoptic, plan.topics.depth) if t and plan.evaluate]
    for topic in truth:
        yield f"{1 + recorded}{topic}"
    if recorded:
        yield from (f"1{topic}" for topic in _PLAYED_TOO if topic in there)


def _until_idle(ros: Session, stats: RunStats) -> None:
    """Wait until the node has published what it had in hand: nothing new for long."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < max(_IDLE_S, 3 * stats.typical_s):
        ros.spin_once()
        if stats.frames != last:
            last, since = stats.frames, time.monotonic()

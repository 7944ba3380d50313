"""`dps_replay BAG --node`: bag, node, recording, evaluation and viewer in one command, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence

from ..errors import ConfigError
from .demo_processes import ChildError, Children, config_file, large_message_environment
from .demo_session import Session, session
from .live_stats import RunStats
from .replay_options import time_words
from .replay_plan import CLOCK_HZ, Plan, make_plan
from .spin import StopSignal

_IDLE_S = 2.0
_WRITE_S = 60.0
_INTERRUPTED = (-signal.SIGINT, 130)


def run(args: argparse.Namespace, ros_args: Sequence[str] = ()) -> None:
    """Run everything and print the report; what was recorded stays readable however it ends.

    Args:
        args: what the parser of `dps_replay` made.
        ros_args: for the node, beginning with --ros-args.

    Raises:
        ChildError: a process ended when it should not have.
        DatasetError, ConfigError: see `make_plan`.
    """
    plan = make_plan(
        args.bag,
        image=args.image,
        camera_info=args.camera_info,
        evaluate=args.evaluate,
        every_frame=args.every_frame,
        record=args.record,
        overwrite=args.overwrite,
        view=args.view,
    )
    if args.rviz and shutil.which("rviz2") is None:
        raise ConfigError("--rviz: there is no rviz2 here; source a ROS installation, or take --view")
    os.environ.update(environment := large_message_environment())
    with Children(args.out, environment) as children:
        (args.out / "report.json").unlink(missing_ok=True)
        stop = StopSignal()
        try:
            with session(children) as ros:
                finished = _play(args, ros_args, plan, children, ros, lambda: stop.received)
                told = _end(children, finished)
        finally:
            stop.restore()
    print(*told, children.log("dps_evaluate_live").read_text(errors="replace").rstrip(), sep="\n")
    if not finished:
        print("stopped before the end")


def _play(
    args: argparse.Namespace,
    ros_args: Sequence[str],
    plan: Plan,
    children: Children,
    ros: Session,
    stopped: Callable[[], bool],
) -> bool:
    """Start everything and play the bag; false where it did not come to its end."""
    parameters = plan.node_parameters()
    if args.weights:
        parameters["weights"] = json.dumps(args.weights)
    print(f"{plan.image} of {plan.bag} through dps_node; logs are in {args.out}", flush=True)
    ros.start_node(parameters, plan.image, plan.camera_info, args.params_file, ros_args)
    _start_watchers(args, plan, children)
    ros.wait_until_active(stopped)
    stats = ros.listen_to_stats()
    needed = [name for name in ("dps_node", "dps_evaluate_live", "dps_record") if children.started(name)]
    if stopped():
        return False
    words = [*plan.replay_words(others=1), *time_words(args), "--clock", str(args.clock or CLOCK_HZ)]
    children.start("dps_replay", "dps_perception.node.replay", *words, show_errors=True)
    while not stopped() and not children.finished("dps_replay"):
        children.check(*needed)
        if plan.view is not None and not stats.frames:
            children.check("dps_view")  # later on, people close viewers
        ros.spin_once()
    if not stopped():
        _until_idle(ros, stats)
    return not stopped() and children.finished("dps_replay")


def _end(children: Children, finished: bool) -> list[str]:
    """End all but the node, which those need that still have something to write; what bag and recording came to.

    Raises:
        ChildError: the recording, or after a whole run another process but the viewer, did not end well.
    """
    told = []
    for name in ("dps_replay", "dps_evaluate_live", "dps_record", "dps_view"):
        if not children.started(name):
            continue
        status = children.stop(name, patience_s=_WRITE_S)
        unprepared = not finished and status in _INTERRUPTED  # by Ctrl-C before it had begun
        if status and not unprepared and (name == "dps_record" or (finished and name != "dps_view")):
            raise ChildError(f"{name} ended (status {status}): {children.last_words(name)}; see {children.log(name)}")
        if status == 0 and name in ("dps_replay", "dps_record"):
            told.append(("recorded " if name == "dps_record" else "") + _last_line(children, name))
    return told


def _last_line(children: Children, name: str) -> str:
    return (children.log(name).read_text(errors="replace").strip().splitlines() or [f"{name} said nothing"])[-1]


def _start_watchers(args: argparse.Namespace, plan: Plan, children: Children) -> None:
    report = ["--json", str(args.out / "report.json")]
    children.start("dps_evaluate_live", "dps_perception.node.live_evaluation", *plan.evaluation_words(), *report)
    if plan.record is not None:
        overwrite = ["--overwrite"] if args.overwrite else []
        children.start("dps_record", "dps_perception.node.record", *plan.record_words(), *overwrite)
    if plan.view is not None:
        children.start("dps_view", "dps_perception.node.view", *plan.view_words())
    if args.rviz:
        children.start_program(
            "rviz2", "rviz2", "-d", str(config_file("dps.rviz")), "--ros-args", "-p", "use_sim_time:=true"
        )


def _until_idle(ros: Session, stats: RunStats) -> None:
    """Wait until the node has published what it had in hand: nothing new for long."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < max(_IDLE_S, 3 * stats.typical_s):
        ros.spin_once()
        if stats.frames != last:
            last, since = stats.frames, time.monotonic()

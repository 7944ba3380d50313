"""`python -m dps_perception.trials.faults`: injects faults into the real node and checks what comes of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import cli
from ..errors import ConfigError, DpsError, nearest
from ..evaluation.marks import between_marks, put
from ..evaluation.scores import markdown_table
from ..files import replacing
from ..inference.machine import described, differences, hardware, versions
from ..node.demo_processes import ros_environment, stop_requests_as_interrupts
from . import endings, failing_node, messages, models, recordings, storms, streams, subscribers
from .result import HEADER, Result, rows
from .stand import SMALL, Setup, Stand, TrialError

MARK = "faults"
SAME = ("cpu", "gpu", "torch")
"""Of the machine: what must be equal for results to stand in one table."""
ABOUT = "Shipped weights, torch, images 64x128, network 64x128 (60 Hz: its own size)"
SMALL_SETUP = Setup()
OWN_SIZE = Setup({name: SMALL[name] for name in ("device", "diagnostics_period")})
SIM_TIME = replace(SMALL_SETUP, parameters={**SMALL, "use_sim_time": "true"})
FAILING = replace(SMALL_SETUP, module=failing_node.__name__)
JPEG = replace(SMALL_SETUP, compressed=True)


@dataclass(frozen=True)
class Fault:
    """A trial: its name on the command line, what is injected (as in the table), the function, and what it needs."""

    name: str
    injected: str
    run: Callable[[Stand, Result], None]
    setup: Setup = SMALL_SETUP


FAULTS = (
    Fault("malformed", "malformed images (encoding, size, step, data), calibration of NaN", messages.malformed_images),
    Fault("pause", f"no image for {streams.PAUSE_S:g} s", streams.pause),
    Fault("camera", "the camera's process is killed, another takes its place", streams.camera_restart),
    Fault("stamps", "stamps jump back by minutes, ahead by a year, and back", streams.stamps_jump),
    Fault("subscriber", "a reliable subscriber is stopped (SIGSTOP)", subscribers.stopped_subscriber),
    Fault("nobody", "nobody subscribes but to `~/stats`", subscribers.no_subscriber),
    Fault("parameters", "parameters set at 50 Hz while frames go through", storms.parameter_storm),
    Fault("transitions", "lifecycle transitions, valid or not, under a 10 Hz stream", storms.lifecycle_storm),
    Fault("lifecycle", "every lifecycle transition 50 times, in random order", storms.lifecycle_walk),
    Fault("replaced", "weights file replaced, `~/reload_model`", models.replaced_weights),
    Fault("broken", "weights file replaced by half of it, `~/reload_model`", models.broken_weights),
    Fault("deleted", "weights file deleted, `~/reload_model`", models.deleted_weights),
    Fault("killed", "the node is killed (SIGKILL) under a 10 Hz stream and started again", endings.killed),
    Fault("signals", "SIGINT or SIGTERM at any moment, from start to end", endings.signals),
    Fault("disk", f"a recording may grow no further (limit of {recordings.LIMIT_MIB} MiB)", recordings.full_disk),
    Fault("flood", "60 Hz into the network at its own size", streams.flood, OWN_SIZE),
    Fault("clock", "`use_sim_time`: /clock jumps back, and stands still", streams.clock_jumps, SIM_TIME),
    Fault("jpeg", "JPEGs that are cut, empty, or noise", messages.undecodable_jpegs, JPEG),
    Fault("exceptions", "the network raises in the middle of the stream", models.failing_backend, FAILING),
    Fault("device", "the device is lost: every run of the network raises", models.lost_device, FAILING),
)


def run(faults: Sequence[Fault], done: Callable[[Result], None]) -> None:
    """Inject faults one after the other; those with equal needs share a node, until one fails. `done` gets each result.

    Raises:
        TrialError: a node did not even start.
    """
    with tempfile.TemporaryDirectory(prefix="dps-trials-") as folder:
        stand: Stand | None = None
        try:
            for index, fault in enumerate(faults):
                if stand is None or stand.setup != fault.setup:
                    if stand is not None:
                        stand.__exit__()
                    stand = Stand(Path(folder) / str(index), fault.setup).__enter__()
                done(result := _one(fault, stand))
                if result.failures:
                    stand.__exit__()
                    stand = None
        finally:
            if stand is not None:
                stand.__exit__()


def _one(fault: Fault, stand: Stand) -> Result:
    result = Result(fault.name, fault.injected)
    began = time.monotonic()
    try:
        fault.run(stand, result)
        result.must(stand.alive, "the node is alive")
    except DpsError as error:
        result.must(False, str(error))
    result.seconds = time.monotonic() - began
    result.leave_out(stand.folder)
    return result


def _line(result: Result) -> str:
    verdict = f"FAILED: {'; '.join(result.failures)}" if result.failures else result.happened
    counted = "" if result.sent is None else f" ({result.sent} sent, {result.lost} lost)"
    return f"{result.name:12} {result.seconds:6.1f} s  {verdict}{counted}"


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names, or all.

    Raises:
        ConfigError: there is no such fault.
    """
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in known:
            raise ConfigError(f"--only {name}: no such fault{nearest(name, known)} There are: {', '.join(known)}")
    return [known[name] for name in names] if names else list(FAULTS)


def older(report: Path, machine: Mapping[str, Any]) -> list[Result]:
    """The results that an older report holds; none where there is no such file.

    Raises:
        ConfigError: it was measured on another machine or with another PyTorch.
    """
    if not report.is_file():
        return []
    known = json.loads(report.read_text())
    if changes := differences(*({key: each.get(key) for key in SAME} for each in (known["hardware"], machine))):
        raise ConfigError(
            f"--json {report} was measured elsewhere ({'; '.join(changes)}), so one fault measured now can't stand "
            "beside its others; leave --only out, or name another file"
        )
    return [Result(**each) for each in known["faults"]]


def _in_order(results: Sequence[Result]) -> list[Result]:
    """The last result of each fault, in the order of `FAULTS`."""
    by_name = {result.name: result for result in results}
    return [by_name[fault.name] for fault in FAULTS if fault.name in by_name]


def command(argv: Sequence[str] | None = None) -> None:
    """Inject faults.

    Raises:
        TrialError: something that must hold did not.
    """
    listed = "\n".join(f"  {fault.name:12} {fault.injected}" for fault in FAULTS)
    parser = argparse.ArgumentParser(
        prog="python -m dps_perception.trials.faults", description=__doc__, epilog=f"faults:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this fault; may be repeated")
    parser.add_argument(
        "--json",
        type=Path,
        help="write all that was checked and counted to this file; with --only the other faults in it stay",
    )
    parser.add_argument("--markdown", type=Path, help=f"write the table to this file, between its marks {MARK}")
    args = parser.parse_args(argv)
    faults = chosen(args.only)
    if args.markdown:
        between_marks(args.markdown, MARK)
    stop_requests_as_interrupts()
    machine = hardware()
    os.environ.update(ros_environment())
    known = older(args.json, machine) if args.only and args.json else []
    results: list[Result] = []

    def done(result: Result) -> None:
        """Written after each, so that a run that is interrupted keeps what it has."""
        print(_line(result), flush=True)
        results.append(result)
        shown = _in_order([*known, *results])
        if args.json:
            report = {"hardware": machine, "versions": versions(), "faults": [each.to_dict() for each in shown]}
            with replacing(args.json) as path:
                path.write_text(json.dumps(report, indent=1) + "\n")
        if args.markdown:
            counted = "" if len(shown) == len(FAULTS) else f"{len(shown)} of {len(FAULTS)} faults. "
            put(
                args.markdown, MARK, f"{markdown_table(HEADER, rows(shown))}\n\n{counted}{ABOUT}; {described(machine)}."
            )

    run(faults, done)
    failed = [result.name for result in results if result.failures]
    if failed:
        raise TrialError(f"{len(failed)} of {len(results)} faults did harm: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(cli.run(command))

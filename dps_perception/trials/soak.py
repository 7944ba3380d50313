"""`python -m dps_perception.trials.soak`: thousands of frames through the real node, and what it holds meanwhile."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import cli
from ..errors import ConfigError
from ..evaluation.marks import between_marks, put
from ..evaluation.scores import markdown_table
from ..files import replacing
from ..inference.machine import described, hardware, versions
from ..node.demo_processes import ros_environment, stop_requests_as_interrupts
from ..node.encode import OUTPUTS
from .peer import SIZE
from .process import Held
from .stand import Setup, Stand, TrialError

MARK = "soak"
WARM_UP, EVERY = 1000, 100
MOST_MB = 5.0
LEVEL = 5
"""Samples whose median is a level: what is resident goes up and down by a MiB or two from frame to frame."""
LEAST = WARM_UP + (2 * LEVEL - 1) * EVERY
"""Frames with which the first and the last level have no sample in common."""
HEADER = ["", "after warm-up", "at the end", "at most"]


@dataclass(frozen=True)
class Sample:
    """What the node's process held after so many frames, and how long they had taken."""

    frames: int
    seconds: float
    held: Held


@dataclass
class Soak:
    """What was measured.

    Attributes:
        frames: sent, one after the other has come out.
        lost: those that did not come out with all outputs.
        warm_up: frames that are not looked at for growth.
        curve: one sample for every `EVERY` frames.
    """

    frames: int
    lost: int
    warm_up: int
    curve: list[Sample]

    def levels(self, name: str) -> tuple[float, float, float]:
        """(after warm-up, at the end, at most since warm-up) of an attribute of `Held`."""
        after = [getattr(sample.held, name) for sample in self.curve if sample.frames >= self.warm_up]
        return statistics.median(after[:LEVEL]), statistics.median(after[-LEVEL:]), max(after)

    def check(self) -> list[str]:
        """What should have held and did not, with figures."""
        failures = [f"{self.lost} of {self.frames} frames did not come out whole"] if self.lost else []
        before, after, _ = self.levels("resident_mb")
        if after - before > MOST_MB:
            failures.append(f"resident memory grew by {after - before:.1f} MiB, {MOST_MB:g} are allowed")
        for what, name in (("threads", "threads"), ("open files", "files"), ("shared memory [MiB]", "shared_mb")):
            before, after, most = self.levels(name)
            if max(after, most) > before:
                failures.append(f"{what} grew from {before:g} to {after:g} (at most {most:g})")
        return failures

    def rows(self) -> list[list[str]]:
        """The rows under `HEADER`."""
        named = {
            "resident memory [MiB]": "resident_mb", "of it private [MiB]": "private_mb", "threads": "threads",
            "open files": "files", "shared-memory segments [MiB]": "shared_mb",
        }  # fmt: skip
        return [
            [what, *(f"{value:.1f}".removesuffix(".0") for value in self.levels(name))] for what, name in named.items()
        ]

    def about(self) -> str:
        """In one line."""
        seconds = self.curve[-1].seconds
        return (
            f"{self.frames} frames of {SIZE[0]}x{SIZE[1]}, one after the other, in {seconds:.0f} s, {self.lost} lost; "
            f"all {len(OUTPUTS)} outputs and ~/stats received by another process; shipped weights at the same size, "
            f"torch; warm-up {self.warm_up} frames"
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; the curve as one row for each sample."""
        return {
            "frames": self.frames,
            "lost": self.lost,
            "warm_up": self.warm_up,
            "failures": self.check(),
            "curve": [{"frames": s.frames, "seconds": round(s.seconds, 1), **asdict(s.held)} for s in self.curve],
        }


def soak(stand: Stand, frames: int, warm_up: int = WARM_UP, tell: Callable[[str], None] = print) -> Soak:
    """Send frames through a stand whose setup is `SETUP`.

    Raises:
        TrialError: the node ended.
    """
    result = Soak(frames, 0, warm_up, [])
    began = time.monotonic()
    for done in range(EVERY, frames + 1, EVERY):
        result.lost += stand.through(EVERY)
        if not stand.alive:
            raise TrialError(f"the node ended after {done} frames: {stand.children.last_words(stand.name)}")
        result.curve.append(Sample(done, time.monotonic() - began, stand.held()))
        for arrived in stand.arrivals.outputs.values():
            arrived.clear()  # this process must not grow either
        stand.arrivals.stats.clear()
        stand.diagnostics.clear()
        stand.sent.clear()
        if done % 1000 == 0:
            held = result.curve[-1].held
            memory = f"{held.resident_mb:.1f} MiB resident, {held.private_mb:.1f} private"
            seconds = result.curve[-1].seconds
            tell(f"{done} frames, {seconds:.0f} s: {memory}, {held.threads} threads, {held.files} files")
    return result


SETUP = Setup(outputs=tuple(OUTPUTS))


def command(argv: Sequence[str] | None = None) -> None:
    """Run the soak.

    Raises:
        TrialError: something grew, or frames were lost.
    """
    parser = argparse.ArgumentParser(prog="python -m dps_perception.trials.soak", description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000, help="to send; more than the warm-up (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the curve to this file")
    parser.add_argument("--markdown", type=Path, help=f"write the table to this file, between its marks {MARK}")
    args = parser.parse_args(argv)
    if args.frames < LEAST:
        raise ConfigError(f"--frames {args.frames}: give at least {LEAST}, {WARM_UP} are the warm-up")
    if args.markdown:
        between_marks(args.markdown, MARK)
    stop_requests_as_interrupts()
    machine = hardware()
    os.environ.update(ros_environment())
    with tempfile.TemporaryDirectory(prefix="dps-soak-") as folder, Stand(Path(folder), SETUP) as stand:
        result = soak(stand, args.frames, tell=lambda line: print(line, flush=True))
    print(result.about())
    if args.json:
        about = {"about": result.about(), "hardware": machine, "versions": versions(), **result.to_dict()}
        with replacing(args.json) as path:
            path.write_text(json.dumps(about, indent=1) + "\n")
    if args.markdown:
        put(args.markdown, MARK, f"{markdown_table(HEADER, result.rows())}\n\n{result.about()}; {described(machine)}.")
    if failures := result.check():
        raise TrialError("; ".join(failures))


if __name__ == "__main__":
    sys.exit(cli.run(command))

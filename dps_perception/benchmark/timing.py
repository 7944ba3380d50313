"""Times of named stages: measured, kept as rows, shown as tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..errors import ConfigError
from ..evaluation.scores import text_table
from ..inference.timing import statistics

TOTAL = "together"
HEADER = ["", "stage", "min [ms]", "median [ms]", "p95 [ms]", "runs"]


@dataclass(frozen=True)
class Effort:
    """How long to measure: `runs` after `warm_up`, but no more than `seconds` once `least` are done."""

    runs: int = 30
    warm_up: int = 2
    seconds: float = 60.0
    least: int = 3

    def __post_init__(self) -> None:
        if self.runs < 1 or self.seconds <= 0:
            raise ConfigError(
                f"{self.runs} runs in at most {self.seconds} s: give at least one run, and a time above 0"
            )


@dataclass(frozen=True)
class Timing:
    """One stage of one subject.

    Attributes:
        subject: what was measured; equal subjects of two runs are compared.
        stage: of it, or "together".
        min_ms, median_ms, p95_ms: milliseconds.
        runs: how many times.
    """

    subject: str
    stage: str
    min_ms: float
    median_ms: float
    p95_ms: float
    runs: int

    def cells(self) -> list[str]:
        """The row under `HEADER`."""
        return [
            self.subject, self.stage, *(f"{v:.2f}" for v in (self.min_ms, self.median_ms, self.p95_ms)), str(self.runs)
        ]  # fmt: skip


@dataclass
class Stopwatch:
    """Collects the stages of one frame after another.

    Attributes:
        device: whose work must be done before a stage counts as done.
    """

    device: torch.device
    frames: list[dict[str, float]] = field(default_factory=list)

    def frame(self) -> None:
        """Begin another frame."""
        self.frames.append({})

    def run(self, stage: str, function: Callable[[], Any]) -> Any:
        """Call, and count the time it takes to the stage."""
        started = time.perf_counter()
        value = function()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.add(stage, 1e3 * (time.perf_counter() - started))
        return value

    def add(self, stage: str, milliseconds: float) -> None:
        """Count a time that was measured elsewhere."""
        frame = self.frames[-1]
        frame[stage] = frame.get(stage, 0.0) + milliseconds

    def timings(self, subject: str) -> list[Timing]:
        """A row for each stage and, where there are several, one for all of them together."""
        rows = [[frame[stage] for frame in self.frames] for stage in self.frames[0]]
        named = list(zip(self.frames[0], rows, strict=True))
        if len(named) > 1:
            named.append((TOTAL, [sum(frame.values()) for frame in self.frames]))
        return [Timing(subject, stage, **statistics(values), runs=len(values)) for stage, values in named]


def repeat(frame: Callable[[Stopwatch], None], effort: Effort, device: torch.device) -> Stopwatch:
    """Run a frame again and again; the first ones are not counted."""
    for _ in range(effort.warm_up):
        watch = Stopwatch(device)
        watch.frame()
        frame(watch)
    watch, started = Stopwatch(device), time.perf_counter()
    while len(watch.frames) < effort.runs:
        watch.frame()
        frame(watch)
        if len(watch.frames) >= effort.least and time.perf_counter() - started > effort.seconds:
            break
    return watch


def stage_of(timings: Sequence[Timing], stage: str) -> Timing:
    """The row of a stage.

    Raises:
        KeyError: there is none.
    """
    for timing in timings:
        if timing.stage == stage:
            return timing
    raise KeyError(stage)


def table(timings: Sequence[Timing]) -> str:
    """As text; a subject's name stands once."""
    rows, last = [], ""
    for timing in timings:
        name, *rest = timing.cells()
        rows.append(["" if name == last else name, *rest])
        last = name
    return text_table(HEADER, rows, left=2)


def to_dicts(timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """Ready for JSON."""
    return [asdict(timing) for timing in timings]

"""Backends side by side: how fast each is, how well it agrees with fp32 PyTorch, and how good it is on labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DpsError
from ..evaluation import Evaluator
from ..evaluation.scores import markdown_table, number, text_table
from ..types import Prediction, Sample
from .agreement import TARGETS, Agreement, agreement
from .backends.base import Progress
from .backends.model_file import WEIGHTS, open_model
from .backends.registry import AUTO, BACKENDS, availability, precisions, require
from .predictor import Predictor
from .timing import statistics

STAGES = ("preprocess", "inference", "fusion")
TOTAL = "total"
EVERY = "all"
REFERENCE = ("torch", "fp32")
UNCOMPARED = "; nothing could be compared with it, so no row says how well it agrees"
HEADER = ["backend", "precision", "pre [ms]", "network [ms]", "fusion [ms]", "together [ms]", "PQ to fp32",
          "depth to fp32", "PQ", "DPQ"]  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A model file run by a backend in a precision; `mode` as in `open_backend`."""

    weights: str
    backend: str
    precision: str
    mode: str = ""


@dataclass(frozen=True)
class Row:
    """What was found out about a candidate.

    Attributes:
        weights, backend, precision: of the candidate; "auto" replaced by what was chosen.
        problem: why it could not run; empty where it did.
        runtime: see `Backend.describe`.
        times_ms: stage and "total" -> milliseconds: minimum, median, 95th percentile.
        agreement: with the first candidate.
        scores: "pq", "dpq" in percent against ground truth; empty without.
    """

    weights: str
    backend: str
    precision: str
    problem: str = ""
    runtime: dict[str, str] = field(default_factory=dict)
    times_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    agreement: Agreement | None = None
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """Median of the whole way from image to prediction."""
        return self.times_ms[TOTAL]["median_ms"] if self.times_ms else float("inf")

    def cells(self) -> list[str]:
        """The row under `HEADER`."""
        mode = self.runtime.get("mode", "")
        plain = mode in ("", "eager", "latency", "CPUExecutionProvider")
        name = self.backend if plain else f"{self.backend} ({mode})"
        medians = [f"{self.times_ms[s]['median_ms']:.1f}" if self.times_ms else "-" for s in (*STAGES, TOTAL)]
        agreed = ["-", "-"]
        if self.agreement is not None:
            agreed = [f"{self.agreement.pq:.2f}", f"{self.agreement.abs_rel:.1e}"]
        scores = [number(self.scores[key]) if key in self.scores else "-" for key in ("pq", "dpq")]
        return [name, self.precision, *medians, *agreed, *scores]

    def note(self) -> str:
        """What the table has no column for: a problem, or a target that was missed; else empty."""
        head = f"{self.backend} {self.precision}".strip()
        if self.problem:
            return f"{head}: {self.problem}"
        if self.agreement is None or self.agreement.reaches(self.precision):
            return ""
        least, most = TARGETS[self.precision]
        return f"{head}: misses its target of PQ {least} and depth {most:g} to fp32"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "weights": Path(self.weights).name or "shipped"}


def candidates(
    weights: Sequence[str], backends: Sequence[str], wanted: Sequence[str], device: str, mode: str = ""
) -> list[Candidate]:
    """Every combination that can run here.

    Args:
        weights: model files, see `open_model`.
        backends: names; "all" are those that are available, "auto" stands for itself.
        wanted: precisions; "all" are those that backend and file have, "auto" stands for itself.
        device: see `open_backend`.
        mode: see `open_backend`.

    Raises:
        ConfigError: an unknown backend.
        BackendError: one that was named is not available.
        ModelLoadError: a file is damaged.
    """
    found = []
    for file in weights:
        model = open_model(file)
        names = [n for n, missing in availability().items() if not missing] if EVERY in backends else list(backends)
        for name in names:
            if name != AUTO:
                require(name)
            if EVERY in backends and name == "torch" and model.kind != WEIGHTS:
                continue
            all_of_it = name != AUTO and EVERY in wanted
            for precision in precisions(name, model, device) if all_of_it else wanted:
                found.append(Candidate(file, name, AUTO if precision == EVERY else precision, mode))
    return found


def study(
    predictor: Predictor,
    samples: Sequence[Sample],
    reference: Sequence[Prediction] | None = None,
    runs: int = 0,
    weights: str = "",
) -> tuple[Row, list[Prediction]]:
    """Measure a predictor that is loaded.

    Args:
        predictor: see `Predictor`.
        samples: at least one image; those with labels are scored.
        reference: predictions for the same images to agree with; None leaves that out.
        runs: images to time, taken in turn; at least each is taken once.
        weights: for the row.

    Returns:
        The row, and a prediction for each sample.

    Raises:
        BackendError: it can't run.
    """
    predictor.warm_up()
    predictor.predict(samples[0].image, samples[0].intrinsics)  # fusion's memory, of this size of image
    seen, timings = [], []
    for index in range(max(runs, len(samples))):
        sample = samples[index % len(samples)]
        prediction = predictor.predict(sample.image, sample.intrinsics)
        stages = [prediction.timings_ms[stage] for stage in STAGES]
        timings.append([*stages, sum(stages)])
        if index < len(samples):
            seen.append(prediction)
    row = Row(
        weights,
        predictor.backend_name,
        predictor.precision,
        runtime=predictor.backend.describe(),
        times_ms={
            stage: statistics(column) for stage, column in zip((*STAGES, TOTAL), np.array(timings).T, strict=True)
        },
        agreement=None if reference is None else agreement(predictor.model.label_space, reference, seen),
        scores=_scores(predictor, samples, seen),
    )
    return row, seen


def _scores(predictor: Predictor, samples: Sequence[Sample], seen: Sequence[Prediction]) -> dict[str, float]:
    evaluator = Evaluator(predictor.model.label_space)
    for sample, prediction in zip(samples, seen, strict=True):
        if sample.panoptic is not None:
            evaluator.update(prediction.panoptic, prediction.known_depth_m, sample.panoptic, sample.depth_m)
    if not evaluator.images:
        return {}
    scores = evaluator.compute()
    return {"pq": float(scores.pq)} | ({"dpq": float(scores.dpq)} if evaluator.images_with_depth else {})


def compare(
    wanted: Sequence[Candidate],
    samples: Sequence[Sample],
    *,
    device: str = "auto",
    input_size: tuple[int, int] | None = None,
    runs: int = 0,
    agree: bool = True,
    keep_going: bool = False,
    progress: Progress | None = None,
) -> list[Row]:
    """Measure candidates one after the other; the first is what the others should agree with.

    If the first can't run, no other takes its place: there is no agreement then, and the first's row says so.

    Args:
        wanted: see `candidates`.
        samples, runs: see `study`.
        device, input_size, progress: see `Predictor.load`.
        agree: also compare their answers.
        keep_going: one that can't run becomes a row with its problem, otherwise its error is raised.

    Raises:
        DpsError: see `Predictor.load`.
    """
    rows: list[Row] = []
    reference = None
    for place, one in enumerate(wanted):
        try:
            predictor = Predictor.load(
                one.weights, backend=one.backend, device=device, precision=one.precision, input_size=input_size,
                mode=one.mode, progress=progress,
            )  # fmt: skip
            row, seen = study(predictor, samples, reference, runs, one.weights)
            predictor.close()
        except DpsError as error:
            if not keep_going:
                raise
            was_measure = agree and place == 0 and len(wanted) > 1
            rows.append(Row(one.weights, one.backend, one.precision, f"{error}{UNCOMPARED if was_measure else ''}"))
            continue
        if agree and place == 0:
            reference = seen
        rows.append(row)
    return rows


def missing() -> list[Row]:
    """A row for each backend that is not available, with the reason."""
    return [Row("", name, "", why) for name, why in availability().items() if why and name in BACKENDS]


def table(rows: Sequence[Row]) -> str:
    """The rows as text, problems and missed targets below."""
    shown = text_table(HEADER, [row.cells() for row in rows if not row.problem], left=2)
    return "\n".join([shown, *filter(None, (row.note() for row in rows))])


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a markdown table."""
    return markdown_table(HEADER, [row.cells() for row in rows if not row.problem])

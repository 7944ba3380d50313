"""`dps_benchmark --families`: weights of several families side by side: what they cost and how good they are."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..evaluation import Evaluator, Scores
from ..evaluation.marks import between_marks, put
from ..evaluation.scores import markdown_table, number, text_table
from ..inference.comparison import STAGES, TOTAL
from ..inference.machine import described, hardware, versions
from ..inference.predictor import Predictor
from ..inference.score_weights import require_label_space
from ..inference.sources import Source, open_source
from ..inference.timing import statistics
from ..labels import CITYSCAPES
from ..models.families import FAMILIES
from .count import count

NAME = "families"
HEADER = [
    "family", "weights", "parameters", "multiply-adds", "network [ms]", "fusion [ms]",
    "together [ms]", "PQ", "PQ things", "PQ stuff", "DPQ", "abs rel", "RMSE [m]",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        family, model_id, preset: what it is.
        params, macs: of the network at this size; deformable convolutions are not in the multiply-adds.
        times_ms: stage and "total" -> milliseconds: minimum, median, 95th percentile.
        scores: numbers by name; without depth those of depth are missing.
    """

    family: str
    model_id: str
    preset: str
    params: int
    macs: int
    times_ms: Mapping[str, Mapping[str, float]]
    scores: Mapping[str, float]

    def cells(self) -> list[str]:
        """The row under `HEADER`."""
        times = [f"{self.times_ms[stage]['median_ms']:.1f}" for stage in ("inference", "fusion", TOTAL)]
        percent = [number(self.scores.get(name, np.nan), 1) for name in ("pq", "pq_things", "pq_stuff", "dpq")]
        depth = [number(self.scores.get("abs_rel", np.nan), 3), number(self.scores.get("rmse", np.nan), 2)]
        cost = [f"{self.params / 1e6:.1f} M", f"{self.macs / 1e9:.1f} G"]
        return [FAMILIES[self.family].title, self.model_id, *cost, *times, *percent, *depth]


def run(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    """Measure, print a table, put it into --markdown, and return what --json gets.

    Raises:
        ConfigError: nothing to measure on, a file without marks, weights of another label space than the data, or
            models that "auto" gave different backends or precisions.
        DpsError: see `Predictor.load`.
    """
    if args.images < 1:
        raise ConfigError(f"--images {args.images}: it must be 1 or more")
    if args.markdown:
        between_marks(args.markdown, NAME)  # now, not after the measurements
    machine = hardware()  # its load before, not that of the measurements
    source = open_source(args.data, split=args.split, limit=args.images)
    predictors: list[Predictor] = []
    try:
        for file in args.weights or list(FAMILIES):
            one = Predictor.load(
                file, backend=args.backend, device=args.device, precision=args.precision, mode=args.mode,
                input_size=size or (predictors[0].input_size if predictors else None), progress=print,
            )  # fmt: skip
            predictors.append(one)
        backend, precision = same_runtime(predictors)
        rows = measure(predictors, source)
        height, width = predictors[0].input_size
    finally:
        for each in predictors:
            each.close()
    about = (
        f"{backend} {precision}, network {height}x{width}, {len(source)} images of {source.name}; medians, each image "
        "run by all in turn"
    )
    cells = [row.cells() for row in rows]
    print(f"{about}\n{described(machine)}\n{text_table(HEADER, cells, left=2)}")
    if args.markdown:
        put(args.markdown, NAME, f"{markdown_table(HEADER, cells)}\n\n{about}; {described(machine)}.")
    return {
        "about": about,
        "hardware": machine,
        "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }


def same_runtime(predictors: Sequence[Predictor]) -> tuple[str, str]:
    """Backend and precision that all of them have.

    Raises:
        ConfigError: they differ, so that times and scores could not be compared.
    """
    found = {(each.backend_name, each.precision) for each in predictors}
    if len(found) > 1:
        got = ", ".join(f"{p.model.model_id} got {p.backend_name} {p.precision}" for p in predictors)
        raise ConfigError(f"families need one backend and precision, but {got}; name --backend and --precision")
    return found.pop()


def measure(predictors: Sequence[Predictor], source: Source) -> list[Row]:
    """Run every image through every predictor, beginning with another one each time, and score what comes out.

    Raises:
        ConfigError: an image has no labels, or a predictor's label space is not that of Cityscapes.
    """
    evaluators = [Evaluator(each.model.label_space) for each in predictors]
    times: list[dict[str, list[float]]] = [defaultdict(list) for _ in predictors]
    for each in predictors:
        require_label_space(each.model.label_space, CITYSCAPES)
        each.warm_up()
    for index, sample in enumerate(source):
        if sample.panoptic is None:
            raise ConfigError(f"{sample.sample_id} of {source.name} has no panoptic labels: families can't be compared")
        for turn in range(len(predictors)):
            k = (index + turn) % len(predictors)
            prediction = predictors[k].predict(sample.image, sample.intrinsics)
            evaluators[k].update(prediction.panoptic, prediction.known_depth_m, sample.panoptic, sample.depth_m)
            stages = {stage: prediction.timings_ms[stage] for stage in STAGES}
            for stage, milliseconds in (stages | {TOTAL: sum(stages.values())}).items():
                times[k][stage].append(milliseconds)
    return [
        _row(each, evaluator.compute(), {stage: statistics(values) for stage, values in own.items()})
        for each, evaluator, own in zip(predictors, evaluators, times, strict=True)
    ]


def _row(predictor: Predictor, scores: Scores, times_ms: Mapping[str, Mapping[str, float]]) -> Row:
    model = predictor.model
    counted = count(model.config, predictor.input_size)
    found = {"pq": scores.pq, "pq_things": scores.pq_things, "pq_stuff": scores.pq_stuff}
    if model.config.has_depth:
        found |= {"dpq": scores.dpq, "abs_rel": scores.abs_rel, "rmse": scores.depth.rmse_m}
    return Row(
        model.family,
        model.model_id,
        model.preset,
        counted["params"],
        counted["macs"],
        times_ms,
        {name: float(value) for name, value in found.items()},
    )

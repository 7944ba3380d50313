"""Scoring weights: run a predictor over annotated images, keep the scores, the latencies and a few pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from ..data.dvps import write_prediction
from ..errors import ConfigError, DatasetError
from ..evaluation import Evaluator
from ..evaluation.report import Pictures
from ..evaluation.score_report import sample_pictures
from ..labels import LabelSpace
from .sources import Source
from .spread import share

if TYPE_CHECKING:
    from .predictor import Predictor


@dataclass(frozen=True)
class Run:
    """What is left of a run besides the numbers in its evaluator.

    Attributes:
        timings_ms: stage -> milliseconds of each frame; "total" is their sum.
        pictures: of images evenly spaced over the data.
        shown: the place of each of those images in the data.
    """

    timings_ms: dict[str, list[float]]
    pictures: list[Pictures]
    shown: list[int]


def join(runs: Sequence[Run]) -> Run:
    """The runs of several processes as one: pictures in the order of the data, latencies by process."""
    timings: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for stage, values in run.timings_ms.items():
            timings[stage] += values
    places = sorted((place, r, i) for r, run in enumerate(runs) for i, place in enumerate(run.shown))
    return Run(dict(timings), [runs[r].pictures[i] for _, r, i in places], [place for place, _, _ in places])


def require_label_space(model: LabelSpace, data: LabelSpace) -> None:
    """Check that weights predict the classes that the data has.

    Raises:
        ConfigError: naming both sides and the first difference.
    """
    ours, theirs = ([(c.name, c.is_thing) for c in space.classes] for space in (model, data))
    if ours == theirs:
        return
    index = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    where = "" if index is None else f"; class {index} is '{ours[index][0]}' there and '{theirs[index][0]}' here"
    raise ConfigError(
        f"the weights predict label space '{model.name}' ({len(model)} classes), the data is in '{data.name}' "
        f"({len(data)} classes){where}; use weights trained for the data, or give its --label-space"
    )


def score_weights(
    predictor: Predictor,
    source: Source,
    evaluator: Evaluator,
    *,
    pictures: int = 0,
    save_to: Path | None = None,
    split: str = "test",
) -> Run:
    """Predict this process' images of `source` (all of them without torchrun) and add them to `evaluator`.

    Args:
        predictor: see `Predictor`.
        source: annotated images.
        evaluator: takes the scores.
        pictures: of how many images to keep pictures.
        save_to: DVPS folder that gets the predictions as files, in the subfolder `split`.
        split: see `save_to`.

    Raises:
        DatasetError: an image has no panoptic labels, or they don't fit; it names the sample.
    """
    number = len(source)
    shown = set(np.linspace(0, number - 1, min(pictures, number)).round().astype(int).tolist())
    timings: dict[str, list[float]] = defaultdict(list)
    rows, places = [], []
    space = predictor.model.label_space
    predictor.warm_up()
    own = share(number)
    bar = tqdm(source.read(own), total=len(own), unit="image", desc=source.name, disable=own.start > 0)
    for index, sample in zip(own, bar, strict=True):
        if sample.panoptic is None:
            raise DatasetError(f"sample {sample.sample_id} of {source.name} has no panoptic labels to score against")
        prediction = predictor.predict(sample.image, sample.intrinsics)
        depth_m = prediction.known_depth_m
        try:
            evaluator.update(prediction.panoptic, depth_m, sample.panoptic, sample.depth_m)
        except DatasetError as error:
            raise DatasetError(f"sample {sample.sample_id} of {source.name}: {error}") from error
        for stage, milliseconds in prediction.timings_ms.items():
            timings[stage].append(milliseconds)
        timings["total"].append(sum(prediction.timings_ms.values()))
        if save_to is not None:
            write_prediction(save_to, split, sample.sample_id, prediction.panoptic, depth_m)
        if index in shown:
            one = evaluator.fresh()
            one.update(prediction.panoptic, depth_m, sample.panoptic, sample.depth_m)
            scores = one.compute()
            note = f"this image alone: PQ {scores.pq:.1f}"
            if one.images_with_depth:
                note += f", DPQ {scores.dpq:.1f}, abs rel {scores.abs_rel:.3f}"
            places.append(index)
            true = (sample.panoptic, sample.depth_m)
            rows.append(
                sample_pictures(sample.sample_id, sample.image, space, prediction.panoptic, depth_m, *true, note=note)
            )
    total = timings.pop("total", [])
    return Run({**timings, "total": total}, rows, places)

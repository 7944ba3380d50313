"""How well two backends agree: panoptic quality between their outputs, and the relative difference of their depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation import Evaluator
from ..labels import LabelSpace
from ..types import Prediction, Sample
from .predictor import Predictor

TARGETS = {"fp32": (99.5, 1e-3), "bf16": (98.0, 5e-3), "fp16": (98.0, 5e-3)}
"""Precision -> least PQ and largest depth difference to fp32 PyTorch. INT8 has none: it is chosen with open eyes."""


@dataclass(frozen=True)
class Agreement:
    """`pq` in percent, `abs_rel` the mean relative depth difference (NaN without depth), over `images` images."""

    pq: float
    abs_rel: float
    images: int

    def reaches(self, precision: str) -> bool:
        """Whether it is as good as this precision can be expected to be."""
        pq, abs_rel = TARGETS.get(precision, TARGETS["bf16"])
        return self.pq >= pq and not self.abs_rel > abs_rel


def agreement(space: LabelSpace, reference: Sequence[Prediction], seen: Iterable[Prediction]) -> Agreement:
    """Score predictions against those of another backend for the same images, as if those were the truth."""
    evaluator = Evaluator(space, max_depth_m=math.inf)
    for truth, prediction in zip(reference, seen, strict=True):
        has_depth = bool(np.isfinite(truth.depth_m).any())
        depths = (prediction.depth_m, truth.depth_m) if has_depth else (None, None)
        evaluator.update(prediction.panoptic, depths[0], truth.panoptic, depths[1])
    scores = evaluator.compute()
    with_depth = evaluator.images_with_depth > 0
    return Agreement(float(scores.pq), float(scores.abs_rel) if with_depth else math.nan, evaluator.images)


def predictions(predictor: Predictor, samples: Iterable[Sample]) -> list[Prediction]:
    """What a predictor says about each sample."""
    return [predictor.predict(sample.image, sample.intrinsics) for sample in samples]

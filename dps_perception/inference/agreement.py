"""How well two backends agree: panoptic quality between their outputs, and the relative difference of their depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation import Evaluator
from ..labels import LabelSpace
from ..types import Prediction

TARGETS = {"fp32": (99.5, 1e-3), "bf16": (98.0, 5e-3), "fp16": (98.0, 5e-3)}
"""Precision -> least PQ and largest depth difference to fp32 PyTorch. INT8 has none: it is chosen with open eyes."""


@dataclass(frozen=True)
class Agreement:
    """`pq` in percent, `abs_rel` the mean relative depth difference (NaN without depth), over `images` images."""

    pq: float
    abs_rel: float
    images: int

    def reaches(self, precision: str) -> bool:
        """Whether it is as good as this precision can be expected to be; INT8 always is."""
        pq, abs_rel = TARGETS.get(precision, (0.0, math.inf))
        return self.pq >= pq and not self.abs_rel > abs_rel


def agreement(space: LabelSpace, reference: Sequence[Prediction], seen: Sequence[Prediction]) -> Agreement:
    """Score predictions against those of another backend for the same images.

    Panoptic quality takes no notice of what lies in the truth's void, so each side is the truth once, and the lower
    quality counts; it is 100 where both find nothing.
    """
    ours, theirs = _scored(space, reference, seen), _scored(space, seen, reference)
    qualities = [pq for pq in (ours.compute().pq, theirs.compute().pq) if not math.isnan(pq)]
    abs_rel = float(ours.compute().abs_rel) if ours.images_with_depth else math.nan
    return Agreement(min(qualities, default=100.0), abs_rel, ours.images)


def _scored(space: LabelSpace, truths: Sequence[Prediction], others: Sequence[Prediction]) -> Evaluator:
    evaluator = Evaluator(space, max_depth_m=math.inf)
    for truth, other in zip(truths, others, strict=True):
        evaluator.update(other.panoptic, other.known_depth_m, truth.panoptic, truth.known_depth_m)
    return evaluator

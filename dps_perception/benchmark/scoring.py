"""How many images a second are scored (PQ, DPQ and depth), beside the usual Python loops on the same images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data.street import single_image
from ..data.street.seeds import TEST
from ..evaluation import Evaluator
from ..evaluation.evaluator import DPQ_LAMBDAS
from ..labels import CITYSCAPES, VOID_PANOPTIC_ID
from ..types import Prediction, Sample
from .plain_scoring import PlainScores

Pair = tuple[Prediction, Sample]
HEADER = ["evaluation", "images/s", "PQ", "DPQ"]
TRIES = 3


@dataclass(frozen=True)
class Rates:
    """Images a second of both (best of several passes), and what they score.

    Attributes:
        images, height, width: of the data.
        ours_per_s: `Evaluator`: PQ, DPQ, depth errors and mIoU.
        loops_per_s: `PlainScores`: PQ and DPQ.
        ours_pq, ours_dpq, loops_pq, loops_dpq: percent.
    """

    images: int
    height: int
    width: int
    ours_per_s: float
    loops_per_s: float
    ours_pq: float
    ours_dpq: float
    loops_pq: float
    loops_dpq: float

    @property
    def ratio(self) -> float:
        return self.ours_per_s / self.loops_per_s

    @property
    def agree(self) -> bool:
        """Whether both give the same scores, but for the order of additions."""
        return bool(np.allclose([self.ours_pq, self.ours_dpq], [self.loops_pq, self.loops_dpq], rtol=0, atol=1e-9))

    def rows(self) -> list[list[str]]:
        """Under `HEADER`."""
        loops = ["Python loops: PQ, DPQ", f"{self.loops_per_s:.2f}", f"{self.loops_pq:.4f}", f"{self.loops_dpq:.4f}"]
        ours = [
            f"`Evaluator`: PQ, DPQ, depth, mIoU ({self.ratio:.0f}x)", f"{self.ours_per_s:.2f}", f"{self.ours_pq:.4f}",
            f"{self.ours_dpq:.4f}",
        ]  # fmt: skip
        return [loops, ours]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "ratio": self.ratio, "agree": self.agree}


def pairs(number: int, size_hw: tuple[int, int]) -> list[Pair]:
    """Held-out streets, and predictions that are theirs with faults: shifted, some segments gone, depth off."""
    found = []
    for seed in range(TEST[0], TEST[0] + number):
        sample = single_image(seed, *size_hw)
        assert sample.panoptic is not None
        assert sample.depth_m is not None
        random = np.random.default_rng(seed)
        panoptic = np.roll(sample.panoptic, (size_hw[0] // 128, size_hw[1] // 128), (0, 1))
        ids = np.unique(panoptic)
        for gone in ids[random.random(len(ids)) < 0.1]:
            panoptic[panoptic == gone] = VOID_PANOPTIC_ID
        depth = np.where(np.isfinite(sample.depth_m), sample.depth_m, 80).astype(np.float32)
        depth *= random.lognormal(0, 0.2, (size_hw[0], 1)).astype(np.float32)
        found.append((Prediction(panoptic, depth, np.ones(size_hw, np.float32), ()), sample))
    return found


def measure(data: Sequence[Pair], tries: int = TRIES) -> Rates:
    """Score the same images both ways, in turn."""
    ours, loops = [], []
    evaluator, plain = _ours(data), _plain(data)  # and what is compiled on first use
    for _ in range(tries):
        started = time.perf_counter()
        evaluator = _ours(data)
        scores = evaluator.compute()
        between = time.perf_counter()
        plain = _plain(data)
        loops_pq, loops_dpq = plain.pq(), plain.dpq()
        ended = time.perf_counter()
        ours.append(between - started)
        loops.append(ended - between)
    height, width = data[0][0].panoptic.shape
    return Rates(
        len(data), height, width, len(data) / min(ours), len(data) / min(loops), float(scores.pq), float(scores.dpq),
        loops_pq, loops_dpq,
    )  # fmt: skip


def _ours(data: Sequence[Pair]) -> Evaluator:
    evaluator = Evaluator(CITYSCAPES)
    for prediction, sample in data:
        evaluator.update(prediction.panoptic, prediction.depth_m, sample.panoptic, sample.depth_m)  # type: ignore[arg-type]
    return evaluator


def _plain(data: Sequence[Pair]) -> PlainScores:
    plain = PlainScores(CITYSCAPES, DPQ_LAMBDAS)
    for prediction, sample in data:
        plain.add(prediction.panoptic, prediction.depth_m, sample.panoptic, sample.depth_m)  # type: ignore[arg-type]
    return plain

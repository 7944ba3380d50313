"""PQ and DPQ the usual way, to time our evaluation against: loops over segments and pairs of ids, as panopticapi does.

Ids are combined into one number for each pixel, `np.unique` counts them, dictionaries hold the areas; DPQ repeats it
all for each depth threshold, with the pixels whose depth is too far off made void in the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace

_OFFSET = 1 << 16


@dataclass
class ClassCounts:
    """Of one class over all images."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: float = 0.0


@dataclass
class PlainScores:
    """PQ of the labels, and of the labels whose depth is right; percent.

    Attributes:
        space: the classes.
        lambdas: relative depth errors above which a pixel is taken away.
    """

    space: LabelSpace
    lambdas: Sequence[float]
    _counts: dict[float, dict[int, ClassCounts]] = field(default_factory=dict)

    def add(
        self,
        panoptic: NDArray[np.uint16],
        depth_m: NDArray[np.float32],
        gt_panoptic: NDArray[np.uint16],
        gt_depth_m: NDArray[np.float32],
    ) -> None:
        """One image; arguments as of `Evaluator.update`."""
        self._match(np.inf, panoptic, gt_panoptic)
        for threshold in self.lambdas:
            true = gt_depth_m.astype(np.float64)
            valid = np.isfinite(true) & (true > 0)
            with np.errstate(all="ignore"):
                error = np.abs(depth_m - true) / true
            error[~(np.isfinite(depth_m) & (depth_m > 0))] = np.inf
            kept = panoptic.copy()
            kept[valid & (error > threshold)] = VOID_PANOPTIC_ID
            self._match(threshold, kept, gt_panoptic)

    def pq(self, threshold: float = np.inf) -> float:
        """At one of the lambdas; without one, of the labels alone. Mean over the classes that occur."""
        qualities = [
            c.iou / (c.tp + 0.5 * c.fp + 0.5 * c.fn) for c in self._counts[threshold].values() if c.tp + c.fp + c.fn
        ]
        return 100 * sum(qualities) / len(qualities)

    def dpq(self) -> float:
        """Mean over the lambdas."""
        return sum(self.pq(threshold) for threshold in self.lambdas) / len(self.lambdas)

    def _match(self, threshold: float, panoptic: NDArray[np.uint16], gt_panoptic: NDArray[np.uint16]) -> None:
        counts = self._counts.setdefault(threshold, {c: ClassCounts() for c in range(len(self.space))})
        gt_areas = _areas(gt_panoptic)
        pred_areas = _areas(panoptic)
        combined = gt_panoptic.astype(np.uint64) * _OFFSET + panoptic.astype(np.uint64)
        shared = {}
        for label, area in zip(*np.unique(combined, return_counts=True), strict=True):
            shared[int(label) // _OFFSET, int(label) % _OFFSET] = int(area)

        gt_matched, pred_matched = set(), set()
        for (gt_id, pred_id), area in shared.items():
            if gt_id not in gt_areas or pred_id not in pred_areas or self._crowd(gt_id):
                continue
            if gt_id // LABEL_DIVISOR != pred_id // LABEL_DIVISOR:
                continue
            union = gt_areas[gt_id] + pred_areas[pred_id] - area - shared.get((VOID_PANOPTIC_ID, pred_id), 0)
            iou = area / union
            if iou > 0.5:
                counts[gt_id // LABEL_DIVISOR].tp += 1
                counts[gt_id // LABEL_DIVISOR].iou += iou
                gt_matched.add(gt_id)
                pred_matched.add(pred_id)

        crowds = {}
        for gt_id in gt_areas:
            if gt_id in gt_matched:
                continue
            if self._crowd(gt_id):
                crowds[gt_id // LABEL_DIVISOR] = gt_id
                continue
            counts[gt_id // LABEL_DIVISOR].fn += 1

        for pred_id, area in pred_areas.items():
            if pred_id in pred_matched:
                continue
            ignored = shared.get((VOID_PANOPTIC_ID, pred_id), 0)
            if pred_id // LABEL_DIVISOR in crowds:
                ignored += shared.get((crowds[pred_id // LABEL_DIVISOR], pred_id), 0)
            if ignored / area > 0.5:
                continue
            counts[pred_id // LABEL_DIVISOR].fp += 1

    def _crowd(self, panoptic_id: int) -> bool:
        return bool(self.space.is_thing[panoptic_id // LABEL_DIVISOR]) and panoptic_id % LABEL_DIVISOR == 0


def _areas(panoptic: NDArray[np.uint16]) -> dict[int, int]:
    """Pixels of each segment but void."""
    found = zip(*np.unique(panoptic, return_counts=True), strict=True)
    return {int(label): int(area) for label, area in found if label != VOID_PANOPTIC_ID}

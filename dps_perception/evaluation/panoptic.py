"""Panoptic quality: matching of segments in one image, counts over all images, and the scores made of them.

Kirillov et al., "Panoptic Segmentation", CVPR 2019. All segments of an image are matched at once through the table of
pixels shared by each ground-truth and predicted id, so the cost is a few passes over the image whatever it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..kernels.scoring import IDS, ids_in, shared_pixels
from ..labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID, LabelSpace
from .sums import ExactSums


@dataclass(frozen=True)
class SegmentTable:
    """Pixels that each pair of ground-truth and predicted segments share, in one image.

    Attributes:
        gt_ids: (G,) panoptic ids that occur; the last one is void, present or not.
        pred_ids: (P,) the same of the prediction.
        pixels: (G, P) int64.
    """

    gt_ids: NDArray[np.int64]
    pred_ids: NDArray[np.int64]
    pixels: NDArray[np.int64]


def segment_tables(
    panoptic: NDArray[np.uint16],
    gt_panoptic: NDArray[np.uint16],
    label_space: LabelSpace,
    level: NDArray[np.uint8] | None = None,
    levels: int = 1,
) -> list[SegmentTable]:
    """Count shared pixels, once for each level; table k leaves predicted pixels of a level above k as void.

    Args:
        panoptic: (H, W) predicted panoptic ids.
        gt_panoptic: (H, W) true panoptic ids.
        label_space: the classes both use.
        level: (H, W) values 0..levels, for DPQ how many of its thresholds the depth error is above; None: 0 everywhere.
        levels: how many tables to make.

    Raises:
        DatasetError: an id is not of this label space, or a stuff class has an instance.
    """
    gt_ids, gt_of = _indexed(gt_panoptic, label_space, "ground truth")
    pred_ids, pred_of = _indexed(panoptic, label_space, "prediction")
    shape = (len(gt_ids), len(pred_ids))
    if level is None:
        counts = shared_pixels(gt_panoptic, panoptic, np.zeros(panoptic.shape, np.uint8), gt_of, pred_of, (*shape, 1))
        return [SegmentTable(gt_ids, pred_ids, counts[:, :, 0])] * levels
    by_level = shared_pixels(gt_panoptic, panoptic, level, gt_of, pred_of, (*shape, levels + 1))
    kept = by_level.cumsum(axis=2)
    total = kept[:, :, -1].sum(axis=1)
    tables = []
    for k in range(levels):
        counts = kept[:, :, k].copy()
        counts[:, -1] += total - counts.sum(axis=1)
        tables.append(SegmentTable(gt_ids, pred_ids, counts))
    return tables


def _indexed(
    panoptic: NDArray[np.uint16], label_space: LabelSpace, side: str
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Ids that occur (void last), and (65536,) the place of each id among them."""
    if panoptic.dtype != np.uint16 or panoptic.ndim != 2:
        raise DatasetError(
            f"{side} is {panoptic.dtype} with shape {panoptic.shape}; panoptic ids are uint16, (height, width)"
        )
    present = ids_in(panoptic)
    ids = present[present // LABEL_DIVISOR != VOID_CLASS_ID]
    classes, instances = np.divmod(ids, LABEL_DIVISOR)
    if classes.size and classes.max() >= len(label_space):
        raise DatasetError(
            f"{side} holds class ids {sorted(set(classes[classes >= len(label_space)].tolist()))}, but label space "
            f"'{label_space.name}' has 0..{len(label_space) - 1} and {VOID_CLASS_ID} for void; "
            "was it made with another label space?"
        )
    wrong = ids[~label_space.is_thing[classes] & (instances > 0)]
    if wrong.size:
        name = label_space.names[wrong[0] // LABEL_DIVISOR]
        raise DatasetError(
            f"{side} holds instance {wrong[0] % LABEL_DIVISOR} of stuff class '{name}' (panoptic id {wrong[0]}); "
            "stuff has instance 0"
        )
    lookup = np.full(IDS, len(ids), np.int32)
    lookup[ids] = np.arange(len(ids), dtype=np.int32)
    return np.append(ids, VOID_PANOPTIC_ID), lookup


def match(table: SegmentTable, label_space: LabelSpace) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Match the segments of one image.

    A pair matches if its classes are equal and its IoU, ground-truth void left out of the union, is strictly above 0.5.
    An unmatched prediction is forgiven if strictly more than half of it lies on void or on crowd (a thing class with
    instance 0) of its class, both taken together. A crowd region is never matched nor missed.

    Returns:
        (counts, iou): counts (3, C) int64 of TP, FP, FN by class; iou (C,) float64, summed over the matched pairs.
    """
    number = len(label_space)
    gt_ids, pred_ids, pixels = table.gt_ids[:-1], table.pred_ids[:-1], table.pixels
    gt_class, pred_class = gt_ids // LABEL_DIVISOR, pred_ids // LABEL_DIVISOR
    is_crowd = label_space.is_crowd(gt_ids)
    gt_area = pixels.sum(axis=1)[:-1]
    pred_area = pixels.sum(axis=0)[:-1]
    on_void = pixels[-1, :-1]
    shared = pixels[:-1, :-1]
    same_class = gt_class[:, None] == pred_class

    union = gt_area[:, None] + (pred_area - on_void) - shared
    matched = same_class & ~is_crowd[:, None] & (2 * shared > union)
    row, column = np.nonzero(matched)
    iou = np.bincount(gt_class[row], shared[row, column] / union[row, column], number).astype(np.float64)

    on_crowd = (shared * (same_class & is_crowd[:, None])).sum(axis=0)
    is_matched = matched.any(axis=0)
    forgiven = 2 * (on_void + on_crowd) > pred_area
    # A depth threshold can void all pixels of a predicted segment: it is then no longer part of the prediction.
    false_positive = ~is_matched & ~forgiven & (pred_area > 0)
    missed = ~matched.any(axis=1) & ~is_crowd
    counts = np.stack(
        [
            np.bincount(gt_class[row], minlength=number),
            np.bincount(pred_class[false_positive], minlength=number),
            np.bincount(gt_class[missed], minlength=number),
        ]
    )
    return counts.astype(np.int64), iou


class PanopticCounts:
    """TP, FP, FN and summed IoU per class over all images so far."""

    def __init__(self, label_space: LabelSpace) -> None:
        self.label_space = label_space
        self.counts = np.zeros((3, len(label_space)), np.int64)
        self._iou = ExactSums(len(label_space))

    def add(self, table: SegmentTable) -> None:
        counts, iou = match(table, self.label_space)
        self.counts += counts
        self._iou.add(iou)

    def merge(self, other: PanopticCounts) -> None:
        self.counts += other.counts
        self._iou.merge(other._iou)

    def scores(self) -> PanopticScores:
        tp, fp, fn = self.counts.copy()
        return PanopticScores(self.label_space, tp, fp, fn, self._iou.values())


@dataclass(frozen=True)
class Quality:
    """Means over a group of classes, in percent; NaN where no class of the group occurred.

    Attributes:
        pq: mean over the classes that occur (TP + FP + FN > 0).
        sq: the same of segmentation quality (mean IoU of matched segments).
        rq: the same of recognition quality (F1 of segments).
        pq_all_classes: mean of PQ over all classes of the group, absent ones as 0.
        classes_present: how many classes occurred.
        classes: how many classes the group has.
    """

    pq: float
    sq: float
    rq: float
    pq_all_classes: float
    classes_present: int
    classes: int

    def to_dict(self) -> dict[str, Any]:
        values = {"pq": self.pq, "sq": self.sq, "rq": self.rq, "pq_all_classes": self.pq_all_classes}
        counts = {"classes_present": self.classes_present, "classes": self.classes}
        return {name: none_if_nan(value) for name, value in values.items()} | counts


@dataclass(frozen=True)
class PanopticScores:
    """Panoptic quality per class and of its groups.

    Attributes:
        label_space: names the classes.
        tp: (C,) matched segments; `fp` and `fn` unmatched predicted and true ones.
        fp: see `tp`.
        fn: see `tp`.
        iou: (C,) summed over matched segments.
    """

    label_space: LabelSpace
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    iou: NDArray[np.float64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(C,) whether a class occurred in the ground truth or the prediction."""
        return (self.tp + self.fp + self.fn) > 0

    def per_class(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """PQ, SQ, RQ, each (C,) in percent, NaN for classes that don't occur."""
        present = self.present
        sq = np.where(present, self.iou / np.maximum(self.tp, 1), np.nan)
        rq = np.where(present, self.tp / np.maximum(self.tp + 0.5 * self.fp + 0.5 * self.fn, 0.5), np.nan)
        return 100 * sq * rq, 100 * sq, 100 * rq

    def quality(self, group: NDArray[np.bool_] | None = None) -> Quality:
        """Means over the classes of `group` ((C,) bool; None: all)."""
        group = np.ones(len(self.label_space), bool) if group is None else group
        chosen = group & self.present
        pq, sq, rq = (float(values[chosen].mean()) if chosen.any() else float("nan") for values in self.per_class())
        size, present = int(group.sum()), int(chosen.sum())
        return Quality(pq, sq, rq, pq * present / size if present else float("nan"), present, size)

    @property
    def all(self) -> Quality:
        return self.quality()

    @property
    def things(self) -> Quality:
        return self.quality(self.label_space.is_thing)

    @property
    def stuff(self) -> Quality:
        return self.quality(~self.label_space.is_thing)

    def to_dict(self) -> dict[str, Any]:
        pq, sq, rq = self.per_class()
        return {
            "all": self.all.to_dict(),
            "things": self.things.to_dict(),
            "stuff": self.stuff.to_dict(),
            "per_class": [
                {
                    "name": info.name,
                    "is_thing": info.is_thing,
                    "pq": none_if_nan(pq[i]),
                    "sq": none_if_nan(sq[i]),
                    "rq": none_if_nan(rq[i]),
                    "tp": int(self.tp[i]),
                    "fp": int(self.fp[i]),
                    "fn": int(self.fn[i]),
                }
                for i, info in enumerate(self.label_space.classes)
            ],
        }


def none_if_nan(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)

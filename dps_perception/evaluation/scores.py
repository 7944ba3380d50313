"""What an evaluation says, as numbers, as a JSON-ready dictionary and as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .depth import DepthScores
from .panoptic import PanopticScores, none_if_nan


@dataclass(frozen=True)
class Scores:
    """Scores over all images of an evaluation. PQ, DPQ and IoU are in percent; NaN where nothing could be scored.

    Attributes:
        panoptic: PQ, SQ, RQ of all, things, stuff and each class.
        depth_panoptic: the same at each depth threshold lambda (over the images that have both depths).
        depth: depth errors.
        iou: (C,) intersection over union of the classes, NaN for those that don't occur.
        images: how many were added.
        images_with_depth: how many of them had both depths.
        settings: what shaped the numbers (lambdas, depth caps).
    """

    panoptic: PanopticScores
    depth_panoptic: Mapping[float, PanopticScores]
    depth: DepthScores
    iou: NDArray[np.float64]
    images: int
    images_with_depth: int
    settings: Mapping[str, Any]

    @property
    def pq(self) -> float:
        return self.panoptic.all.pq

    @property
    def sq(self) -> float:
        return self.panoptic.all.sq

    @property
    def rq(self) -> float:
        return self.panoptic.all.rq

    @property
    def pq_things(self) -> float:
        return self.panoptic.things.pq

    @property
    def pq_stuff(self) -> float:
        return self.panoptic.stuff.pq

    @property
    def pq_all_classes(self) -> float:
        """Mean PQ over all classes of the label space, absent ones as 0."""
        return self.panoptic.all.pq_all_classes

    @property
    def dpq_at(self) -> dict[float, float]:
        """DPQ at each lambda."""
        return {threshold: scores.all.pq for threshold, scores in self.depth_panoptic.items()}

    @property
    def dpq(self) -> float:
        """Mean over the lambdas."""
        return self._dpq("all", "pq")

    @property
    def dpq_things(self) -> float:
        return self._dpq("things", "pq")

    @property
    def dpq_stuff(self) -> float:
        return self._dpq("stuff", "pq")

    @property
    def dpq_all_classes(self) -> float:
        return self._dpq("all", "pq_all_classes")

    @property
    def miou(self) -> float:
        """Mean over the classes that occur."""
        occurs = ~np.isnan(self.iou)
        return float(self.iou[occurs].mean()) if occurs.any() else math.nan

    @property
    def abs_rel(self) -> float:
        return self.depth.abs_rel

    @property
    def rmse_m(self) -> float:
        return self.depth.rmse_m

    @property
    def delta1(self) -> float:
        return self.depth.delta1

    def _dpq(self, group: str, name: str) -> float:
        if not self.images_with_depth:
            return math.nan
        return float(np.mean([getattr(getattr(scores, group), name) for scores in self.depth_panoptic.values()]))

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON (None where nothing could be scored)."""
        occurs = ~np.isnan(self.iou)
        dpq = {
            "mean": self.dpq,
            "things": self.dpq_things,
            "stuff": self.dpq_stuff,
            "all_classes": self.dpq_all_classes,
        }
        return {
            "label_space": self.panoptic.label_space.name,
            "images": self.images,
            "images_with_depth": self.images_with_depth,
            "settings": dict(self.settings),
            "panoptic": self.panoptic.to_dict(),
            "dpq": {name: none_if_nan(value) for name, value in dpq.items()}
            | {"at": {f"{key:g}": scores.to_dict() for key, scores in self.depth_panoptic.items()}},
            "depth": self.depth.to_dict(),
            "semantic": {
                "miou": none_if_nan(self.miou),
                "classes_present": int(occurs.sum()),
                "iou": {
                    name: none_if_nan(value)
                    for name, value in zip(self.panoptic.label_space.names, self.iou, strict=True)
                },
            },
        }

    def headline(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the all / things / stuff table."""
        header = ["", "PQ", "SQ", "RQ", "DPQ", *(f"DPQ@{key:g}" for key in self.depth_panoptic), "classes"]
        rows = []
        for group in ("all", "things", "stuff"):
            quality = getattr(self.panoptic, group)
            at = [getattr(scores, group).pq for scores in self.depth_panoptic.values()]
            at = [self._dpq(group, "pq"), *(at if self.images_with_depth else [math.nan] * len(at))]
            numbers = [number(value) for value in (quality.pq, quality.sq, quality.rq, *at)]
            rows.append([group, *numbers, f"{quality.classes_present} of {quality.classes}"])
        return header, rows

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the per-class table; classes that don't occur are left out."""
        keys = list(self.depth_panoptic)
        header = ["class", "kind", "PQ", "SQ", "RQ", *(f"DPQ@{key:g}" for key in keys), "IoU", "TP", "FP", "FN"]
        columns = [*self.panoptic.per_class()]
        columns += [self.depth_panoptic[key].per_class()[0] for key in keys]
        if not self.images_with_depth:
            columns[3:] = [np.full(len(self.iou), np.nan)] * len(keys)
        scores, rows = self.panoptic, []
        for i, info in enumerate(scores.label_space.classes):
            if scores.present[i] or not np.isnan(self.iou[i]):
                values = [number(column[i]) for column in columns] + [number(self.iou[i])]
                counts = [str(values_[i]) for values_ in (scores.tp, scores.fp, scores.fn)]
                rows.append([info.name, "thing" if info.is_thing else "stuff", *values, *counts])
        return header, rows

    def depth_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and the one row of the depth table."""
        d = self.depth
        header = ["abs rel", "sq rel [m]", "RMSE [m]", "RMSE log", "SILog", "<1.25", "<1.25²", "<1.25³", "coverage"]
        values = [d.abs_rel, d.sq_rel, d.rmse_m, d.rmse_log, d.silog, d.delta1, d.delta2, d.delta3, d.coverage]
        places = [4, 3, 3, 4, 2, 4, 4, 4, 4]
        return header, [[number(value, digits) for value, digits in zip(values, places, strict=True)]]

    def notes(self) -> list[str]:
        """Sentences that belong below the tables."""
        lines = [
            f"{self.images} images, {self.images_with_depth} with depth. Means are over the classes that occur; "
            f"over all {len(self.iou)} classes, absent ones as 0: PQ {number(self.pq_all_classes)}, "
            f"DPQ {number(self.dpq_all_classes)}.",
            f"mIoU {number(self.miou)} over {np.count_nonzero(~np.isnan(self.iou))} classes.",
        ]
        if self.images_with_depth:
            low, high = self.settings["min_depth_m"], self.settings["max_depth_m"]
            upper = "without upper limit" if high is None else f"to {high:g} m"
            lines.append(f"Depth over {self.depth.valid_px} pixels with ground truth from {low:g} m {upper}.")
        return lines

    def table(self) -> str:
        """Plain text for the terminal."""
        parts = [text_table(*self.headline()), text_table(*self.class_table(), left=2)]
        if self.images_with_depth:
            parts.append(text_table(*self.depth_table(), left=0))
        return "\n\n".join([*parts, "\n".join(self.notes())])


def number(value: float, digits: int = 2) -> str:
    """A number with fixed digits; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns with a rule below the header; the first `left` columns flush left, the others right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for a README."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])

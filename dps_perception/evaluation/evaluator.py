"""The streaming evaluator: images go in one by one, on one process or many, scores come out at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DatasetError
from ..labels import LABEL_DIVISOR, LabelSpace
from .depth import DepthSums, error_level
from .panoptic import PanopticCounts, SegmentTable, segment_tables
from .scores import Scores

DPQ_LAMBDAS = (0.5, 0.25, 0.1)
MAX_DEPTH_M = 80.0  # the usual cap of outdoor depth benchmarks; math.inf lifts it


class Evaluator:
    """Counts and exact sums over images; the scores don't depend on the order of images or on how they were split.

    Evaluators are picklable, so that each process can fill its own and one can `merge` them.

    Args:
        label_space: classes of predictions and ground truth.
        min_depth_m: depth errors leave out ground truth below. DPQ has no caps.
        max_depth_m: depth errors leave out ground truth above.
        lambdas: relative depth errors above which DPQ takes a predicted pixel away.

    Raises:
        ConfigError: the caps leave nothing between them, or a lambda is not positive.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        min_depth_m: float = 0.0,
        max_depth_m: float = MAX_DEPTH_M,
        lambdas: Sequence[float] = DPQ_LAMBDAS,
    ) -> None:
        if not lambdas or min(lambdas) <= 0 or len(set(lambdas)) != len(lambdas):
            raise ConfigError(f"DPQ lambdas are {list(lambdas)}; give one or more different numbers above 0")
        self.label_space = label_space
        self.lambdas = tuple(lambdas)
        self.images = 0
        self.images_with_depth = 0
        number = len(label_space)
        self._panoptic = PanopticCounts(label_space)
        self._depth_panoptic = {threshold: PanopticCounts(label_space) for threshold in sorted(lambdas)}
        self._depth = DepthSums(min_depth_m, max_depth_m)
        self._confusion = np.zeros((number, number + 1), np.int64)  # ground truth x prediction, void last

    def update(
        self,
        panoptic: NDArray[np.uint16],
        depth_m: NDArray[np.float32] | None,
        gt_panoptic: NDArray[np.uint16],
        gt_depth_m: NDArray[np.float32] | None,
    ) -> None:
        """Add one image; DPQ and depth errors only count images that have both depths.

        Args:
            panoptic: (H, W) uint16 predicted panoptic ids.
            depth_m: (H, W) predicted depth, metres.
            gt_panoptic: (H, W) uint16 true panoptic ids.
            gt_depth_m: (H, W) true depth, metres; NaN unknown, +Inf sky or beyond range.

        Raises:
            DatasetError: sizes differ, or an id is not of the label space. Nothing is added then.
        """
        others = {"predicted depth": depth_m, "true panoptic ids": gt_panoptic, "true depth": gt_depth_m}
        for name, array in others.items():
            if array is not None and array.shape != panoptic.shape:
                raise DatasetError(
                    f"{name} are {array.shape}, predicted panoptic ids {panoptic.shape}; sizes must agree"
                )
        if depth_m is None or gt_depth_m is None:
            (table,) = segment_tables(panoptic, gt_panoptic, self.label_space)
        else:
            ascending = list(self._depth_panoptic)
            level = error_level(depth_m, gt_depth_m, ascending)
            # The last table has every level, so it is the plain prediction.
            *tables, table = segment_tables(panoptic, gt_panoptic, self.label_space, level, len(ascending) + 1)
            for threshold, at_threshold in zip(ascending, tables, strict=True):
                self._depth_panoptic[threshold].add(at_threshold)
            self._depth.add(depth_m, gt_depth_m)
            self.images_with_depth += 1
        self._panoptic.add(table)
        self._add_confusion(table)
        self.images += 1

    def merge(self, other: Evaluator) -> None:
        """Add what another evaluator has counted.

        Raises:
            ConfigError: it has other settings.
        """
        if self.label_space != other.label_space or self._settings() != other._settings():
            raise ConfigError(
                f"evaluators differ: label space '{self.label_space.name}' with {self._settings()}, "
                f"'{other.label_space.name}' with {other._settings()}"
            )
        self._panoptic.merge(other._panoptic)
        for threshold, counts in self._depth_panoptic.items():
            counts.merge(other._depth_panoptic[threshold])
        self._depth.merge(other._depth)
        self._confusion += other._confusion
        self.images += other.images
        self.images_with_depth += other.images_with_depth

    def fresh(self) -> Evaluator:
        """An empty evaluator with the same settings."""
        return Evaluator(
            self.label_space,
            min_depth_m=self._depth.min_depth_m,
            max_depth_m=self._depth.max_depth_m,
            lambdas=self.lambdas,
        )

    def compute(self) -> Scores:
        """The scores of everything added so far; more may be added after."""
        hits = np.diag(self._confusion)
        union = self._confusion.sum(axis=1) + self._confusion[:, :-1].sum(axis=0) - hits
        iou = np.where(union > 0, 100.0 * hits / np.maximum(union, 1), np.nan)
        return Scores(
            panoptic=self._panoptic.scores(),
            depth_panoptic={threshold: self._depth_panoptic[threshold].scores() for threshold in self.lambdas},
            depth=self._depth.scores(),
            iou=iou,
            images=self.images,
            images_with_depth=self.images_with_depth,
            settings=self._settings(),
        )

    def _add_confusion(self, table: SegmentTable) -> None:
        number = len(self.label_space)
        row = table.gt_ids[:-1] // LABEL_DIVISOR
        column = np.append(table.pred_ids[:-1] // LABEL_DIVISOR, number)
        cell = row[:, None] * (number + 1) + column
        np.add.at(self._confusion.reshape(-1), cell, table.pixels[:-1])

    def _settings(self) -> dict[str, Any]:
        upper = self._depth.max_depth_m
        return {
            "lambdas": list(self.lambdas),
            "min_depth_m": self._depth.min_depth_m,
            "max_depth_m": upper if math.isfinite(upper) else None,
        }

"""How well track numbers stay with the true objects of a drive: ID switches as CLEAR MOT counts them, and IDF1.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics" (2008); Ristani et
al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking" (2016).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..labels import LabelSpace
from .panoptic import segment_tables


@dataclass(frozen=True)
class TrackingScores:
    """Counts over all drives.

    Attributes:
        frames: scored.
        objects: true things, each counted in every frame in which it is seen.
        detections: predicted things with a track number, likewise.
        matches: of these, pairs that cover each other (IoU above 0.5, whatever their classes).
        switches: matches of an object whose last match, however long ago, had another track number.
        identity_matches: matches that remain when each object is given one track, and each track one object, for good:
            as many as possible.
        tracks: different track numbers.
    """

    frames: int
    objects: int
    detections: int
    matches: int
    switches: int
    identity_matches: int
    tracks: int

    @property
    def switches_per_100(self) -> float:
        """ID switches in 100 matches; NaN without matches."""
        return 100 * self.switches / self.matches if self.matches else float("nan")

    @property
    def idf1(self) -> float:
        """Percent: identity matches over the mean of objects and detections; NaN without either."""
        number = self.objects + self.detections
        return 200 * self.identity_matches / number if number else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON (None where nothing was matched)."""
        shares = {"switches_per_100": self.switches_per_100, "idf1": self.idf1}
        return asdict(self) | {name: None if math.isnan(value) else value for name, value in shares.items()}


class TrackingEvaluator:
    """Takes the frames of one drive after another.

    True objects are the things of the ground truth, known by their panoptic ids, which must stay over a drive. Pixels
    that are void there, or crowd, count for nobody.

    Args:
        label_space: of predictions and ground truth.
    """

    def __init__(self, label_space: LabelSpace) -> None:
        self.label_space = label_space
        self._frames = self._objects = self._detections = self._switches = 0
        self._drive = 0
        self._last: dict[int, int] = {}
        self._together: Counter[tuple[int, int, int]] = Counter()
        self._tracks: set[tuple[int, int]] = set()

    def start(self) -> None:
        """The next frame begins another drive: neither objects nor tracks go on."""
        self._drive += 1
        self._last = {}

    def update(
        self, panoptic: NDArray[np.uint16], track_ids: Mapping[int, int], gt_panoptic: NDArray[np.uint16]
    ) -> None:
        """Take the next frame.

        Args:
            panoptic: (H, W) predicted panoptic ids.
            track_ids: track numbers by predicted panoptic id; things without one are left out.
            gt_panoptic: (H, W) true ones.

        Raises:
            DatasetError: the images don't fit each other or the label space.
        """
        objects, detections, pairs = match_things(panoptic, gt_panoptic, self.label_space)
        tracked = {id_: track_ids[id_] for id_ in detections if id_ in track_ids}
        self._frames += 1
        self._objects += len(objects)
        self._detections += len(tracked)
        self._tracks |= {(self._drive, track) for track in tracked.values()}
        for true, found in pairs:
            if found in tracked:
                track = tracked[found]
                self._switches += self._last.get(true, track) != track
                self._last[true] = track
                self._together[self._drive, true, track] += 1

    def compute(self) -> TrackingScores:
        """Scores of all frames so far."""
        return TrackingScores(
            self._frames,
            self._objects,
            self._detections,
            sum(self._together.values()),
            self._switches,
            _identity_matches(self._together),
            len(self._tracks),
        )


def match_things(
    panoptic: NDArray[np.uint16], gt_panoptic: NDArray[np.uint16], label_space: LabelSpace
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """The true and the predicted things of an image by panoptic id, and the (true, predicted) pairs with IoU above 0.5.

    Predicted things that lie on void or crowd for the most part are left out. Classes need not be equal: what a thing
    is taken for in one frame is another matter than whether it is known again.

    Raises:
        DatasetError: an id is not of this label space, or the sizes differ.
    """
    (table,) = segment_tables(panoptic, gt_panoptic, label_space)
    gt_ids, pred_ids, shared = table.gt_ids[:-1], table.pred_ids[:-1], table.pixels[:-1, :-1]
    area, pred_area = table.pixels.sum(axis=1)[:-1], table.pixels.sum(axis=0)[:-1]
    is_object = label_space.is_instance(gt_ids)
    nobodys = table.pixels[-1, :-1] + shared[label_space.is_crowd(gt_ids)].sum(axis=0)
    counted = label_space.is_instance(pred_ids) & (2 * nobodys <= pred_area)
    union = area[:, None] + (pred_area - nobodys) - shared
    row, column = np.nonzero(is_object[:, None] & counted & (2 * shared > union))
    pairs = list(zip(gt_ids[row].tolist(), pred_ids[column].tolist(), strict=True))
    return gt_ids[is_object].tolist(), pred_ids[counted].tolist(), pairs


def _identity_matches(together: Mapping[tuple[int, int, int], int]) -> int:
    """Most matches that remain when objects and tracks belong to each other one to one, each drive by itself."""
    total = 0
    for drive in {key[0] for key in together}:
        of_drive = {key[1:]: number for key, number in together.items() if key[0] == drive}
        objects, tracks = (sorted({key[i] for key in of_drive}) for i in (0, 1))
        table = np.zeros((len(objects), len(tracks)), np.int64)
        for (true, track), number in of_drive.items():
            table[objects.index(true), tracks.index(track)] = number
        total += int(table[linear_sum_assignment(table, maximize=True)].sum())
    return total

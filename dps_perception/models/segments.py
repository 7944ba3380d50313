"""From what owns the pixels to numbered segments: thresholds, dropping, merging, ids; the same for every family."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..labels import MAX_INSTANCE_ID, VOID_PANOPTIC_ID, LabelSpace, pack
from ..types import Segment


@dataclass(frozen=True)
class FusionThresholds:
    """What decides which queries become segments; all live parameters of the node.

    Attributes:
        score_things, score_stuff: lowest query score (class probability x mean mask probability inside the mask).
        mask: a pixel belongs to its best query only at or above this mask probability, else it is void.
        overlap: a segment is dropped where less than this share of its own mask survives the argmax.
        stuff_area_px: smallest stuff segment, in pixels of the output grid.
    """

    score_things: float = 0.2
    score_stuff: float = 0.2
    mask: float = 0.5
    overlap: float = 0.6
    stuff_area_px: int = 0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "stuff_area_px"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"threshold {name} is {getattr(self, name)}; it must be within 0..1")
        if self.stuff_area_px < 0:
            raise ConfigError(f"threshold stuff_area_px is {self.stuff_area_px}; it must be 0 or more")


@dataclass(frozen=True)
class Kept:
    """The queries that become segments: their numbers, classes, class probabilities and scores, (K,) each."""

    queries: NDArray[np.int64]
    class_id: NDArray[np.int64]
    probability: NDArray[np.float32]
    score: NDArray[np.float32]


def score_limits(class_id: NDArray[np.int64], space: LabelSpace, thresholds: FusionThresholds) -> NDArray[np.float32]:
    """(K,) the lowest score that each of these classes may have."""
    limits = np.where(space.is_thing[class_id], thresholds.score_things, thresholds.score_stuff)
    return limits.astype(np.float32)


def number_segments(
    kept: Kept,
    owned: NDArray[np.int64],
    own_mask: NDArray[np.int64],
    label_space: LabelSpace,
    thresholds: FusionThresholds,
) -> tuple[NDArray[np.uint16], NDArray[np.float32], tuple[Segment, ...]]:
    """Drop, merge and number the segments.

    Returns:
        Panoptic id and class probability for each owner: (K + 1,), void and 0 for those that are dropped and for the
        last, who stands for nobody; and the segments. Without kept queries everything is void, whoever took part.
    """
    count = len(owned)
    ids, confidence = np.full(count + 1, VOID_PANOPTIC_ID, np.uint16), np.zeros(count + 1, np.float32)
    if len(kept.queries) == 0:
        return ids, confidence, ()
    alive = (owned > 0) & (owned >= thresholds.overlap * own_mask)
    class_id, scores = kept.class_id, kept.score.astype(np.float64)
    segments: list[Segment] = []
    used: dict[int, int] = {}
    for k in np.argsort(-scores, kind="stable"):
        c = int(class_id[k])
        if not alive[k] or not label_space.is_thing[c] or used.get(c, 0) == MAX_INSTANCE_ID:
            continue
        used[c] = used.get(c, 0) + 1
        ids[k] = pack(c, used[c])
        segments.append(Segment(int(ids[k]), c, used[c], True, float(scores[k]), int(owned[k])))
    for c in np.unique(class_id[alive]):
        members = np.flatnonzero(alive & (class_id == c))
        area = int(owned[members].sum())
        if label_space.is_thing[c] or area < thresholds.stuff_area_px:
            continue
        ids[members] = pack(int(c), 0)
        mean_score = float((scores[members] * owned[members]).sum() / area)
        segments.append(Segment(int(ids[members[0]]), int(c), 0, False, mean_score, area))
    confidence[:count] = np.where(ids[:count] == VOID_PANOPTIC_ID, 0, kept.probability)
    return ids, confidence, tuple(segments)

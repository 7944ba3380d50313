"""Panoptic quality: hand-worked cases on one row of pixels, and torchmetrics as an outside opinion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.detection import PanopticQuality

from dps_perception.errors import ConfigError, DatasetError
from dps_perception.evaluation import Evaluator, Scores
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID, ClassInfo, LabelSpace, pack

SPACE = LabelSpace(
    "three",
    (ClassInfo("road", False, (1, 1, 1)), ClassInfo("sky", False, (2, 2, 2)), ClassInfo("car", True, (3, 3, 3))),
)
ROAD, SKY, CAR = 0, 1, 2
CROWD, CAR1, CAR2 = (int(pack(CAR, i)) for i in (0, 1, 2))
ROAD0, SKY0, VOID = int(pack(ROAD, 0)), int(pack(SKY, 0)), VOID_PANOPTIC_ID


def row(*runs: tuple[int, int]) -> NDArray[np.uint16]:
    """A one-row image of (panoptic id, length) runs."""
    return np.concatenate([np.full(length, value, np.uint16) for value, length in runs])[None]


def score(prediction: NDArray[np.uint16], truth: NDArray[np.uint16], space: LabelSpace = SPACE) -> Scores:
    evaluator = Evaluator(space)
    evaluator.update(prediction, None, truth, None)
    return evaluator.compute()


def counts(scores: Scores, class_id: int) -> tuple[int, int, int]:
    p = scores.panoptic
    return int(p.tp[class_id]), int(p.fp[class_id]), int(p.fn[class_id])


def test_perfect_prediction_is_100_over_the_classes_that_occur():
    image = row((ROAD0, 4), (CAR1, 3), (CAR2, 2), (VOID, 1))
    scores = score(image, image)
    assert (scores.pq, scores.sq, scores.rq) == (100, 100, 100)
    assert (scores.pq_things, scores.pq_stuff) == (100, 100)
    assert scores.miou == 100
    assert counts(scores, CAR) == (2, 0, 0)
    quality = scores.panoptic.all
    assert (quality.classes_present, quality.classes) == (2, 3)
    assert scores.pq_all_classes == pytest.approx(200 / 3)


def test_iou_of_exactly_one_half_does_not_match():
    # car: 4 true, 2 predicted pixels, all inside: IoU 2/4
    scores = score(row((CAR1, 2), (ROAD0, 8)), row((CAR1, 4), (ROAD0, 6)))
    assert counts(scores, CAR) == (0, 1, 1)
    assert scores.pq_things == 0


def test_iou_just_above_one_half_matches():
    # car: 5 true, 3 predicted, all inside: IoU 3/5; road: 5 true, 7 predicted: IoU 5/7
    scores = score(row((CAR1, 3), (ROAD0, 7)), row((CAR1, 5), (ROAD0, 5)))
    assert counts(scores, CAR) == (1, 0, 0)
    assert scores.pq_things == pytest.approx(60)
    assert scores.pq == pytest.approx((60 + 500 / 7) / 2)


def test_pq_is_sq_times_rq_with_false_positive_and_miss():
    # car 1 matched with IoU 3/4; predicted car 2 on road: FP; true car 3 predicted as road: FN. RQ = 1 / (1 + 1)
    car3 = int(pack(CAR, 3))
    prediction = row((CAR1, 3), (ROAD0, 9), (CAR2, 2))
    truth = row((CAR1, 4), (ROAD0, 4), (car3, 4), (ROAD0, 2))
    scores = score(prediction, truth)
    assert counts(scores, CAR) == (1, 1, 1)
    assert (scores.panoptic.things.sq, scores.panoptic.things.rq) == (75, 50)
    assert scores.pq_things == pytest.approx(37.5)


def test_ground_truth_void_is_left_out_of_the_union():
    # car: 2 true pixels; predicted on them and on 2 void pixels. Union without void is 2, so IoU is 1, not 1/2.
    scores = score(row((CAR1, 4), (ROAD0, 4)), row((CAR1, 2), (VOID, 2), (ROAD0, 4)))
    assert counts(scores, CAR) == (1, 0, 0)
    assert scores.panoptic.things.sq == 100


@pytest.mark.parametrize(("on_void", "false_positives"), [(2, 1), (3, 0)])
def test_prediction_is_forgiven_only_above_half_on_void(on_void, false_positives):
    prediction = row((CAR1, 4), (ROAD0, 10))
    truth = row((VOID, on_void), (ROAD0, 14 - on_void))
    assert counts(score(prediction, truth), CAR) == (0, false_positives, 0)


@pytest.mark.parametrize(("on_crowd", "false_positives"), [(2, 1), (3, 0)])
def test_prediction_is_forgiven_only_above_half_on_a_crowd_of_its_class(on_crowd, false_positives):
    prediction = row((CAR1, 4), (ROAD0, 10))
    truth = row((CROWD, on_crowd), (ROAD0, 14 - on_crowd))
    assert counts(score(prediction, truth), CAR) == (0, false_positives, 0)


def test_void_and_crowd_count_together_for_forgiveness():
    scores = score(row((CAR1, 4), (ROAD0, 9)), row((CROWD, 2), (VOID, 1), (ROAD0, 10)))
    assert counts(scores, CAR) == (0, 0, 0)


def test_a_crowd_of_another_class_forgives_nothing():
    two_things = LabelSpace("two", (ClassInfo("car", True, (1, 1, 1)), ClassInfo("bus", True, (2, 2, 2))))
    scores = score(row((int(pack(0, 1)), 4)), row((int(pack(1, 0)), 4)), two_things)
    assert counts(scores, 0) == (0, 1, 0)


def test_a_crowd_is_neither_matched_nor_missed():
    matched = score(row((CROWD, 4)), row((CROWD, 4)))
    assert counts(matched, CAR) == (0, 0, 0)
    missed = score(row((ROAD0, 4)), row((CROWD, 4)))
    assert counts(missed, CAR) == (0, 0, 0)
    assert counts(missed, ROAD) == (0, 1, 0)
    assert missed.iou[CAR] == 0, "semantically the crowd's pixels are still cars"


def test_another_class_on_the_same_pixels_is_a_false_positive_and_a_miss():
    scores = score(row((SKY0, 5)), row((ROAD0, 5)))
    assert counts(scores, SKY) == (0, 1, 0)
    assert counts(scores, ROAD) == (0, 0, 1)
    assert scores.pq == 0
    assert scores.miou == 0


def test_void_in_the_prediction_is_no_segment_but_misses_pixels():
    # car 4 true: 3 predicted, 1 void: IoU 3/4, and void is nobody's false positive
    scores = score(row((CAR1, 3), (VOID, 1)), row((CAR1, 4)))
    assert scores.panoptic.fp.sum() == 0
    assert scores.pq == 75
    assert scores.miou == 75


def test_nothing_to_score_gives_no_numbers():
    evaluator = Evaluator(SPACE)
    assert np.isnan(evaluator.compute().pq)
    evaluator.update(row((VOID, 4)), None, row((VOID, 4)), None)
    scores = evaluator.compute()
    assert scores.images == 1
    assert np.isnan([scores.pq, scores.pq_things, scores.miou, scores.dpq, scores.abs_rel]).all()
    assert scores.to_dict()["panoptic"]["all"] == {
        "pq": None, "sq": None, "rq": None, "pq_all_classes": None, "classes_present": 0, "classes": 3,
    }  # fmt: skip
    assert " - " in scores.table()


def test_counts_are_summed_over_images_before_the_mean():
    # image 1: IoU 1; image 2: a miss. PQ = 1 / (1 + 1/2), not the mean of 100 and 0.
    evaluator = Evaluator(SPACE)
    evaluator.update(row((CAR1, 4)), None, row((CAR1, 4)), None)
    evaluator.update(row((VOID, 4)), None, row((CAR1, 4)), None)
    assert evaluator.compute().pq == pytest.approx(200 / 3)


def test_all_255_instances_and_all_ids_of_void_are_understood():
    prediction = np.append(pack(CAR, np.arange(1, 256)), np.uint16(65280))[None]
    truth = np.append(pack(CAR, np.arange(1, 256)), np.uint16(VOID))[None]
    assert counts(score(prediction, truth), CAR) == (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (row((int(pack(7, 0)), 4)), r"class ids \[7\].*'three' has 0\.\.2"),
        (row((int(pack(ROAD, 5)), 4)), "instance 5 of stuff class 'road'"),
        (row((ROAD0, 4)).astype(np.int32), "int32"),
    ],
)
def test_ids_of_another_kind_are_refused_and_nothing_is_counted(image, says):
    evaluator = Evaluator(SPACE)
    with pytest.raises(DatasetError, match=f"prediction.*{says}"):
        evaluator.update(image, None, row((ROAD0, 4)), None)
    with pytest.raises(DatasetError, match=f"ground truth.*{says}"):
        evaluator.update(row((ROAD0, 4)), None, image, None)
    assert evaluator.images == 0
    assert np.isnan(evaluator.compute().pq)


def test_sizes_must_agree():
    with pytest.raises(DatasetError, match=r"\(1, 4\).*\(1, 5\)"):
        Evaluator(SPACE).update(row((ROAD0, 5)), None, row((ROAD0, 4)), None)


def test_merge_refuses_other_settings():
    with pytest.raises(ConfigError, match=r"three.*cityscapes"):
        Evaluator(SPACE).merge(Evaluator(CITYSCAPES))
    with pytest.raises(ConfigError, match="max_depth_m"):
        Evaluator(SPACE).merge(Evaluator(SPACE, max_depth_m=60.0))


def test_agrees_with_torchmetrics_on_random_images():
    """No void and no crowd: there the conventions agree (it averages over the classes that occur, too)."""
    rng = np.random.default_rng(1)
    stuff, things = {0, 1, 2}, {3, 4}
    space = LabelSpace("five", tuple(ClassInfo(f"c{i}", i in things, (i, i, i)) for i in range(5)))
    reference = PanopticQuality(things=things, stuffs=stuff, return_per_class=True, return_sq_and_rq=True)
    evaluator = Evaluator(space)
    for _ in range(6):
        blocks = rng.integers(0, 5, (8, 12))
        instances = np.where(blocks >= 3, rng.integers(1, 4, blocks.shape), 0)
        truth = np.stack([np.kron(a, np.ones((8, 8), np.int64)) for a in (blocks, instances)], -1)
        shifted = np.roll(truth, (1, 2), (0, 1))
        prediction = np.where(rng.random(truth.shape[:2])[..., None] < 0.97, shifted, np.roll(shifted, 24, 1))
        reference.update(torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None])
        evaluator.update(pack(prediction[..., 0], prediction[..., 1]), None, pack(truth[..., 0], truth[..., 1]), None)
    mine = np.stack(evaluator.compute().panoptic.per_class(), -1) / 100
    theirs = reference.compute().numpy()  # (class, (pq, sq, rq)), things before stuff
    assert (mine[:, 0] > 0.05).all(), "a test of zeros would show nothing"
    np.testing.assert_allclose(mine[[3, 4, 0, 1, 2]], theirs.reshape(5, 3), atol=1e-6)

"""Depth errors and DPQ by hand, and that a split over processes changes nothing."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from dps_perception.errors import ConfigError, DatasetError
from dps_perception.evaluation import Evaluator, Scores
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace, pack

SPACE = LabelSpace("two", (ClassInfo("road", False, (1, 1, 1)), ClassInfo("car", True, (2, 2, 2))))
NAN, INF = math.nan, math.inf


def depth_row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def score(depth_m, gt_depth_m, panoptic=None, gt_panoptic=None, **settings) -> Scores:
    road = np.zeros(depth_m.shape, np.uint16)
    evaluator = Evaluator(SPACE, **settings)
    evaluator.update(
        road if panoptic is None else panoptic, depth_m, road if gt_panoptic is None else gt_panoptic, gt_depth_m
    )
    return evaluator.compute()


def test_depth_errors_by_hand():
    d = score(depth_row(12, 4), depth_row(10, 5)).depth
    assert d.valid_px == 2
    assert d.abs_rel == pytest.approx((2 / 10 + 1 / 5) / 2)
    assert d.sq_rel == pytest.approx((4 / 10 + 1 / 5) / 2)
    assert d.rmse_m == pytest.approx(math.sqrt((4 + 1) / 2))
    first, second = math.log(1.2), math.log(0.8)
    assert d.rmse_log == pytest.approx(math.sqrt((first**2 + second**2) / 2))
    assert d.silog == pytest.approx(100 * (first - second) / 2)


def test_silog_does_not_see_a_common_scale():
    d = score(depth_row(20, 40, 10), depth_row(10, 20, 5)).depth
    assert d.silog == pytest.approx(0, abs=1e-4)
    assert d.rmse_log == pytest.approx(math.log(2))


def test_deltas_are_strict_and_two_sided():
    # ratios 1.25 (not below 1.25), 1/1.2, 1.6 (above 1.25^2 = 1.5625, below 1.25^3 = 1.953125), 2
    d = score(depth_row(5, 5, 16, 20), depth_row(4, 6, 10, 10)).depth
    assert (d.delta1, d.delta2, d.delta3) == (0.25, 0.5, 0.75)


def test_sky_unknown_and_zero_ground_truth_are_left_out():
    d = score(depth_row(12, 1, 1, 1, 1), depth_row(10, INF, NAN, 0, -3)).depth
    assert d.valid_px == 1
    assert d.abs_rel == pytest.approx(0.2)


def test_caps_choose_by_ground_truth_and_include_their_ends():
    truth, prediction = depth_row(1, 2, 80, 81), depth_row(5, 2.2, 88, 5)
    d = score(prediction, truth, min_depth_m=2.0, max_depth_m=80.0).depth
    assert d.valid_px == 2
    assert d.abs_rel == pytest.approx(0.1), "a prediction beyond the cap is not clipped"


def test_prediction_without_depth_lowers_coverage():
    d = score(depth_row(12, NAN, 0, INF), depth_row(10, 10, 10, 10)).depth
    assert d.coverage == 0.25
    assert d.abs_rel == pytest.approx(0.2)


def test_uint16_depth_does_not_wrap():
    """Differences of unsigned numbers wrap around unless they are cast first."""
    prediction, truth = np.array([[10]], np.uint16), np.array([[20]], np.uint16)
    assert score(prediction, truth).abs_rel == pytest.approx(0.5)
    assert score(prediction, truth).rmse_m == pytest.approx(10)


def test_no_valid_pixel_gives_no_numbers():
    scores = score(depth_row(1, 2), depth_row(NAN, INF))
    assert np.isnan([scores.abs_rel, scores.rmse_m, scores.delta1, scores.depth.silog, scores.depth.coverage]).all()
    assert scores.to_dict()["depth"]["abs_rel"] is None


def test_dpq_by_hand():
    """One road of 10 pixels, depth 8 m. Off by 0.5, 0.25 and 0.125 (exactly in binary) and right elsewhere.

    Relative errors: 2 pixels 0.5, 2 pixels 0.25, 1 pixel 0.125, 5 pixels 0. Strictly above 0.5: none, so 10/10;
    above 0.25: 2, IoU 8/10; above 0.1: 5, IoU 5/10, not above one half: no match, and an FP and an FN.
    """
    truth = np.full((1, 10), 8, np.float32)
    prediction = depth_row(12, 4, 10, 6, 9, 8, 8, 8, 8, 8)
    scores = score(prediction, truth)
    assert scores.pq == 100
    assert scores.dpq_at == {0.5: 100, 0.25: 80, 0.1: 0}
    assert scores.dpq == 60
    assert scores.dpq_stuff == 60
    assert scores.depth_panoptic[0.1].fp[0] == scores.depth_panoptic[0.1].fn[0] == 1


def test_dpq_lambda_is_strict_in_decimal_too():
    truth, prediction = np.full((1, 4), 10, np.float32), depth_row(11, 9, 12.5, 15)
    scores = score(prediction, truth, lambdas=(0.1,))
    assert scores.depth_panoptic[0.1].tp[0] == 0, "11 and 9 stay, 12.5 and 15 go: IoU 1/2"
    scores = score(prediction[:, :3], truth[:, :3], lambdas=(0.1,))
    assert scores.dpq == pytest.approx(200 / 3)


def test_pixels_without_true_depth_stay_and_pixels_without_predicted_depth_go():
    truth, prediction = depth_row(NAN, INF, 10, 10), depth_row(1, 1, 10, NAN)
    assert score(prediction, truth, lambdas=(0.5,)).dpq == 75


def test_a_segment_whose_depth_is_all_wrong_vanishes_rather_than_being_a_false_positive():
    car = pack(1, 1)
    panoptic = np.array([[car, car, 0, 0]], np.uint16)
    scores = score(depth_row(30, 30, 10, 10), depth_row(10, 10, 10, 10), panoptic, panoptic)
    counted = scores.depth_panoptic[0.5]
    assert (counted.tp[1], counted.fp[1], counted.fn[1]) == (0, 0, 1)
    assert scores.dpq == 50


def test_images_without_depth_count_for_pq_only():
    evaluator = Evaluator(SPACE)
    image, depth = np.zeros((2, 2), np.uint16), np.full((2, 2), 5, np.float32)
    evaluator.update(image, None, image, depth)
    evaluator.update(image, depth, image, None)
    assert math.isnan(evaluator.compute().dpq)
    evaluator.update(image, 1.05 * depth, image, depth)
    scores = evaluator.compute()
    assert (scores.images, scores.images_with_depth) == (3, 1)
    assert (scores.pq, scores.dpq) == (100, 100)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match=r"80.*10"):
        Evaluator(SPACE, min_depth_m=80, max_depth_m=10)
    for lambdas in ((), (0.0, 0.5), (0.5, 0.5)):
        with pytest.raises(ConfigError, match="lambdas"):
            Evaluator(SPACE, lambdas=lambdas)
    with pytest.raises(DatasetError, match=r"true depth.*\(1, 3\).*\(1, 2\)"):
        score(depth_row(1, 2), depth_row(1, 2, 3))


def random_images(number: int):
    rng = np.random.default_rng(5)
    for _ in range(number):
        classes = rng.integers(0, 19, 30)
        ids = pack(classes, np.where(CITYSCAPES.is_thing[classes], rng.integers(0, 9, 30), 0))
        truth = np.kron(ids[rng.integers(0, 30, (6, 9))], np.ones((8, 8), np.uint16))
        truth[rng.random(truth.shape) < 0.05] = 65535
        noise = rng.random(truth.shape)
        prediction = np.where(noise < 0.9, truth, np.roll(truth, 9, 1))
        gt_depth = rng.uniform(1, 90, truth.shape).astype(np.float32)
        depth = (gt_depth * np.exp(rng.normal(0, 0.3, truth.shape))).astype(np.float32)
        gt_depth[noise > 0.95] = rng.choice([NAN, INF])
        yield prediction, depth, truth, gt_depth


def test_any_split_and_order_gives_exactly_the_same_scores():
    images = list(random_images(9))
    single = Evaluator(CITYSCAPES, max_depth_m=80.0)
    for image in images:
        single.update(*image)
    expected = single.compute().to_dict()
    assert expected["panoptic"]["all"]["pq"] > 10
    for parts in (2, 3, 5):
        merged = Evaluator(CITYSCAPES, max_depth_m=80.0)
        for part in reversed(range(parts)):
            worker = Evaluator(CITYSCAPES, max_depth_m=80.0)
            for image in images[part::parts]:
                worker.update(*image)
            merged.merge(pickle.loads(pickle.dumps(worker)))
        assert merged.compute().to_dict() == expected


def test_dpq_equals_pq_of_the_prediction_voided_by_hand():
    """Many segments at once against the definition, one threshold at a time."""
    for prediction, depth, truth, gt_depth in random_images(3):
        scores = Evaluator(CITYSCAPES)
        scores.update(prediction, depth, truth, gt_depth)
        for threshold, at in scores.compute().dpq_at.items():
            with np.errstate(invalid="ignore"):
                error = np.abs(depth.astype(float) - gt_depth) / gt_depth
            voided = np.where(np.isfinite(gt_depth) & (error > threshold), np.uint16(65535), prediction)
            plain = Evaluator(CITYSCAPES)
            plain.update(voided, None, truth, None)
            assert at == pytest.approx(plain.compute().pq, abs=1e-12)
            assert at < scores.compute().pq

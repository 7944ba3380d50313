import cv2
import numpy as np
import pytest
import torch

from dps_perception.errors import ConfigError
from dps_perception.kernels.fusion_rows import fuse_rows, label_rows, mean_probability
from dps_perception.labels import CITYSCAPES
from dps_perception.models import fusion
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.efficientdps_fusion import fuse
from dps_perception.models.families import warm_up
from dps_perception.models.segments import FusionThresholds
from dps_perception.types import OutputGrid

ROAD, SKY, CAR, PERSON = 0, 10, 13, 11
GRID = OutputGrid(32, 64, 1.0, 1.0)


def logit(p):
    return float(np.log(p / (1 - p)))


def make(queries, height=4, width=8):
    """Tensors of one image from (class id, class probability, mask logits (h, w), depth logit) rows."""
    classes = torch.full((1, len(queries), 19), -9.0)
    masks = torch.empty(1, len(queries), height, width)
    depths = torch.empty(1, len(queries), height, width)
    for i, (class_id, probability, mask, depth) in enumerate(queries):
        classes[0, i, class_id] = logit(probability)
        masks[0, i] = torch.as_tensor(mask, dtype=torch.float32)
        depths[0, i] = depth
    return {"class_logits": classes, "mask_logits": masks, "depth_logits": depths}


def run(tensors, grid=GRID, max_depth_m=88.0, depth_scale=1.0, **thresholds):
    config = EfficientDPSConfig(max_depth_m=max_depth_m)
    return fuse(tensors, config, CITYSCAPES, FusionThresholds(**thresholds), grid, depth_scale)


def halves(left, right, height=4, width=8):
    mask = np.full((height, width), left, float)
    mask[:, width // 2 :] = right
    return mask


def upsample(array, height, width):
    """cv2's bilinear resize: an implementation that is not ours."""
    return cv2.resize(np.asarray(array, np.float64), (width, height), interpolation=cv2.INTER_LINEAR)


def test_dense_depth_is_equation_4_over_mask_logits_of_kept_queries():
    random = np.random.default_rng(0)
    rows = [(ROAD, 0.9, random.normal(0, 3, (4, 8)), random.normal(0, 1)) for _ in range(3)]
    rows.append((CAR, 0.05, random.normal(8, 3, (4, 8)), 5.0))  # below the score threshold: must not take part
    got = run(make([(c, p, m, torch.full((4, 8), d)) for c, p, m, d in rows])).depth_m
    numerator, denominator = np.zeros((32, 64)), np.zeros((32, 64))
    for _, _, mask, depth in rows[:3]:
        m = upsample(mask, 32, 64)
        numerator += np.exp(m) * 88.0 / (1 + np.exp(-depth))
        denominator += np.exp(m)
    np.testing.assert_allclose(got, numerator / denominator, rtol=1e-4)


def test_depth_logits_are_upsampled_before_the_sigmoid():
    depth = np.random.default_rng(1).normal(0, 2, (4, 8)).astype(np.float32)
    got = run(make([(ROAD, 0.9, np.full((4, 8), 5.0), torch.as_tensor(depth))])).depth_m
    np.testing.assert_allclose(got, 88.0 / (1 + np.exp(-upsample(depth, 32, 64))), rtol=1e-4)


def test_backup_query_speaks_where_nobody_covers():
    tensors = make([(ROAD, 0.9, halves(12.0, -12.0), logit(0.25))])
    tensors["backup_depth_logits"] = torch.full((1, 1, 4, 8), logit(0.5))
    depth = run(tensors).depth_m
    assert depth[0, 0] == pytest.approx(22.0, abs=0.01)  # 88 * 0.25
    assert depth[0, -1] == pytest.approx(44.0, abs=0.01)  # 88 * 0.5


def test_every_pixel_has_depth_even_without_a_kept_query():
    tensors = make([(ROAD, 0.01, np.zeros((4, 8)), 0.0), (CAR, 0.01, np.zeros((4, 8)), 0.0)])
    prediction = run(tensors)
    assert prediction.segments == ()
    assert (prediction.panoptic == 65535).all()
    np.testing.assert_allclose(prediction.depth_m, 44.0, rtol=1e-5)


def test_depth_scale_multiplies():
    tensors = make([(ROAD, 0.9, np.full((4, 8), 5.0), 0.0)])
    np.testing.assert_allclose(run(tensors, depth_scale=1.5).depth_m, 66.0, rtol=1e-5)


def test_argmax_ids_scores_and_confidence():
    prediction = run(
        make(
            [
                (CAR, 0.8, halves(4.0, -4.0), 0.0),
                (CAR, 0.9, halves(-4.0, 3.0), 0.0),
            ]
        )
    )
    # Thing ids count from 1 by falling score: the right car scores 0.9 * sigmoid(3) = 0.857, the left 0.786.
    assert prediction.panoptic[0, 0] == CAR * 256 + 2
    assert prediction.panoptic[0, -1] == CAR * 256 + 1
    assert prediction.confidence[0, 0] == pytest.approx(0.8 / (1 + np.exp(-4)), abs=1e-4)
    scores = {s.instance_id: s.score for s in prediction.segments}
    assert scores[1] == pytest.approx(0.9 / (1 + np.exp(-3)), abs=1e-3)


def test_stuff_of_a_class_becomes_one_segment():
    prediction = run(make([(ROAD, 0.9, halves(4.0, -4.0), 0.0), (ROAD, 0.7, halves(-4.0, 4.0), 0.0)]))
    assert [(s.panoptic_id, s.instance_id) for s in prediction.segments] == [(0, 0)]
    assert prediction.segments[0].area_px == (prediction.panoptic == 0).sum()


def test_pixels_below_the_mask_threshold_are_void():
    prediction = run(make([(ROAD, 0.9, halves(4.0, -1.0), 0.0)]))
    assert prediction.panoptic[0, 0] == 0
    assert prediction.panoptic[0, -1] == 65535
    assert prediction.confidence[0, -1] == 0


def test_segments_that_lose_most_of_their_area_are_dropped():
    covering = np.full((4, 8), 3.0)
    winner = halves(6.0, 6.0)
    winner[:, 7] = -6.0
    prediction = run(make([(ROAD, 0.9, winner, 0.0), (CAR, 0.9, covering, 0.0)]))
    assert {s.class_id for s in prediction.segments} == {ROAD}
    kept = run(make([(ROAD, 0.9, winner, 0.0), (CAR, 0.9, covering, 0.0)]), overlap=0.0)
    assert {s.class_id for s in kept.segments} == {ROAD, CAR}


def test_stuff_area_limit():
    sliver = np.full((4, 8), -5.0)
    sliver[0, 0] = 5.0
    tensors = make([(ROAD, 0.9, -sliver, 0.0), (SKY, 0.95, sliver, 0.0)])
    assert {s.class_id for s in run(tensors).segments} == {ROAD, SKY}
    assert {s.class_id for s in run(tensors, stuff_area_px=500).segments} == {ROAD}


def test_segments_describe_the_panoptic_image():
    random = np.random.default_rng(3)
    rows = [(c, 0.9, random.normal(0, 6, (4, 8)), 0.0) for c in (ROAD, SKY, CAR, CAR, PERSON, ROAD)]
    prediction = run(make(rows), overlap=0.0)
    ids, areas = np.unique(prediction.panoptic[prediction.panoptic != 65535], return_counts=True)
    assert dict(zip(ids.tolist(), areas.tolist(), strict=True)) == {
        s.panoptic_id: s.area_px for s in prediction.segments
    }


@pytest.mark.parametrize(("height", "width", "scale"), [(24, 48, 8 / 6), (100, 203, 0.315), (31, 63, 1.0)])
def test_output_grid_follows_the_letterbox(height, width, scale):
    # A horizontal ramp in logits, sampled where the output pixel centre lies on the network grid.
    ramp = np.arange(8)[None].repeat(4, 0).astype(float)
    tensors = make([(ROAD, 0.9, np.full((4, 8), 9.0), torch.as_tensor(ramp))])
    depth = run(tensors, OutputGrid(height, width, scale, scale)).depth_m
    assert depth.shape == (height, width)
    cell = (np.arange(width) + 0.5) * scale / 8 - 0.5
    expected = 88.0 / (1 + np.exp(-np.clip(cell, 0, 7)))
    np.testing.assert_allclose(depth[0], expected, rtol=2e-3)


def test_network_without_depth_gives_unknown_depth():
    tensors = make([(ROAD, 0.9, np.full((4, 8), 5.0), 0.0)])
    del tensors["depth_logits"]
    assert np.isnan(run(tensors).depth_m).all()


def test_thresholds_are_checked():
    with pytest.raises(ConfigError, match=r"score_things.*1\.5"):
        FusionThresholds(score_things=1.5)


def test_warm_up_compiles_all_that_an_image_needs():
    warm_up(EfficientDPSConfig(backbone="resnet18", num_queries=4), CITYSCAPES, torch.device("cpu"))
    before = [len(each.signatures) for each in (fuse_rows, label_rows, mean_probability)]
    assert min(before) > 0
    run(make([(ROAD, 0.9, halves(9.0, -9.0), 0.0), (CAR, 0.9, halves(-9.0, 9.0), 1.0)]))
    assert [len(each.signatures) for each in (fuse_rows, label_rows, mean_probability)] == before


@pytest.mark.parametrize("with_depth", [True, False])
def test_what_is_done_beside_a_device_gives_the_same_prediction(with_depth, monkeypatch):
    random = np.random.default_rng(3)
    rows = [(int(c), 0.9, random.normal(0, 4, (4, 8)), 0.3) for c in (ROAD, SKY, CAR, CAR, PERSON)]
    tensors = make(rows)
    if not with_depth:
        del tensors["depth_logits"]
    ours = run(tensors, stuff_area_px=3)
    monkeypatch.setattr(fusion, "_on_processor", fusion._on_device)
    device = run(tensors, stuff_area_px=3)
    np.testing.assert_array_equal(ours.panoptic, device.panoptic)
    assert device.panoptic.dtype == np.uint16
    assert [s.panoptic_id for s in ours.segments] == [s.panoptic_id for s in device.segments]
    assert [s.area_px for s in ours.segments] == [s.area_px for s in device.segments]
    np.testing.assert_allclose(ours.confidence, device.confidence, atol=2e-6)
    np.testing.assert_allclose(ours.depth_m, device.depth_m, rtol=1e-5)

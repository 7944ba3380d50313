from dataclasses import replace

import numpy as np
import pytest

from dps_perception.camera import Intrinsics, back_project
from dps_perception.data.dvps import DvpsFolder, write_sample
from dps_perception.data.resize import letterbox
from dps_perception.data.sensor import degrade
from dps_perception.data.transforms import NO_AUGMENTATION, Augmentation, augment, flip, roll
from dps_perception.errors import DatasetError
from dps_perception.labels import CITYSCAPES, pack
from dps_perception.training.config import DataSettings, OptimizerSettings
from dps_perception.training.data import ValidationViews
from dps_perception.training.module import learning_rate_factor
from dps_perception.training.targets import make_targets
from dps_perception.types import Sample

CAR, ROAD, PERSON = 13, 0, 11


def scene(height=64, width=128):
    panoptic = np.zeros((height, width), np.uint16)
    panoptic[16:48, 32:64] = pack(CAR, 3)
    panoptic[0, 0] = 65535
    depth = np.full((height, width), 20.0, np.float32)
    depth[16:48, 32:64] = 10.0
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(image, panoptic, depth, Intrinsics(100.0, 100.0, 63.5, 31.5, height, width), "scene")


def fixed(scale):
    return Augmentation(scale=(scale, scale), flip=0.0, color=0.0, center_crop=True)


FOCAL_PX = 100.0


def view_at(scale, size=(64, 128)):
    return augment(scene(), size, FOCAL_PX, fixed(scale), np.random.default_rng(0))


def test_an_image_scaled_by_s_shows_depth_over_s():
    view = view_at(2.0)
    assert view.image.shape == (64, 128, 3)
    assert view.intrinsics.fx == pytest.approx(200.0)
    np.testing.assert_allclose(np.unique(view.depth_m), [5.0, 10.0], rtol=1e-5)


def test_at_half_the_input_size_things_look_twice_as_far():
    view = augment(scene(), (32, 64), FOCAL_PX, NO_AUGMENTATION, np.random.default_rng(0))
    np.testing.assert_allclose(np.unique(view.depth_m), [20.0, 40.0], rtol=1e-5)


def test_depth_depends_on_the_scale_alone_and_not_on_the_crop():
    # A 32x64 crop at the image's own scale and the whole 64x128 image show a pixel at the same depth.
    crop = augment(scene(), (32, 64), FOCAL_PX, fixed(2.0), np.random.default_rng(0))
    np.testing.assert_allclose(np.unique(crop.depth_m), [10.0, 20.0], rtol=1e-5)


def test_shrinking_pads_with_void_and_unknown_depth():
    view = view_at(0.5)
    assert (view.panoptic == 65535).mean() == pytest.approx(0.75, abs=0.02)
    assert np.isnan(view.depth_m[view.panoptic == 65535]).mean() > 0.99
    np.testing.assert_allclose(np.nanmax(view.depth_m), 40.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5])
def test_intrinsics_follow_the_crop(scale):
    # The car's left edge stays at the same 3D place: x/z = (31.5 - cx) / fx in every view.
    view = view_at(scale)
    column = int(np.argmax((view.panoptic == pack(CAR, 3)).any(0)))
    slope = (column - 0.5 - view.intrinsics.cx) / view.intrinsics.fx
    assert slope == pytest.approx((31.5 - 63.5) / 100, abs=0.012)


def test_flip_twice_is_identity_and_mirrors_points():
    sample = scene()
    twice = flip(flip(sample))
    assert (twice.image == sample.image).all()
    assert twice.intrinsics == sample.intrinsics
    here = back_project(sample.depth_m, sample.intrinsics)
    there = back_project(flip(sample).depth_m, flip(sample).intrinsics)
    np.testing.assert_allclose(there[:, ::-1, 0], -here[..., 0], atol=1e-4)


def test_colour_and_crop_follow_the_random_generator():
    settings = Augmentation(scale=(0.8, 1.6), flip=0.5, color=1.0)
    views = [augment(scene(), (64, 128), FOCAL_PX, settings, np.random.default_rng(s)) for s in (5, 5, 6)]
    assert (views[0].image == views[1].image).all()
    assert (views[0].image != views[2].image).any()


def test_depth_without_camera_is_refused():
    sample = scene()
    blind = Sample(sample.image, sample.panoptic, sample.depth_m, None, "blind")
    with pytest.raises(DatasetError, match="blind"):
        augment(blind, (64, 128), FOCAL_PX, NO_AUGMENTATION, np.random.default_rng(0))


def test_letterbox_scales_and_pads():
    padded, scale_y, scale_x = letterbox(np.zeros((50, 100, 3), np.uint8), 64, 160)
    assert padded.shape == (64, 160, 3)
    assert (scale_y, scale_x) == (64 / 50, 128 / 100)
    assert (padded[:, 128:] == (124, 116, 104)).all()
    assert (padded[:, :128] == 0).all()


def test_targets_by_hand():
    sample = scene()
    targets = make_targets(sample, CITYSCAPES, min_area_px=16, max_segments=10, max_depth_m=15.0)
    assert targets.classes.tolist() == [ROAD, CAR]  # largest first
    assert targets.masks.shape == (2, 16, 32)
    assert targets.masks[1, 4:12, 8:16].unique().tolist() == [16]
    assert int(targets.masks[1].sum()) == 32 * 32
    assert targets.valid[0, 0] == 15  # one void pixel in the first cell
    assert targets.segment[5, 9] == 1
    assert targets.depth_m[5, 9] == 10.0
    assert targets.depth_m[0, 0].isnan()  # 20 m is beyond the 15 m asked for


def test_targets_leave_out_crowds_and_specks():
    sample = scene()
    panoptic = sample.panoptic.copy()
    panoptic[50:60, 100:120] = pack(CAR, 0)
    panoptic[2:5, 2:5] = pack(PERSON, 1)
    changed = Sample(sample.image, panoptic, sample.depth_m, sample.intrinsics, "")
    targets = make_targets(changed, CITYSCAPES, min_area_px=16, max_segments=10, max_depth_m=88.0)
    assert targets.classes.tolist() == [ROAD, CAR]
    assert targets.valid[13, 26] == 0  # crowd counts as void
    few = make_targets(changed, CITYSCAPES, min_area_px=1, max_segments=1, max_depth_m=88.0)
    assert few.classes.tolist() == [ROAD]


def test_classes_outside_the_label_space_are_named():
    sample = scene()
    panoptic = np.full_like(sample.panoptic, 40 * 256)
    with pytest.raises(DatasetError, match=r"40.*cityscapes"):
        make_targets(Sample(sample.image, panoptic, None, None, "x"), CITYSCAPES, 1, 10, 88.0)


def test_validation_names_the_sample_with_a_class_that_is_not_there(tmp_path):
    sample = scene()
    write_sample(tmp_path, "val", 7, 0, replace(sample, panoptic=np.full_like(sample.panoptic, 26 * 256)), name="odd")
    views = ValidationViews(DvpsFolder(tmp_path, "val"), DataSettings(input_size=(64, 128)))
    with pytest.raises(DatasetError, match=r"000007_000000_odd: class id 26 is outside label space 'cityscapes'"):
        views[0]


def test_learning_rate_schedules():
    step = OptimizerSettings(steps=1000, warmup_steps=10, schedule="step", milestones=(0.8, 0.92))
    assert [learning_rate_factor(s, step) for s in (0, 9, 10, 799, 800, 920)] == pytest.approx(
        [0.1, 1.0, 1.0, 1.0, 0.1, 0.01]
    )
    poly = OptimizerSettings(steps=1000, warmup_steps=0, schedule="poly")
    assert learning_rate_factor(500, poly) == pytest.approx(0.5**0.9)
    assert learning_rate_factor(1000, poly) == 0
    early = OptimizerSettings(steps=500, schedule_steps=1000, warmup_steps=10, schedule="poly")
    assert learning_rate_factor(500, early) == pytest.approx(0.5**0.9)  # ends half way down


def test_roll_moves_pixels_about_the_optical_axis_and_keeps_depth():
    turned = roll(scene(), 90.0)  # x to y: a point 20 px right of the principal point goes 20 px below it
    source = scene()
    # The car spans x 32..63, y 16..47 (31.5 px left of the axis at most); its left edge goes to the top, out of view.
    v, u = 31 - 20, 63
    assert turned.panoptic[v, u] == source.panoptic[31, 63 - 20]
    assert turned.depth_m[v, u] == source.depth_m[31, 63 - 20] == 10.0
    assert turned.panoptic[31, 2] == 65535
    assert np.isnan(turned.depth_m[31, 2])
    assert turned.intrinsics == source.intrinsics


def test_roll_by_zero_changes_nothing():
    same = roll(scene(), 0.0)
    np.testing.assert_array_equal(same.image, scene().image)
    np.testing.assert_array_equal(same.panoptic, scene().panoptic)


def test_a_degraded_image_is_repeatable_and_still_the_same_scene():
    gradient = np.tile(np.arange(128, dtype=np.uint8)[None, :, None] * 2, (64, 1, 3))
    results = [degrade(gradient, np.random.default_rng(seed)) for seed in range(20)]
    np.testing.assert_array_equal(results[3], degrade(gradient, np.random.default_rng(3)))
    assert all(r.shape == gradient.shape and r.dtype == np.uint8 for r in results)
    assert sum((r != gradient).any() for r in results) >= 15
    correlations = [np.corrcoef(r.ravel(), gradient.ravel())[0, 1] for r in results]
    assert min(correlations) > 0.9

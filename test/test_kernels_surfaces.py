"""Depth statistics and surfaces of regions, against the plain definition in NumPy on random and rendered scenes."""

import numpy as np
import pytest
import torch

from dps_perception.camera import Intrinsics, back_project
from dps_perception.data.street import single_image
from dps_perception.kernels.depth import DepthRule
from dps_perception.kernels.regions import regions
from dps_perception.kernels.surface_loops import OUTLIER_MADS
from dps_perception.kernels.surfaces import Scratch, measure

SKY = 10
HIDDEN = np.arange(256) == SKY
RULES = {"all": DepthRule(), "limited": DepthRule(4.0, 60.0, HIDDEN)}


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def random_scene():
    rng = np.random.default_rng(3)
    ids = [0, SKY * 256, 65535, *(13 * 256 + i for i in range(1, 9))]
    panoptic = np.kron(rng.choice(ids, (10, 13)), np.ones((7, 9))).astype(np.uint16)
    depth = rng.gamma(3, 8, panoptic.shape).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf, 0.0, -1.0, 4.0, 60.0):
        depth[rng.random(depth.shape) < 0.03] = value
    depth[panoptic == 13 * 256 + 1] = np.nan
    depth[panoptic == 13 * 256 + 2] = 10
    return panoptic, depth, Intrinsics(50, 60, 58, 35, *panoptic.shape)


def street():
    sample = single_image(seed=7, height=128, width=256)
    return sample.panoptic, sample.depth_m, sample.intrinsics


def expected(mask, depth, intrinsics, rule, class_id):
    """(stats, places or None) as their definition says."""
    valid = mask & np.isfinite(depth) & (depth > 0) & (depth >= rule.near_m) & (depth <= rule.far_m)
    z = depth[valid & (not rule.hidden[class_id])].astype(np.float64)
    if not len(z):
        return None, None
    stats = [z.min(), *np.quantile(z, [0.05, 0.5, 0.95]), z.max(), z.mean(), z.std()]
    off = np.abs(z - stats[2])
    limit = max(OUTLIER_MADS * np.median(off), 0.05 * stats[2])
    points = back_project(depth, intrinsics)[valid][off <= limit]
    return stats, np.quantile(points.astype(np.float64), [0.5, 0.01, 0.99], axis=0).T


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scene", [random_scene, street])
def test_every_region_is_as_defined(scene, rule, threads):
    panoptic, depth, intrinsics = scene()
    rule, found = RULES[rule], regions(panoptic)
    is_thing = found.ids % 256 > 0
    surfaces = measure(found, depth, rule, intrinsics, is_thing, Scratch())
    assert is_thing.sum() >= 3
    for k, id_ in enumerate(found.ids):
        stats, places = expected(panoptic == id_, depth, intrinsics, rule, id_ // 256)
        if stats is None:
            assert surfaces.valid[k] == surfaces.points[k] == 0
            assert np.isnan(surfaces.stats[k]).all()
            continue
        np.testing.assert_allclose(surfaces.stats[k], stats, rtol=1e-5, atol=1e-5)
        if is_thing[k]:
            np.testing.assert_allclose(surfaces.places[k], places, rtol=1e-4, atol=1e-4)
        else:
            assert surfaces.points[k] == 0
            assert np.isnan(surfaces.places[k]).all()


def test_scratch_memory_serves_images_of_any_size():
    scratch = Scratch()
    for size in ((30, 40), (60, 80), (3, 4), (1, 1)):
        panoptic, depth = np.full(size, 13 * 256 + 1, np.uint16), np.full(size, 5, np.float32)
        one = measure(regions(panoptic), depth, DepthRule(), Intrinsics(9, 9, 0, 0, *size), np.array([True]), scratch)
        assert one.valid[0] == one.points[0] == depth.size
        assert one.stats[0].tolist() == [5, 5, 5, 5, 5, 5, 0]
        np.testing.assert_allclose(one.places[0, 2], 5)


def test_absurd_depths_do_no_harm():
    panoptic = np.full((20, 30), 13 * 256 + 1, np.uint16)
    depth = np.random.default_rng(0).choice(np.float32([1e-30, 3, 4, 1e12, 3e38]), panoptic.shape)
    absurd = measure(
        regions(panoptic), depth, DepthRule(), Intrinsics(0.1, 0.1, 0, 0, 20, 30), np.array([True]), Scratch()
    )
    assert absurd.valid[0] == depth.size
    assert absurd.stats[0, 4] == np.float32(3e38)


def test_no_region_and_no_calibration():
    nothing = measure(regions(np.full((4, 5), 65535, np.uint16)), np.ones((4, 5), np.float32), DepthRule(), None,
                      np.empty(0, bool), Scratch())  # fmt: skip
    assert len(nothing.valid) == 0
    panoptic = np.full((4, 5), 13 * 256 + 1, np.uint16)
    flat = measure(regions(panoptic), np.ones((4, 5), np.float32), DepthRule(), None, np.array([True]), Scratch())
    assert flat.valid[0] == 20
    assert flat.points[0] == 0

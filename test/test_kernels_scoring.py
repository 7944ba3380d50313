"""What evaluation counts in compiled loops, against NumPy: random and edge inputs, views, and any number of threads."""

import math

import numpy as np
import pytest
import torch

from dps_perception.kernels import scoring
from dps_perception.kernels.scoring import depth_errors, error_levels, ids_in, shared_pixels

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -3, 1e-30, 8, 10], np.float32)


def images(shape, seed=0):
    random = np.random.default_rng(seed)
    ids = random.choice([0, 1, 255, 256, 300, 65535], (2, *shape)).astype(np.uint16)
    depth = random.uniform(1, 90, (2, *shape)).astype(np.float32)
    depth[random.random((2, *shape)) < 0.3] = random.choice(SPECIAL)
    return *ids, *depth


SHAPES = [(1, 1), (0, 5), (7, 33), (64, 96)]


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_and_shared_pixels(shape, monkeypatch):
    gt, pred, *_ = images(shape)
    level = np.random.default_rng(1).integers(0, 4, shape, np.uint8)
    assert ids_in(gt).tolist() == np.unique(gt).tolist()
    assert ids_in(gt[:, ::-2]).tolist() == np.unique(gt[:, ::-2]).tolist()
    ids = np.unique([gt, pred])
    place = np.zeros(65536, np.int32)
    place[ids] = np.arange(len(ids))
    expected = np.zeros((len(ids), len(ids), 4), np.int64)
    np.add.at(expected, (place[gt], place[pred], level), 1)
    assert (shared_pixels(gt, pred, level, place, place, expected.shape) == expected).all()
    monkeypatch.setattr(scoring, "_LARGE_TABLE", 1)
    assert (shared_pixels(gt, pred, level, place, place, expected.shape) == expected).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_depth_errors_and_levels(shape):
    _, _, depth, truth = images(shape)
    lambdas = np.array([0.1, 0.25, 0.5])
    valid = np.isfinite(truth) & (truth > 0)
    known = np.isfinite(depth) & (depth > 0)
    d, t = depth.astype(np.float64), truth.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.where(known, abs(d - t) / t, np.inf)
        expected = np.where(valid, (error[..., None] > lambdas).sum(-1), 0)
    assert (error_levels(depth, truth, lambdas) == expected).all()

    scored = valid & (truth >= 2) & (truth <= 80)
    counts, sums = depth_errors(depth, truth, 2, 80)
    d, t = d[scored & known], t[scored & known]
    ratio, log = np.maximum(d / t, t / d), np.log(d / t)
    assert counts.tolist() == [scored.sum(), len(d), *((ratio < 1.25**k).sum() for k in (1, 2, 3))]
    wanted = [abs(d - t) / t, (d - t) ** 2 / t, (d - t) ** 2, log**2, log]
    assert sums == pytest.approx([values.sum() for values in wanted], rel=1e-12)


def test_each_kernel_is_compiled_once_also_for_read_only_images():
    """As bags give them; every further kind of array would cost seconds."""
    gt, pred, depth, truth = images((8, 8))
    for array in (gt, pred, depth, truth):
        array.flags.writeable = False
    place, level = np.zeros(65536, np.int32), np.zeros((8, 8), np.uint8)
    ids_in(gt)
    shared_pixels(gt, pred, level, place, place, (1, 1, 1))
    error_levels(depth, truth, np.array([0.5]))
    depth_errors(depth, truth, 0, 80)
    for kernel in (scoring._mark, scoring._share, scoring._level, scoring._errors):
        assert len(kernel.signatures) == 1


def test_levels_at_the_thresholds_themselves():
    truth, depth = np.full((1, 4), 10, np.float32), np.array([[11, 9, 12.5, 15]], np.float32)
    assert error_levels(depth, truth, np.array([0.1, 0.25, 0.5])).tolist() == [[0, 0, 1, 2]]


def test_sums_are_the_same_on_any_number_of_threads():
    _, _, depth, truth = images((101, 64))
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(depth_errors(depth, truth, 0, math.inf)[1].tolist())
    torch.set_num_threads(before)
    assert found[0] == found[1]

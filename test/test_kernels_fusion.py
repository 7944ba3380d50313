"""The compiled fusion against plain PyTorch, which upsamples every mask, and against hand-made cells."""

import numpy as np
import pytest
import torch

from dps_perception.kernels.fusion import Axis, dense, label, mask_quality
from dps_perception.kernels.mathematics import exp, sigmoid
from dps_perception.models import plain_fusion
from dps_perception.types import OutputGrid

STRIDE = 8


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def blobs(number, height, width, seed, steep=6.0):
    """(number, height, width) logits like a network's: smooth, a few positive at each place, most far below."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, number, max(2, height // 4), max(2, width // 4)), generator=random) * steep - steep
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].contiguous()


def of_all(masks, depths, grid, threshold):
    arrays = masks.numpy(), depths.numpy(), None, np.arange(len(masks))
    return dense(*arrays, grid, STRIDE, threshold, depth_by_query=True)


def both(masks, depths, backup, queries, grid, threshold=0.5, by_query=True):
    arrays = [None if values is None else values.numpy() for values in (masks, depths, backup)]
    ours = dense(*arrays, queries, grid, STRIDE, threshold, depth_by_query=by_query)
    picked = torch.as_tensor(queries)
    plain = plain_fusion.dense(masks, depths, backup, picked, grid, STRIDE, threshold, depth_by_query=by_query)
    return ours, plain


def assert_same(ours, plain, masks, queries, grid, threshold=0.5):
    up = plain_fusion.upsample(masks[torch.as_tensor(queries)], grid, STRIDE)
    first_two = up.topk(min(2, len(queries)), 0)[0]
    gap = (first_two[0] - first_two[-1]).numpy() if len(queries) > 1 else np.inf
    near = (np.abs(plain.probability.numpy() - threshold) < 1e-5) | (gap < 1e-4)
    differ = ours.owner != plain.owner.numpy()
    assert not (differ & ~near).any()
    assert differ.mean() < 1e-4
    np.testing.assert_allclose(ours.probability, plain.probability.numpy(), atol=2e-6)
    allowed = differ.sum() + 2e-5 * up[0].numel()
    assert np.abs(ours.owned - plain.owned.numpy()).sum() <= 2 * allowed
    assert np.abs(ours.own_mask - plain.own_mask.numpy()).max() <= allowed
    if plain.depth is not None:
        np.testing.assert_allclose(ours.depth, plain.depth.numpy(), atol=5e-6)  # of D_max: 0.4 mm of 88 m


GRIDS = {
    "as large as the input": OutputGrid(96, 192, 1.0, 1.0),
    "a third larger": OutputGrid(128, 256, 0.75, 0.75),
    "twice as large": OutputGrid(192, 384, 0.5, 0.5),
    "letterboxed below": OutputGrid(77, 192, 1.0, 1.0),
    "unequal, odd": OutputGrid(101, 333, 96 / 101, 192 / 333),
    "smaller than the maps": OutputGrid(9, 20, 96 / 9, 192 / 20),
    "one pixel": OutputGrid(1, 1, 96.0, 192.0),
    "a row": OutputGrid(1, 500, 96.0, 192 / 500),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("backup", [False, True])
def test_equals_plain_fusion(threads, grid, backup):
    masks, depths = blobs(20, 12, 24, 0), blobs(20, 12, 24, 1, steep=2.0)
    queries = np.array([0, 3, 4, 5, 8, 11, 13, 14, 19])
    extra = blobs(1, 12, 24, 2, steep=1.0) if backup else None
    ours, plain = both(masks, depths, extra, queries, grid)
    assert ours.owner.shape == (grid.height, grid.width)
    assert_same(ours, plain, masks, queries, grid)


@pytest.mark.parametrize(("number", "steep"), [(1, 5.0), (2, 0.01), (60, 0.5), (60, 30.0), (200, 3.0)])
def test_equals_plain_fusion_from_flat_to_steep(number, steep):
    masks, depths = blobs(number, 6, 11, 3, steep), blobs(number, 6, 11, 4, steep)
    grid, queries = OutputGrid(61, 117, 0.78, 0.75), np.arange(number)
    assert_same(*both(masks, depths, None, queries, grid, 0.3), masks, queries, grid, 0.3)


def test_white_noise_has_many_rivals_in_each_cell():
    random = torch.Generator().manual_seed(5)
    masks, depths = (torch.randn((30, 8, 16), generator=random) * 4 for _ in range(2))
    grid, queries = OutputGrid(64, 128, 1.0, 1.0), np.arange(30)
    ours, plain = both(masks, depths, None, queries, grid)
    assert len(np.unique(ours.owner)) == 30
    assert_same(ours, plain, masks, queries, grid)


def test_one_depth_map_for_the_whole_image_and_none():
    masks, depths = blobs(5, 12, 24, 6), blobs(1, 12, 24, 7)
    grid, queries = GRIDS["a third larger"], np.arange(5)
    assert_same(*both(masks, depths, None, queries, grid, by_query=False), masks, queries, grid)
    ours, plain = both(masks, None, None, queries, grid, by_query=False)
    assert plain.depth is None
    assert ours.depth is None
    assert_same(ours, plain, masks, queries, grid)


def test_a_single_row_and_column_of_logits():
    masks, depths = torch.tensor([[[3.0]], [[-2.0]]]), torch.tensor([[[0.0]], [[1.0]]])
    found = of_all(masks, depths, OutputGrid(8, 8, 1.0, 1.0), 0.5)
    assert (found.owner == 0).all()
    weight = 1 / (1 + np.exp(-5.0))
    np.testing.assert_allclose(found.depth, weight * 0.5 + (1 - weight) / (1 + np.exp(-1.0)), rtol=1e-6)
    assert found.owned.tolist() == [64, 0]
    assert found.own_mask.tolist() == [64, 0]


def test_logits_that_are_not_numbers_give_void():
    masks, depths = blobs(4, 6, 8, 8), blobs(4, 6, 8, 9)
    masks[:, 2, 3] = torch.nan
    found = of_all(masks, depths, OutputGrid(48, 64, 1.0, 1.0), 0.5)
    assert (found.owner[13:27, 21:35] == 4).all()
    assert found.owner.max() <= 4
    assert np.isfinite(found.depth[40:, :8]).all()


def test_all_logits_infinite_is_survived():
    masks = torch.full((2, 4, 4), -torch.inf)
    found = of_all(masks, masks, OutputGrid(32, 32, 1.0, 1.0), 0.5)
    assert (found.owner == 2).all()


def test_mask_quality_is_the_mean_probability_inside():
    masks = np.array([[[2.0, -1.0], [0.5, -3.0]], [[-1.0, -1.0], [-1.0, 0.0]]], np.float32)
    expected = (1 / (1 + np.exp(-2.0)) + 1 / (1 + np.exp(-0.5))) / 2
    np.testing.assert_allclose(mask_quality(masks, np.array([1, 0])), [0, expected], rtol=1e-6)


def test_label_writes_ids_confidence_and_metres():
    masks = torch.tensor([[[4.0, 4.0]], [[-9.0, -9.0]]])
    found = of_all(masks, masks, OutputGrid(8, 16, 1.0, 1.0), 0.99)
    assert (found.owner == 2).all()  # below the threshold
    found.owner[:, :3], probability, depth = 0, found.probability.copy(), found.depth.copy()
    label(found, np.array([2561, 7, 65535], np.uint16), np.array([0.5, 1.0, 0.0], np.float32), 88.0)
    assert (found.owner[:, :3] == 2561).all()
    assert (found.owner[:, 3:] == 65535).all()
    np.testing.assert_allclose(found.probability[:, :3], 0.5 * probability[:, :3], rtol=1e-6)
    assert (found.probability[:, 3:] == 0).all()
    np.testing.assert_allclose(found.depth, 88 * depth, rtol=1e-6)


def test_axis_lies_as_opencv_says():
    axis = Axis.between(3, 100, 3 / 100)
    places = np.maximum((np.arange(100) + 0.5) * 3 / 100 - 0.5, 0)
    np.testing.assert_allclose(axis.low + axis.weight, np.minimum(places, 2), atol=1e-6)
    cells = axis.cells
    assert cells[0, 0] == 0
    assert cells[-1, 1] == 100
    assert (cells[1:, 0] == cells[:-1, 1]).all()
    assert np.diff(cells, axis=1).max() == 16
    assert all(len(set(axis.low[a:b])) == 1 for a, b in cells)


def test_exponential_and_sigmoid_are_accurate():
    x = np.linspace(-87, 87, 4001).astype(np.float32)
    found = np.array([exp(value) for value in x], np.float64)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(found / exact - 1) < 2e-7 + 8e-8 * np.abs(x)).all()
    smooth = np.array([sigmoid(value) for value in x], np.float64)
    np.testing.assert_allclose(smooth, 1 / (1 + np.exp(-x.astype(np.float64))), atol=2e-7)
    assert exp(np.float32(-1e30)) < 1e-37
    assert np.isfinite(exp(np.float32(1e30)))

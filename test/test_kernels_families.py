"""Kernels of PanopticDepth's and Real-Time Panoptic's fusion: the same as plain PyTorch, and hand-worked numbers."""

import numpy as np
import pytest
import torch

from dps_perception.kernels import priority
from dps_perception.kernels.box_masks import box_masks
from dps_perception.kernels.own_depth import LEAST, own_depth
from dps_perception.models import plain_fusion
from dps_perception.models.realtime_panoptic_boxes import absolute_boxes, box_iou
from dps_perception.types import OutputGrid

GRIDS = [OutputGrid(37, 61, 32 / 37, 64 / 61), OutputGrid(64, 128, 0.5, 0.5), OutputGrid(5, 7, 1.0, 1.0)]


def random(seed, *shape):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("number", [0, 1, 6])
def test_things_before_the_rest_as_in_plain_pytorch(grid, number):
    things, rest = random(1, number, 8, 16) ** 2, random(2, 5, 8, 16)
    found = priority.dense(things, rest, grid, 4, 0.5)
    plain = plain_fusion.priority(torch.from_numpy(things), torch.from_numpy(rest), grid, 4, 0.5)
    same = found.owner == plain.owner.numpy()
    assert same.mean() > 0.998  # ties and sums in another order
    np.testing.assert_allclose(found.probability[same], plain.probability.numpy()[same], atol=1e-5)
    np.testing.assert_allclose(found.owned, plain.owned.numpy(), atol=3)
    np.testing.assert_allclose(found.own_mask, plain.own_mask.numpy(), atol=3)
    assert found.owned.sum() == grid.height * grid.width


def test_the_first_thing_above_the_threshold_wins_and_the_rest_gets_what_is_left():
    things = np.array([[[0.6, 0.2]], [[0.9, 0.2]]], np.float32)  # both on the left; the first has the better score
    rest = np.array([[[0.99, 0.3]], [[0.0, 0.7]]], np.float32)
    found = priority.dense(things, rest, OutputGrid(1, 2, 4.0, 4.0), 4, 0.5)
    assert found.owner.tolist() == [[0, 3]]
    np.testing.assert_allclose(found.probability, [[0.6, 0.7]])
    assert found.owned.tolist() == [1, 0, 0, 1]
    assert found.own_mask.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("grid", GRIDS)
def test_depth_of_the_owner_as_in_plain_pytorch(grid):
    owner = np.random.default_rng(3).integers(0, 5, (grid.height, grid.width)).astype(np.uint16)  # 4: nobody
    logits, factor, shift = 8 * random(4, 4, 8, 16) - 4, random(5, 4), random(6, 4) - 0.3
    found = own_depth(owner, logits, factor, shift, grid, 4)
    parts = (torch.from_numpy(values) for values in (owner.astype(np.int64), logits, factor, shift))
    plain = plain_fusion.own_depth(*parts, grid, 4).numpy()
    assert (np.isnan(found) == (owner == 4)).all()
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-6)


def test_depth_of_the_owner_by_hand():
    owner = np.array([[0, 1, 2]], np.uint16)
    logits = np.array([[[0.0, 0.0, 0.0]], [[-50.0, -50.0, -50.0]]], np.float32)
    found = own_depth(
        owner, logits, np.array([0.4, 0.2], np.float32), np.array([0.1, -0.1], np.float32), OutputGrid(1, 3, 4, 4), 4
    )
    np.testing.assert_allclose(found[0, :2], [0.4 * 0.5 + 0.1, LEAST], rtol=1e-6)
    assert np.isnan(found[0, 2])


def test_masks_of_boxes_are_iou_times_the_class_and_zero_where_it_is_unlikely():
    dense = np.zeros((1, 4, 1, 3), np.float32)
    dense[0, :, 0, 0] = 0, 0, 10, 10  # the query's own box
    dense[0, :, 0, 1] = 5, 0, 15, 10  # half of it: 50 / 150
    dense[0, :, 0, 2] = 20, 20, 30, 30  # another object
    semantic = np.array([[[0.9, 0.6, 0.9]], [[0.1, 0.4, 0.1]]], np.float32)
    boxes, classes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32), np.array([0, 1])
    np.testing.assert_allclose(
        box_masks(dense, semantic, boxes, classes, 0.2), [[[0.9, 0.2, 0.0]], [[0.0, 0.4 / 3, 0.0]]], rtol=1e-6
    )


def test_masks_of_boxes_as_in_plain_pytorch_also_over_several_levels():
    low = 50 * random(7, 5, 2, 6, 9)
    dense = np.concatenate([low, low + 1 + 30 * random(8, 5, 2, 6, 9)], 1)
    corner = 50 * random(9, 4, 2)
    boxes, semantic = np.concatenate([corner, corner + 20], 1), random(10, 3, 6, 9)
    classes = np.array([0, 2, 1, 2])
    plain = box_iou(torch.from_numpy(dense), torch.from_numpy(boxes)).numpy() * semantic[classes]
    np.testing.assert_allclose(box_masks(dense, semantic, boxes, classes, 0.0), plain, rtol=1e-5, atol=1e-7)


def test_boxes_of_distances_by_hand():
    distances = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1).expand(1, 4, 2, 3)
    boxes = absolute_boxes(distances, 8)
    assert boxes[0, :, 0, 0].tolist() == [4 - 1, 4 - 2, 4 + 3, 4 + 4]  # the first cell lies at 8 // 2
    assert boxes[0, :, 1, 2].tolist() == [20 - 1, 12 - 2, 20 + 3, 12 + 4]

"""Real-Time Panoptic's fusion: query boxes, the box at each place, and masks made of both, worked out by hand."""

import math

import numpy as np
import pytest
import torch
from test_models_realtime_panoptic import info_of, network_of, noise, tiny

from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID, pack
from dps_perception.models import realtime_panoptic_boxes, realtime_panoptic_fusion
from dps_perception.models.families import warm_up
from dps_perception.models.fusion import finish_on_device
from dps_perception.models.realtime_panoptic_boxes import absolute_boxes, box_iou, dense_boxes, find_queries
from dps_perception.models.realtime_panoptic_config import STRIDES
from dps_perception.models.realtime_panoptic_fusion import fuse
from dps_perception.models.segments import FusionThresholds
from dps_perception.models.weights import save_weights
from dps_perception.types import OutputGrid

ROAD, PERSON, CAR = 0, 11, 13
THINGS = {PERSON: 0, CAR: 2}
CELLS = OutputGrid(16, 16, 4.0, 4.0)  # of a 64 x 64 input: one output pixel a place, so nothing lies between places
SIZE = 64


def logit(p):
    return math.log(p / (1 - p))


def empty(size=SIZE):
    """Tensors of a road without things; each place's own box is of no size."""
    tensors = {"semantic_logits": torch.zeros(1, 19, size // 8, size // 8)}
    tensors["semantic_logits"][:, ROAD] = 20.0
    tensors["levelness"] = torch.zeros(1, 6, size // 4, size // 4)
    tensors["levelness"][:, 0] = 9.0  # background: which level counts is not asked then
    for level, stride in STRIDES.items():
        cells = -(-size // stride)
        tensors[f"box_classes_{level}"] = torch.full((1, 8, cells, cells), -9.0)
        tensors[f"centreness_{level}"] = torch.full((1, 1, cells, cells), 30.0)
        tensors[f"boxes_{level}"] = torch.zeros(1, 4, cells, cells)
    return tensors


def detect(tensors, class_id, box, score, centre=None, row=0, column=0, level=3):
    """Let one cell detect a box with this class probability and, if given, centreness."""
    x, y = (STRIDES[level] * n + STRIDES[level] // 2 for n in (column, row))
    left, top, right, bottom = box
    distances = torch.tensor([x - left, y - top, right - x, bottom - y], dtype=torch.float32)
    tensors[f"boxes_{level}"][0, :, row, column] = distances
    tensors[f"box_classes_{level}"][0, THINGS[class_id], row, column] = logit(score)
    if centre is not None:
        tensors[f"centreness_{level}"][0, 0, row, column] = logit(centre)


def paint(tensors, class_id, rows, columns, box):
    """Let cells of 8 x 8 pixels be of a class, and know the box that they belong to."""
    tensors["semantic_logits"][0, :, rows, columns] = 0.0
    tensors["semantic_logits"][0, class_id, rows, columns] = 20.0
    for row in range(8)[rows]:
        for column in range(8)[columns]:
            x, y = 8 * column + 4, 8 * row + 4
            tensors["boxes_3"][0, :, row, column] = torch.tensor([x - box[0], y - box[1], box[2] - x, box[3] - y])


def run(tensors, grid=CELLS, depth_scale=1.0, **thresholds):
    config = tiny(depth="depth_logits" in tensors, levelness="levelness" in tensors, max_depth_m=80.0)
    return fuse(tensors, config, CITYSCAPES, FusionThresholds(**thresholds), grid, depth_scale)


def one_car(score=0.9, box=(0, 0, 32, 64)):
    """A car on the left half of the road."""
    tensors = empty()
    paint(tensors, CAR, slice(0, 8), slice(0, 4), box)
    detect(tensors, CAR, box, score, row=3, column=1)
    return tensors


def test_a_car_takes_its_mask_and_the_road_the_rest():
    found = run(one_car())
    assert (found.panoptic[:, :8] == pack(CAR, 1)).all()
    assert (found.panoptic[:, 8:] == pack(ROAD, 0)).all()
    car, road = found.segments
    assert (car.class_id, car.instance_id, car.is_thing, car.area_px) == (CAR, 1, True, 128)
    assert car.score == pytest.approx(0.9)
    assert (road.class_id, road.is_thing, road.area_px) == (ROAD, False, 128)
    np.testing.assert_allclose(found.confidence[:, :7], 0.9, rtol=1e-4)
    np.testing.assert_allclose(found.confidence[:, 9:], 1.0, rtol=1e-4)
    assert np.isnan(found.depth_m).all()


def test_the_score_is_class_times_centreness_and_has_a_least_value():
    tensors = one_car()
    detect(tensors, CAR, (0, 0, 32, 64), 0.9, 0.25, row=3, column=1)
    assert run(tensors, score_things=0.22).segments[0].score == pytest.approx(0.225)
    assert [s.class_id for s in run(tensors, score_things=0.23).segments] == [ROAD]


def test_a_mask_is_iou_times_the_class_against_eight_tenths_of_the_threshold():
    # The query is (0, 0, 32, 64), the box of the places (0, 0, 32, 32): IoU 1/2, above 0.8 * 0.6 and below 0.8 * 0.65.
    tensors = empty()
    paint(tensors, CAR, slice(0, 8), slice(0, 4), (0, 0, 32, 32))
    detect(tensors, CAR, (0, 0, 32, 64), 0.9, level=7)
    tensors["levelness"][:, 1] = 5.0  # the places' box is that of level 3
    assert run(tensors, mask=0.6).segments[0].area_px == 128
    assert [s.class_id for s in run(tensors, mask=0.65).segments] == [ROAD]


def test_a_things_class_without_a_box_is_nobodys():
    found = run(one_car(score=0.05))
    assert (found.panoptic[:, :8] == VOID_PANOPTIC_ID).all()
    assert (found.panoptic[:, 8:] == pack(ROAD, 0)).all()
    assert (found.confidence[:, :8] == 0).all()


def test_nothing_at_all():
    tensors = empty()
    tensors["semantic_logits"][:] = 0.0
    tensors["semantic_logits"][:, CAR] = 20.0
    found = run(tensors)
    assert (found.panoptic == VOID_PANOPTIC_ID).all()
    assert found.segments == ()


def test_the_better_thing_keeps_its_pixels_and_the_worse_what_is_left():
    # The places of each half have its box; the second car's, the whole image, has IoU 1/2 with both.
    tensors = one_car()
    paint(tensors, CAR, slice(0, 8), slice(4, 8), (32, 0, 64, 64))
    detect(tensors, CAR, (0, 0, 64, 64), 0.8, level=7)
    found = run(tensors, overlap=0.5)  # half of the second's places are the first's
    first, second = found.segments
    assert (first.area_px, second.area_px) == (128, 128)
    assert first.score > second.score
    assert (found.panoptic[:, 8:] == pack(CAR, 2)).all()
    dropped = run(tensors, overlap=0.51)
    assert [s.area_px for s in dropped.segments] == [128]
    assert (dropped.panoptic[:, 8:] == VOID_PANOPTIC_ID).all()  # a car by semantics, but nobody's


def test_stuff_has_a_least_probability_and_area():
    tensors = empty()
    tensors["semantic_logits"][:] = 0.0
    tensors["semantic_logits"][:, ROAD] = math.log(18 * 0.6 / 0.4)  # 0.6 against 18 others
    assert run(tensors).segments[0].score == pytest.approx(0.6, rel=1e-4)
    assert run(tensors, score_stuff=0.61).segments == ()
    assert run(tensors, stuff_area_px=256).segments[0].area_px == 256
    assert run(tensors, stuff_area_px=257).segments == ()


def test_depth_is_of_every_pixel_and_scaled_for_the_camera():
    tensors = one_car(score=0.05)
    tensors["depth_logits"] = torch.full((1, 1, 8, 8), logit(0.25))
    np.testing.assert_allclose(run(tensors).depth_m, 20.0, rtol=1e-5)  # 80 m * 0.25, also where nobody is
    np.testing.assert_allclose(run(tensors, depth_scale=1.5).depth_m, 30.0, rtol=1e-5)


def test_boxes_below_the_least_class_score_are_no_queries_whatever_their_centreness():
    tensors = empty()
    detect(tensors, CAR, (0, 0, 8, 8), 0.059, 0.999)
    detect(tensors, CAR, (0, 20, 8, 28), 0.061, 0.1, row=3)
    found = find_queries(tensors, tiny())
    assert found.boxes.tolist() == [[0, 20, 8, 28]]
    assert found.class_id.tolist() == [CAR]
    assert found.score.tolist() == pytest.approx([0.0061], rel=1e-4)


def test_what_is_left_out_by_its_score_changes_nothing_of_the_rest():
    tensors, random = empty(), np.random.default_rng(0)
    for row, column in np.ndindex(8, 8):  # boxes of many places overlap
        left, top, width, height = 3 * column, 3 * row, *(12 + 8 * random.random(2))
        score, centre = 0.3 + 0.6 * random.random(2)
        detect(tensors, CAR, (left, top, left + width, top + height), score, centre, row, column)
    every, some = find_queries(tensors, tiny()), find_queries(tensors, tiny(), 0.3)
    enough = every.score >= 0.3
    assert 5 < enough.sum() < len(enough) < 60
    torch.testing.assert_close(some.boxes, every.boxes[enough])
    assert some.class_id.tolist() == every.class_id[enough].tolist()


@pytest.mark.parametrize(
    ("other", "bottom", "left"),
    [
        (CAR, 14, 1),  # IoU 0.7 within a class: one object
        (CAR, 11, 2),  # 0.55
        (PERSON, 14, 2),  # 0.7 between classes: two
        (PERSON, 20, 1),  # the same box
    ],
)
def test_suppression_within_and_between_classes(other, bottom, left):
    tensors = empty()
    detect(tensors, CAR, (0, 0, 20, 20), 0.6, 0.9)
    detect(tensors, other, (0, 0, 20, bottom), 0.9, 0.5, column=1)  # likelier, but further from the middle
    found = find_queries(tensors, tiny())
    assert found.score.tolist() == pytest.approx([0.54, 0.45][:left])
    assert found.class_id.tolist() == [CAR, other][:left]


def test_so_many_boxes_of_a_level_and_of_all(monkeypatch):
    tensors = empty()
    for column in range(4):
        detect(tensors, CAR, (20 * column, 0, 20 * column + 9, 9), 0.5 + 0.1 * column, column=column)
    detect(tensors, PERSON, (0, 40, 9, 49), 0.55, level=4)
    assert find_queries(tensors, tiny()).score.tolist() == pytest.approx([0.8, 0.7, 0.6, 0.55, 0.5])
    monkeypatch.setattr(realtime_panoptic_boxes, "PER_LEVEL", 2)
    assert find_queries(tensors, tiny()).score.tolist() == pytest.approx([0.8, 0.7, 0.55])
    monkeypatch.setattr(realtime_panoptic_boxes, "MOST", 1)
    assert find_queries(tensors, tiny()).score.tolist() == pytest.approx([0.8])


def test_the_box_at_a_place_is_that_of_the_cell_around_it_on_the_level_named():
    height, width = 96, 160  # 160 / 128 is 1.25
    random = np.random.default_rng(0)
    tensors = {
        f"boxes_{level}": torch.from_numpy(random.random((1, 4, -(-height // z), -(-width // z)), np.float32))
        for level, z in STRIDES.items()
    }
    everywhere = dense_boxes(tensors, (24, 40))
    assert everywhere.shape == (1, 5, 4, 24, 40)
    tensors["levelness"] = torch.from_numpy(random.random((1, 6, 24, 40), np.float32))
    tensors["levelness"][:, 0] = 9.0  # background is no level
    found = dense_boxes(tensors, (24, 40))
    assert found.shape == (1, 1, 4, 24, 40)
    for y, x in [(0, 0), (23, 39), (10, 33), (17, 31)]:
        level = 3 + int(tensors["levelness"][0, 1:, y, x].argmax())
        row, column = 4 * y // STRIDES[level], 4 * x // STRIDES[level]
        expected = absolute_boxes(tensors[f"boxes_{level}"], STRIDES[level])[0, :, row, column]
        expected = expected.minimum(torch.tensor([160.0, 96.0, 160.0, 96.0]))  # within the image
        assert torch.equal(found[0, 0, :, y, x], expected)
        assert torch.equal(everywhere[0, level - 3, :, y, x], expected)


def test_iou_by_hand():
    dense = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [3, 3, 3, 3]]).view(1, 3, 4).permute(0, 2, 1)[:, :, None]
    queries = torch.tensor([[5.0, 0, 15, 10], [3, 3, 3, 3]])
    torch.testing.assert_close(box_iou(dense, queries), torch.tensor([[[1 / 3, 0, 0]], [[0.0, 0, 0]]]))


def test_without_levelness_the_best_level_counts():
    tensors = one_car()
    del tensors["levelness"]
    assert run(tensors).segments[0].area_px == 128


def scattered(seed):
    """Things in each other's way, their boxes and classes not quite certain."""
    random, tensors = torch.Generator().manual_seed(seed), empty()
    for k in range(8):
        row, column = torch.randint(0, 5, (2,), generator=random).tolist()
        class_id, box = (CAR, PERSON)[k % 2], (8 * column, 8 * row, 8 * column + 24, 8 * row + 24)
        paint(tensors, class_id, slice(row, row + 3), slice(column, column + 3), box)
        detect(tensors, class_id, box, 0.9 - 0.05 * k, row=row + 1, column=column + 1)
    tensors["boxes_3"] += 4 * torch.rand(tensors["boxes_3"].shape, generator=random)
    tensors["semantic_logits"] += 5 * torch.randn(tensors["semantic_logits"].shape, generator=random)
    tensors["levelness"][:, 1:3] = torch.rand((1, 2, 16, 16), generator=random) - torch.tensor([0.2, 0.8]).view(2, 1, 1)
    tensors["depth_logits"] = torch.randn((1, 1, 8, 8), generator=random)
    return tensors


@pytest.mark.parametrize("left_out", ["levelness", "depth_logits"])
def test_the_processors_path_is_that_of_plain_pytorch(left_out, monkeypatch):
    tensors, grid = scattered(0), OutputGrid(61, 60, 1.05, 1.06)
    del tensors[left_out]
    found = run(tensors, grid, overlap=0.2)
    assert {segment.class_id for segment in found.segments} >= {CAR, PERSON, ROAD}
    assert sum(segment.is_thing for segment in found.segments) > 3
    for name in ("_masks", "_dense", "_depth"):
        usual = getattr(realtime_panoptic_fusion, name)
        monkeypatch.setattr(realtime_panoptic_fusion, name, lambda *given, usual=usual: usual(*given[:-1], False))
    monkeypatch.setattr(realtime_panoptic_fusion, "finish", finish_on_device)
    plain = run(tensors, grid, overlap=0.2)
    same = found.panoptic == plain.panoptic
    assert same.mean() > 0.998  # ties and sums in another order
    np.testing.assert_allclose(found.confidence[same], plain.confidence[same], atol=1e-4)
    np.testing.assert_allclose(found.depth_m, plain.depth_m, rtol=1e-3)
    assert [s.panoptic_id for s in found.segments] == [s.panoptic_id for s in plain.segments]


@pytest.mark.parametrize("depth", [False, True])
def test_warming_up_and_predicting_with_a_weights_file(depth, tmp_path):
    network = network_of(depth=depth)
    warm_up(network.config, CITYSCAPES, torch.device("cpu"))
    save_weights(tmp_path / "tiny.safetensors", network, info_of(network.config))
    predictor = Predictor.load(tmp_path / "tiny.safetensors", device="cpu", input_size=(64, 96))
    found = predictor.predict(noise(50, 70)[0].numpy())
    assert found.panoptic.shape == (50, 70)
    assert np.isfinite(found.depth_m).all() == depth
    assert sum(s.area_px for s in found.segments) == (found.panoptic != VOID_PANOPTIC_ID).sum()

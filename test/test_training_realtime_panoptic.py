"""Real-Time Panoptic's objective: what each place should say, and each loss term against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from test_models_realtime_panoptic import network_of, noise, tiny

from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID, pack
from dps_perception.models.realtime_panoptic_boxes import Queries
from dps_perception.models.realtime_panoptic_config import STRIDES
from dps_perception.training import realtime_panoptic_criterion as module
from dps_perception.training.realtime_panoptic_criterion import (
    RealtimePanopticCriterion,
    RealtimePanopticLosses,
    places_of,
    worst_cross_entropy,
)
from dps_perception.training.targets import make_targets
from dps_perception.types import Sample

ROAD, PERSON, CAR = 0, 11, 13
CONFIG = tiny(depth=True)


def view(*things, size=(64, 64), depth=None, labelled=True, void=()):
    """Targets of a road with things: (class, top, bottom, left, right), later ones before earlier ones."""
    panoptic = np.full(size, pack(ROAD, 0), np.uint16)
    for number, (class_id, top, bottom, left, right) in enumerate(things):
        panoptic[top:bottom, left:right] = pack(class_id, number + 1)
    for top, bottom, left, right in void:
        panoptic[top:bottom, left:right] = VOID_PANOPTIC_ID
    depth_m = None if depth is None else np.full(size, depth, np.float32)
    image = np.zeros((*size, 3), np.uint8)
    return make_targets(Sample(image, panoptic if labelled else None, depth_m, None, "x"), CITYSCAPES, 4, 200, 88.0)


def silent(size=(64, 64), gradients=False):
    """Outputs that say 0 everywhere; boxes of 8 x 8 pixels around each place."""
    height, width = size
    outputs = {"semantic_logits": torch.zeros(1, 19, height // 8, width // 8)}
    outputs["levelness"] = torch.zeros(1, 6, height // 4, width // 4)
    outputs["depth_logits"] = torch.zeros(1, 1, height // 8, width // 8)
    for level, stride in STRIDES.items():
        cells = -(-height // stride), -(-width // stride)
        outputs[f"box_classes_{level}"] = torch.zeros(1, 8, *cells)
        outputs[f"centreness_{level}"] = torch.zeros(1, 1, *cells)
        outputs[f"boxes_{level}"] = torch.full((1, 4, *cells), 4.0)
    return {name: tensor.requires_grad_(gradients) for name, tensor in outputs.items()}


def terms_of(outputs, target, config=CONFIG, **weights):
    return RealtimePanopticCriterion(config, RealtimePanopticLosses(**weights))(outputs, [target])


def places(target, x, y, size=(64, 64), weakly=False):
    things = torch.tensor([k for k, c in enumerate(target.classes.tolist()) if c in CONFIG.thing_classes]).long()
    return places_of(target, things, torch.tensor(x).float(), torch.tensor(y).float(), size, weakly)


def test_memory_of_the_mask_loss_counts_where_there_is_one():
    weakly = RealtimePanopticLosses(weakly_supervised=True)
    assert module.kept_values(CONFIG, weakly, 100) == 3 * 19 * 100
    one = module.kept_values(CONFIG, RealtimePanopticLosses(), 100) - 3 * 19 * 100
    five = module.kept_values(tiny(levelness=False), RealtimePanopticLosses(), 100) - 3 * 19 * 100
    assert five == 5 * one > 0


def test_boxes_of_targets_are_half_open():
    target = view((CAR, 10, 21, 33, 50), (PERSON, 0, 64, 60, 64))
    assert target.classes.tolist() == [ROAD, PERSON, CAR]  # largest first
    assert target.boxes.tolist() == [[0, 0, 60, 64], [60, 0, 64, 64], [33, 10, 50, 21]]


@pytest.mark.parametrize("depth_stride_one", [False, True])
def test_a_place_belongs_to_the_mask_that_covers_it(depth_stride_one):
    target = view((CAR, 16, 48, 8, 40), (ROAD, 16, 32, 24, 40), void=[(0, 8, 0, 64)])  # the car is an L
    if depth_stride_one:  # labels at each pixel, for sparse depth
        target.segment = target.segment.repeat_interleave(4, 0).repeat_interleave(4, 1)
    found = places(target, [12, 28, 44], [4, 20, 44])
    assert found.owner.tolist() == [-2, -2, -2, 0, -1, -1, 0, 0, -1]
    assert found.distances[3].tolist() == [4, 4, 28, 28]
    assert float(found.centreness[3]) == pytest.approx(1 / 7)  # sqrt(4/28 * 4/28)
    assert float(found.centreness[6]) == pytest.approx(1 / 7)
    assert float(found.centreness[7]) == pytest.approx(math.sqrt(12 / 20 * 4 / 28))
    weakly = places(target, [12, 28, 44], [4, 20, 44], weakly=True)
    assert weakly.owner.tolist() == [-2, -2, -2, 0, 0, -1, 0, 0, -1]


def test_the_smallest_of_the_boxes_that_hold_a_place():
    target = view((CAR, 0, 48, 0, 48), (PERSON, 8, 24, 8, 24))
    assert target.classes.tolist() == [CAR, ROAD, PERSON]  # things number 0 and 1
    assert places(target, [4, 12], [12], weakly=True).owner.tolist() == [0, 1]
    assert places(target, [47, 48], [47, 48], weakly=True).owner.tolist() == [0, -1, -1, -1]  # boxes are half-open


def test_places_of_an_image_without_things():
    found = places(view(), [4, 12], [4])
    assert found.owner.tolist() == [-1, -1]
    assert found.distances.shape == (2, 4)


def test_levels_share_the_places_of_a_thing_by_their_farthest_edge():
    # A car of 200 x 100 pixels: its places are 100 to 200 from the farthest edge, so none is of level 3, 6 or 7.
    size, box = (128, 256), (16, 8, 216, 108)
    outputs = silent(size, gradients=True)
    terms = terms_of(outputs, view((CAR, 8, 108, 16, 216), size=size))
    (terms["centreness"] + terms["idle"]).backward()
    bounds = {3: (0, 64), 4: (64, 128), 5: (128, 256), 6: (256, 512), 7: (512, np.inf)}
    expected = {}
    for level, stride in STRIDES.items():
        rows, columns = outputs[f"boxes_{level}"].shape[2:]
        y, x = np.mgrid[:rows, :columns] * stride + stride // 2
        left, top, right, bottom = x - box[0], y - box[1], box[2] - x, box[3] - y
        nearest = np.minimum(np.minimum(left, right), np.minimum(top, bottom))
        farthest = np.maximum(np.maximum(left, right), np.maximum(top, bottom))
        expected[level] = (nearest > 0) & (farthest > bounds[level][0]) & (farthest <= bounds[level][1])
        assert (outputs[f"centreness_{level}"].grad[0, 0].numpy() != 0).tolist() == expected[level].tolist()
    assert [bool(expected[level].any()) for level in STRIDES] == [False, True, True, False, False]
    assert terms["centreness"].item() == pytest.approx(math.log(2), rel=1e-5)  # of 0 with any target


def test_levelness_is_the_level_of_the_farthest_edge_and_0_on_background():
    size, box = (128, 256), (16, 8, 216, 108)
    target = view((CAR, 8, 108, 16, 216), size=size, void=[(120, 128, 0, 256)])
    y, x = np.mgrid[:32, :64] * 4 + 2
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    farthest = np.maximum(np.maximum(x - box[0], box[2] - x), np.maximum(y - box[1], box[3] - y))
    level = np.where(inside, np.where(farthest <= 128, 2, 3), 0)
    outputs = silent(size)
    assert float(terms_of(outputs, target)["levelness"]) == pytest.approx(math.log(6), rel=1e-5)
    right = torch.nn.functional.one_hot(torch.from_numpy(level), 6).permute(2, 0, 1)[None].float() * 30
    right[:, :, 30:] = right[:, :, 30:].roll(1, 1)  # void is not asked
    outputs["levelness"] = right
    assert float(terms_of(outputs, target)["levelness"]) == pytest.approx(0, abs=1e-6)
    outputs["levelness"] = right.roll(1, 1)
    assert float(terms_of(outputs, target)["levelness"]) == pytest.approx(30, rel=1e-5)


def one_place():
    """A car of 8 x 8 pixels: one place, the middle, of level 3."""
    return view((CAR, 8, 16, 8, 16))


def test_box_and_centreness_terms_by_hand():
    outputs = silent()
    outputs["boxes_3"] = torch.tensor([2.0, 4, 4, 4]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    terms = terms_of(outputs, one_place())
    assert float(terms["boxes"]) == pytest.approx(-math.log(6 * 8 / 64), rel=1e-5)
    assert float(terms["centreness"]) == pytest.approx(math.log(2), rel=1e-5)
    outputs["centreness_3"] = torch.full((1, 1, 8, 8), math.log(3))
    assert float(terms_of(outputs, one_place())["centreness"]) == pytest.approx(-math.log(0.75), rel=1e-5)


def test_classification_by_hand_is_divided_by_the_positives():
    # 64 + 16 + 4 + 1 + 1 places of 8 classes, all at one half; one of them is a car.
    positive, negative = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    alone = float(terms_of(silent(), one_place())["classification"])
    assert alone == pytest.approx(positive + (86 * 8 - 1) * negative, rel=1e-5)
    two = view((CAR, 8, 16, 8, 16), (PERSON, 8, 16, 40, 48))
    assert float(terms_of(silent(), two)["classification"]) == pytest.approx(
        (2 * positive + (86 * 8 - 2) * negative) / 2, rel=1e-5
    )
    none = view(void=[(0, 32, 0, 64)])  # half of the places are unknown
    known = 4 * 8 + 2 * 4 + 1 * 2 + 1 + 1  # the rows of level 5 lie at 16 and 48, of level 6 at 32, of level 7 at 64
    assert float(terms_of(silent(), none)["classification"]) == pytest.approx(known * 8 * negative, rel=1e-5)
    outputs = silent()
    outputs["box_classes_3"] = torch.full((1, 8, 8, 8), -30.0)
    outputs["box_classes_3"][0, CONFIG.thing_classes.index(CAR), 1, 1] = 30.0
    others = float(terms_of(outputs, one_place())["classification"])
    assert others == pytest.approx((86 - 64) * 8 * negative, rel=1e-5)


def test_semantics_by_hand_looks_at_the_worst_third_of_what_is_known():
    probability = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01, 0.02]).view(1, 1, 3, 4)
    logits = torch.cat([probability.log(), (1 - probability).log()], 1)
    semantic = torch.zeros(3, 4, dtype=torch.long)
    semantic[2, 2:] = 255
    value = float(worst_cross_entropy(logits, semantic, 0.3))
    assert value == pytest.approx(-np.log([0.05, 0.1, 0.2]).mean(), rel=1e-5)
    assert float(worst_cross_entropy(logits, torch.full((3, 4), 255), 0.3)) == 0
    semantic[:] = 255
    semantic[0, 0] = 1
    assert float(worst_cross_entropy(logits, semantic, 0.3)) == pytest.approx(-math.log(0.1), rel=1e-5)


def say_box(outputs, box):
    """Let every place of every level say this box."""
    for level, stride in STRIDES.items():
        rows, columns = outputs[f"boxes_{level}"].shape[2:]
        y, x = (torch.from_numpy(v).float() for v in np.mgrid[:rows, :columns] * stride + stride // 2)
        parts = [x - box[0], y - box[1], box[2] - x, box[3] - y]
        outputs[f"boxes_{level}"] = torch.stack(parts)[None].requires_grad_()


@pytest.mark.parametrize("levelness", [True, False])
def test_mask_term_by_hand(levelness, monkeypatch):
    # The car is the left half, every place says its box, the query is the whole image: IoU 1/2 at all places, and so is
    # beta. Of 128 places each, half of the car's are missed and half of the road's are taken: (64 + 64) / 128 * 1/2.
    query = torch.tensor([[0.0, 0, 64, 64]])
    monkeypatch.setattr(module, "find_queries", lambda own, config: Queries(query, torch.tensor([CAR]), torch.ones(1)))
    outputs, config = silent(), tiny(levelness=levelness)
    if not levelness:
        del outputs["levelness"]
    say_box(outputs, (0, 0, 32, 64))
    term = terms_of(outputs, view((CAR, 0, 64, 0, 32)), config)["mask"]
    assert term.item() == pytest.approx(0.5, rel=1e-5)
    term.backward()
    assert outputs["boxes_3"].grad.abs().sum() > 0
    void = view((CAR, 0, 64, 0, 32), void=[(0, 64, 48, 64)])  # half of the road is unknown
    assert terms_of(outputs, void, config)["mask"].item() == pytest.approx(0.375, rel=1e-5)


def test_mask_term_is_the_mean_over_queries_each_with_the_thing_it_overlaps_most(monkeypatch):
    boxes = torch.tensor([[0.0, 0, 32, 64], [32, 0, 64, 64]])
    found = Queries(boxes, torch.tensor([CAR, CAR]), torch.ones(2))
    monkeypatch.setattr(module, "find_queries", lambda own, config: found)
    outputs = silent()
    say_box(outputs, (0, 0, 32, 64))
    # The first query: half the places are wrong, the person's, all of whom say the car's box: 128 / 128. The second:
    # nobody says its box, all of the person is missed: 128 / 128.
    target = view((CAR, 0, 64, 0, 32), (PERSON, 0, 64, 32, 64))
    assert terms_of(outputs, target)["mask"].item() == pytest.approx(1.0, rel=1e-5)
    monkeypatch.setattr(module, "PROPOSALS", 1)
    assert terms_of(outputs, target)["mask"].item() == pytest.approx(1.0, rel=1e-5)
    assert "mask" not in terms_of(outputs, target, weakly_supervised=True)
    nobody = Queries(boxes[:0], found.class_id[:0], found.score[:0])
    monkeypatch.setattr(module, "find_queries", lambda own, config: nobody)
    assert terms_of(outputs, target)["mask"].item() == 0


def test_depth_term():
    outputs = silent()
    assert float(terms_of(outputs, view(depth=44.0))["depth"]) == pytest.approx(0, abs=1e-5)  # sigmoid(0) * 88 m
    # Half of the true depth everywhere: no variance, and a relative error of one half.
    assert float(terms_of(outputs, view(depth=88.0))["depth"]) == pytest.approx(0.5, rel=1e-5)
    assert set(terms_of(outputs, view(depth=44.0, labelled=False))) == {"depth", "idle"}
    assert "depth" not in terms_of(outputs, view())


def test_weights_and_the_mean_over_the_images_that_have_a_term():
    both = {name: tensor.expand(2, -1, -1, -1) for name, tensor in silent().items()}
    criterion = RealtimePanopticCriterion(CONFIG, RealtimePanopticLosses(centreness=3.0, depth=0.5))
    terms = criterion(both, [one_place(), view(depth=88.0, labelled=False)])
    assert float(terms["centreness"]) == pytest.approx(3 * math.log(2), rel=1e-5)
    assert float(terms["depth"]) == pytest.approx(0.25, rel=1e-5)


KINDS = {
    "things": lambda: view((CAR, 8, 40, 8, 60), (PERSON, 20, 44, 4, 16), depth=20.0),
    "no things": lambda: view(depth=20.0),
    "no labels": lambda: view(labelled=False, depth=20.0),
    "no depth": lambda: view((CAR, 8, 40, 8, 60)),
    "all void": lambda: view(void=[(0, 64, 0, 64)]),
    "nothing": lambda: view(labelled=False),
    "one pixel of depth": lambda: one_depth(),
}


def one_depth():
    target = view((CAR, 8, 40, 8, 60), depth=20.0)
    target.depth_m[1:] = torch.nan
    target.depth_m[:, 1:] = torch.nan
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_whatever_an_image_lacks(kind):
    outputs = silent(gradients=True)
    sum(terms_of(outputs, KINDS[kind]()).values()).backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in outputs.values())


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, {}),
        ({"two_towers": False}, {}),
        ({"levelness": False}, {}),
        ({"norm": "batch", "depth": True}, {}),
        ({}, {"weakly_supervised": True}),
    ],
)
def test_each_variant_learns(changes, weights):
    network = network_of(**changes).train()
    with torch.no_grad():
        network.box_classes.bias += 3.0  # so that there are queries for the mask loss
    criterion = RealtimePanopticCriterion(network.config, RealtimePanopticLosses(**weights))
    targets, images = [make() for make in KINDS.values()], noise(64, 64, batch=len(KINDS)).clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    totals = []
    for _ in range(3):
        torch.manual_seed(0)
        terms = criterion(network(images), targets)
        total = sum(terms.values())
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        totals.append(total.item())
    assert totals[2] < totals[0]
    assert ("mask" in terms) == (not weights)
    assert ("depth" in terms) == changes.get("depth", False)

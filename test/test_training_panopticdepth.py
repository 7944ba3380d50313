"""PanopticDepth's losses, worked out by hand, and a step of each of its variants."""

import math

import numpy as np
import pytest
import torch
from panopticdepth_scene import CAR, CAR_MAP, THINGS, road, targets_of
from torchvision.ops import sigmoid_focal_loss

from dps_perception.labels import VOID_PANOPTIC_ID, pack
from dps_perception.models.families import build
from dps_perception.models.panopticdepth_config import PanopticDepthConfig
from dps_perception.training.objectives import OBJECTIVES
from dps_perception.training.panopticdepth_criterion import (
    PanopticDepthCriterion,
    PanopticDepthLosses,
    depth_loss,
    position_loss,
)
from dps_perception.training.panopticdepth_targets import level_targets


def test_position_loss_by_hand_and_as_torchvision_has_it():
    logits, known = torch.tensor([[[math.log(4.0)] * 3]]), torch.tensor([[1.0, 0.5, 1.0]])
    wanted = torch.tensor([[[1.0, 0.0, 0.5]]])  # p = 0.8
    right, wrong = 0.25 * 0.2**2 * -math.log(0.8), 0.75 * 0.8**2 * -math.log(0.2)
    soft = 0.5 * 0.5**2 * -(math.log(0.8) + math.log(0.2)) / 2
    assert float(position_loss(logits, wanted, known[0][None])) == pytest.approx(right + wrong / 2 + soft, rel=1e-5)
    logits, wanted = torch.randn(3, 4, 5), torch.rand(3, 4, 5)
    torch.testing.assert_close(
        position_loss(logits, wanted, torch.ones(4, 5)), sigmoid_focal_loss(logits, wanted, 0.25, 2, reduction="sum")
    )


def test_depth_loss_by_hand():
    # Variance of the logarithms of 1, .8, 1.25 and the root of the mean of 0, .04, .0625.
    depth, true = torch.tensor([10.0, 20.0, 40.0]), torch.tensor([10.0, 25.0, 32.0])
    expected = 0.0331954 + math.sqrt(0.1025 / 3)
    assert float(depth_loss(depth, true)) == pytest.approx(expected, rel=1e-5)
    assert float(depth_loss(2 * depth, true)) == pytest.approx(0.0331954 + math.sqrt((1 + 0.36 + 2.25) / 3), rel=1e-5)


# A 32x32 image: road, and a car of columns 24..32. Cells a side on the levels: 4, 2, 1, 1, 1. The car is of level 3
# alone, where it has the four cells of the last column. The road speaks on level 3 (12 cells), on level 4 (4: it has
# half of the middle of the right ones) and on level 5; the only cells of levels 6 and 7 have their middle on the edge.
SIZES = {3: 4, 4: 2, 5: 1, 6: 1, 7: 1}
LAST = np.s_[:, :, :, 3]


def config(**changes):
    return PanopticDepthConfig(backbone="resnet18", channels=8, depth_channels=2, **changes)


def street(void=False):
    panoptic = road(32, 32)
    panoptic[:, 24:] = pack(CAR, 1)
    if void:
        panoptic[2::4] = panoptic[3::4] = VOID_PANOPTIC_ID  # the lower half of each cell
    depth = np.full((32, 32), 10.0, np.float32)
    depth[:, 24:] = 20.0
    return targets_of(panoptic, depth)


def logit(p):
    return math.log(p / (1 - p))


def outputs_of(shift_road=10 / 88, shift_car=20 / 88):
    """Everything right: channel 0 of the mask embedding is the car, channel 1 all else; depths are the shifts."""
    outputs = {"depth_embedding": torch.zeros(1, 2, 8, 8)}
    side = torch.where(torch.arange(8) < 6, -30.0, 30.0).expand(8, 8)
    outputs["mask_embedding"] = torch.stack([side, -side])[None].clone()
    for n, size in SIZES.items():
        outputs[f"positions_{n}"] = torch.zeros(1, 27, size, size)
        outputs[f"thing_kernels_{n}"] = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).repeat(1, 1, size, size)
        outputs[f"stuff_kernels_{n}"] = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).repeat(1, 1, size, size)
        outputs[f"depth_kernels_{n}"] = torch.zeros(1, 4, size, size)
        outputs[f"depth_kernels_{n}"][:, 2] = logit(shift_road)
    outputs["depth_kernels_3"][LAST][:, 2] = logit(shift_car)
    return outputs


def losses(outputs, target, weights=None, **changes):
    terms = PanopticDepthCriterion(config(**changes), weights or PanopticDepthLosses())(outputs, [target])
    return {name: float(value) for name, value in terms.items()}


def test_a_right_answer_costs_nothing_but_for_positions():
    terms = losses(outputs_of(), street())
    assert set(terms) == {"position", "segmentation", "depth", "instance_depth", "idle"}
    assert terms["segmentation"] == pytest.approx(0, abs=1e-4)
    assert terms["depth"] == pytest.approx(0, abs=1e-4)
    assert terms["instance_depth"] == pytest.approx(0, abs=1e-4)
    assert terms["idle"] == 0


def test_positions_are_counted_by_things_and_by_cells():
    # All probabilities are one half. Centres: one thing, so the sum over all levels; regions: the mean of each level.
    # A cell with target t costs (.75 - .5 t) * ln 2 / 4: its distance from one half is the same for every t.
    levels = level_targets(street(), THINGS, 19)
    cost = lambda t: ((0.75 - 0.5 * t) * math.log(2) / 4).sum()  # noqa: E731
    expected = sum(float(cost(level.centres) + cost(level.regions) / level.known.numel()) for level in levels.values())
    assert losses(outputs_of(), street())["position"] == pytest.approx(expected, rel=1e-5)


def test_masks_of_things_and_of_stuff_on_its_three_levels_weigh_the_same():
    outputs = outputs_of()
    outputs["thing_kernels_3"].zero_()  # p = 1/2 all over, the car has 16 of 64 cells: 1 - 2 * 8 / (16 + 16)
    assert losses(outputs, street())["segmentation"] == pytest.approx(4 * 0.5 / 4, rel=1e-3)
    outputs = outputs_of()
    outputs["stuff_kernels_4"].zero_()  # one of the road's levels: 1 - 2 * 24 / (16 + 48)
    assert losses(outputs, street())["segmentation"] == pytest.approx(4 * 0.25 / 4, rel=1e-3)


def test_places_of_a_thing_weigh_by_their_score():
    outputs = outputs_of()
    outputs["positions_3"][0, CAR_MAP, :, 3] = torch.tensor([logit(0.9), 0, 0, 0])
    outputs["positions_3"][0, CAR_MAP, :, :3] = 9.0  # not inside the car
    outputs["thing_kernels_3"][0, :, 0, 3] = 0
    assert losses(outputs, street())["segmentation"] == pytest.approx(0.5 * 0.9 / 2.4, rel=1e-3)


def test_only_the_seven_best_places_of_a_thing_learn_its_mask():
    panoptic = road(32, 32)
    panoptic[:, 16:] = pack(CAR, 1)  # eight cells of level 3
    outputs = outputs_of()
    outputs["mask_embedding"] *= torch.where(torch.arange(8) == 4, -1, 1) * torch.where(torch.arange(8) == 5, -1, 1)
    outputs["positions_3"][0, CAR_MAP, 2, 2] = -1.0
    right = losses(outputs, targets_of(panoptic))["segmentation"]
    assert right == pytest.approx(0, abs=1e-4)
    outputs["thing_kernels_3"][0, :, 2, 2] = 0
    assert losses(outputs, targets_of(panoptic))["segmentation"] == right
    outputs["thing_kernels_3"][0, :, 2, 3] = 0  # one of the seven: dice 1 - 2 * 16 / (16 + 32); four speakers
    assert losses(outputs, targets_of(panoptic))["segmentation"] == pytest.approx(1 / 3 / 7, rel=1e-3)


def test_void_pixels_of_a_cell_take_nothing_from_its_mask():
    assert losses(outputs_of(), street(void=True))["segmentation"] == pytest.approx(0, abs=1e-4)


def test_depth_counts_by_pixels_and_once_more_by_segments():
    # The car, a quarter of the pixels and one of two segments, a quarter too far.
    terms = losses(outputs_of(shift_car=25 / 88), street())
    ratio = math.log(1.25)
    assert terms["depth"] == pytest.approx(5 * (3 / 16 * ratio**2 + 0.25 * math.sqrt(1 / 4)), rel=1e-4)
    assert terms["instance_depth"] == pytest.approx(5 * (1 / 4 * ratio**2 + 0.25 * math.sqrt(1 / 2)), rel=1e-4)


def test_a_segments_depth_kernel_is_the_mean_over_its_places_on_all_levels():
    # The road has 12 + 4 + 1 places, the last on level 5.
    outputs = outputs_of()
    outputs["depth_kernels_5"][0, 2] += 17.0
    wrong = 88 / (1 + math.exp(-(logit(10 / 88) + 1))) / 10
    terms = losses(outputs, street())
    expected = 5 * (math.log(wrong) ** 2 / 4 + (wrong - 1) * math.sqrt(1 / 2))
    assert terms["instance_depth"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("how", "metres"), [("T2", 0.2 * 0.25 + 0.25), ("T1", 0.2 * 0.75 + 0.25), ("", 0.75)])
def test_depth_of_each_normalisation(how, metres):
    outputs = outputs_of()
    outputs["depth_embedding"][:] = 1.0
    for n in SIZES:
        outputs[f"depth_kernels_{n}"][0] = torch.tensor([logit(0.75), 0, logit(0.25), logit(0.2)]).view(4, 1, 1)
    target = street()
    target.depth_m[:] = 88 * metres
    assert losses(outputs, target, depth_normalisation=how)["depth"] == pytest.approx(0, abs=1e-4)
    target.depth_m[:] *= 2  # half of what it should be, everywhere
    assert losses(outputs, target, depth_normalisation=how)["depth"] == pytest.approx(5 * 0.5, rel=1e-4)


@pytest.mark.parametrize(("how", "shift"), [("T2", 20), ("T1", 15)])
def test_shifts_are_means_or_least_depths(how, shift):
    target = street()
    target.depth_m[:4, 6:], target.depth_m[4:, 6:] = 15.0, 25.0
    terms = losses(outputs_of(shift_car=shift / 88), target, depth_normalisation=how)
    assert terms["instance_depth"] == pytest.approx(0, abs=1e-4)


def test_the_instance_loss_can_be_left_out():
    assert "instance_depth" not in losses(outputs_of(), street(), depth_normalisation="")
    assert "instance_depth" not in losses(outputs_of(), street(), PanopticDepthLosses(instance_depth=0.0))
    doubled = losses(outputs_of(shift_car=25 / 88), street(), PanopticDepthLosses(depth=10.0, instance_depth=2.0))
    once = losses(outputs_of(shift_car=25 / 88), street())
    assert doubled["depth"] == pytest.approx(2 * once["depth"])
    assert doubled["instance_depth"] == pytest.approx(4 * once["instance_depth"])


def test_dense_depth_learns_from_images_without_labels():
    outputs = {**outputs_of(), "depth_embedding": torch.full((1, 1, 8, 8), logit(20 / 88))}
    outputs = {name: tensor for name, tensor in outputs.items() if not name.startswith("depth_kernels")}
    unlabelled = street()
    unlabelled.labelled = False
    unlabelled.depth_m[:] = 10.0
    assert losses(outputs, unlabelled, depth="dense") == pytest.approx({"depth": 5.0, "idle": 0}, rel=1e-5)


def empty(kind):
    if kind == "no things":
        return targets_of(road(32, 32), np.full((32, 32), 10.0, np.float32))
    target = (
        street() if kind in ("no depth", "no labels") else targets_of(np.full((32, 32), VOID_PANOPTIC_ID, np.uint16))
    )
    if kind != "all void":
        target.depth_m[:] = math.nan
        target.labelled = kind != "no labels"
    return target


@pytest.mark.parametrize("depth", ["instance", "dense", ""])
@pytest.mark.parametrize("kind", ["no things", "no depth", "no labels", "all void"])
def test_empty_images_have_finite_gradients_for_every_output(kind, depth):
    outputs = {name: tensor.requires_grad_() for name, tensor in outputs_of().items()}
    if depth != "instance":
        outputs = {name: tensor for name, tensor in outputs.items() if not name.startswith("depth")}
    if depth == "dense":
        outputs["depth_embedding"] = torch.zeros(1, 1, 8, 8, requires_grad=True)
    terms = PanopticDepthCriterion(config(depth=depth), PanopticDepthLosses())(outputs, [empty(kind)])
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert math.isfinite(total.item())
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in outputs.values())


def test_depth_below_zero_is_no_accident():
    outputs = outputs_of(shift_car=0.01)
    outputs["depth_embedding"][:] = 1.0
    outputs["depth_kernels_3"][:, :2] = -9.0  # 0.01 - 0.25 of the range
    assert all(math.isfinite(value) for value in losses(outputs, street()).values())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm": "batch", "deformable": False},
        {"depth": ""},
        {"depth": "dense"},
        {"depth_normalisation": "T1"},
        {"depth_normalisation": "", "kernel_fusion": False},
    ],
)
def test_one_step_of_each_variant_moves_every_weight_that_it_should(changes):
    torch.manual_seed(0)
    own = config(**changes)
    objective = OBJECTIVES[own.family]
    network = build(own).train()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    terms = objective.criterion(own, PanopticDepthLosses())(network(images), [street(), empty("no things")])
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())
    optimizer.step()
    still = [name for name, weight in network.named_parameters() if torch.equal(weight, before[name])]
    assert not [name for name in still if not name.startswith("backbone.")]

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.training.criterion import Criterion, LossWeights, sample
from dps_perception.training.guidance import boundary_triplet, depth_continuity
from dps_perception.training.losses import depth_loss, focal_loss, mask_losses, semantic_loss
from dps_perception.training.matching import dice, match, matching_score
from dps_perception.training.targets import Targets

DEPTH, TRUE_DEPTH = torch.tensor([10.0, 20.0, 40.0]), torch.tensor([10.0, 25.0, 32.0])


def test_depth_loss_by_hand():
    ratio = torch.tensor([1.0, 0.8, 1.25])
    variance = ratio.log().numpy().var()
    assert variance == pytest.approx(0.0331954, rel=1e-5)
    assert float(depth_loss(DEPTH, TRUE_DEPTH)) == pytest.approx(0.3508191, rel=1e-5)


def test_depth_loss_variance_does_not_see_a_common_factor():
    # Doubling d leaves 5 * variance = .1659768 and gives the relative term 1.0969655.
    assert float(depth_loss(2 * DEPTH, TRUE_DEPTH)) == pytest.approx(5 * 0.0331954 + 1.0969655, rel=1e-5)


def test_dice_and_matching_score_by_hand():
    p, t = torch.tensor([[0.9, 0.8, 0.2, 0.1]]), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    value = dice(p, t)
    assert float(value) == pytest.approx(0.9714008, rel=1e-5)
    assert float(matching_score(torch.tensor([[0.6]]), value)) == pytest.approx(0.8821634, rel=1e-5)


def test_focal_loss_by_hand():
    # p = 0.9 on the target: 0.25 * 0.1^2 * -ln 0.9; p = 0.2 off the target: 0.75 * 0.2^2 * -ln 0.8.
    logits = torch.tensor([[[math.log(9.0), math.log(0.25)]]])
    expected = 0.25 * 0.01 * -math.log(0.9) + 0.75 * 0.04 * -math.log(0.8)
    assert float(focal_loss(logits, torch.tensor([[[1.0, 0.0]]]), 2.0)) == pytest.approx(expected / 2, rel=1e-5)


def test_mask_losses_ignore_void():
    logits = torch.tensor([[2.0, -1.0, 50.0]])
    targets, valid = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    bce, dice_loss = mask_losses(logits, targets, valid)
    assert float(bce) == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2, rel=1e-5)
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    assert float(dice_loss) == pytest.approx(1 - 2 * p / (p * p + q * q + 1 + 1e-4), rel=1e-5)


def test_semantic_loss_without_labels_is_zero():
    assert float(semantic_loss(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255), 255)) == 0


def test_each_group_is_matched_on_its_own_like_scipy():
    generator = torch.Generator().manual_seed(0)
    classes = [torch.tensor([1, 0, 2])]
    masks = [torch.rand(3, 4, 4, generator=generator)]
    class_logits = torch.randn(1, 10, 3, generator=generator)
    mask_logits = torch.randn(1, 10, 4, 4, generator=generator)
    ((query, target),) = match(class_logits, mask_logits, classes, masks, groups=2)
    assert target.tolist() == [0, 1, 2, 0, 1, 2]
    p = mask_logits[0].sigmoid().flatten(1).numpy().astype(float)
    t = masks[0].flatten(1).numpy().astype(float)
    overlap = 2 * p @ t.T / ((p**2).sum(1)[:, None] + (t**2).sum(1) + 1e-4)
    score = class_logits[0].sigmoid().numpy()[:, [1, 0, 2]] ** 0.2 * overlap**0.8
    for g in range(2):
        rows, columns = linear_sum_assignment(-score[g * 5 : g * 5 + 5])
        expected = rows[np.argsort(columns)] + g * 5
        assert query[g * 3 : g * 3 + 3].tolist() == expected.tolist()


def two_segment_targets():
    """A 4x4 grid of stride-4 cells: class 1 left at 10 m, class 0 right at 20 m."""
    segment = torch.tensor([[0, 0, 1, 1]] * 4)
    masks = torch.stack([(segment == k) * 16 for k in (0, 1)]).to(torch.uint8)
    return Targets(
        labelled=True,
        classes=torch.tensor([1, 0]),
        masks=masks,
        valid=torch.full((4, 4), 16, dtype=torch.uint8),
        boxes=torch.tensor([[0.0, 0, 8, 16], [8, 0, 16, 16]]),
        segment=segment,
        depth_m=torch.where(segment == 0, 10.0, 20.0),
        semantic=1 - segment,
    )


def perfect_outputs(depth_left, depth_right):
    """Two groups of two queries; both get everything right but for the depths given."""
    left = torch.tensor([[30.0, -30.0]] * 2)
    logit = lambda d: math.log(d / 88 / (1 - d / 88))  # noqa: E731
    one_class = torch.tensor([[-20.0, 20.0], [20.0, -20.0]])
    depth = torch.tensor([logit(depth_left), logit(depth_right)])
    return {
        "class_logits": one_class.repeat(2, 1)[None],
        "mask_logits": torch.stack([left, -left]).repeat(2, 1, 1)[None],
        "depth_logits": depth.repeat(2)[None, :, None, None].expand(1, 4, 2, 2),
    }


def test_void_pixels_of_a_cell_take_nothing_from_its_target():
    targets = two_segment_targets()
    targets.masks[:, 1] //= 2
    targets.valid[1] //= 2
    losses = Criterion(CONFIG, LossWeights())(perfect_outputs(10.0, 20.0), [targets])
    assert float(losses["bce"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["dice"]) == pytest.approx(0, abs=1e-3)


CONFIG = EfficientDPSConfig(backbone="resnet18", channels=8, num_classes=2, num_queries=2, num_groups=2)


@pytest.mark.parametrize("points", [0, 16])
def test_criterion_of_a_perfect_answer_is_nearly_nothing(points):
    terms = Criterion(CONFIG, LossWeights(points=points))(perfect_outputs(10.0, 20.0), [two_segment_targets()])
    assert float(terms["classification"]) < 1e-4
    assert float(terms["depth"]) < 1e-3
    # Upsampling softens one column of cells at the border (probability one half there), nothing else.
    assert float(terms["dice"]) < 0.3


def test_criterion_reads_each_cells_own_depth():
    # Left twice too far, right exact: ratios are 2 and 1, half of the cells each.
    terms = Criterion(CONFIG, LossWeights())(perfect_outputs(20.0, 20.0), [two_segment_targets()])
    expected = 5 * (math.log(2) / 2) ** 2 + math.sqrt(0.5)
    assert float(terms["depth"]) == pytest.approx(expected, rel=1e-3)


def test_criterion_without_any_target_still_has_a_gradient():
    empty = Targets(
        labelled=True,
        classes=torch.zeros(0, dtype=torch.int64),
        masks=torch.zeros(0, 4, 4, dtype=torch.uint8),
        valid=torch.zeros(4, 4, dtype=torch.uint8),
        boxes=torch.zeros(0, 4),
        segment=torch.full((4, 4), -1),
        depth_m=torch.full((4, 4), math.nan),
        semantic=torch.full((4, 4), 255),
    )
    outputs = {k: v.clone().requires_grad_() for k, v in perfect_outputs(10.0, 20.0).items()}
    total = torch.stack(list(Criterion(CONFIG, LossWeights())(outputs, [empty]).values())).sum()
    total.backward()
    assert math.isfinite(total.item())
    assert outputs["class_logits"].grad.abs().sum() > 0


def test_focus_is_the_share_of_activation_on_the_target():
    # Both targets are halves of the image: spread evenly, half of each map is inside; on the left alone, all or none.
    outputs = perfect_outputs(10.0, 20.0)
    outputs["activation"] = torch.full((1, 4, 2, 2), 0.25)
    focus = lambda: float(Criterion(CONFIG, LossWeights(focus=1.0))(outputs, [two_segment_targets()])["focus"])  # noqa: E731
    assert focus() == pytest.approx(math.log(2), rel=1e-5)
    outputs["activation"] = torch.tensor([[0.4, 0.1], [0.4, 0.1]]).expand(1, 4, 2, 2)
    assert focus() == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2, rel=1e-5)


def test_taps_are_what_upsampling_reads():
    # An outside source: torch's own bilinear upsampling, by two and by eight, and a non-integer ratio.
    source = torch.randn(3, 5, 7)
    for size in ((10, 14), (40, 56), (13, 17)):
        wanted = torch.nn.functional.interpolate(source[None], size, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(sample(source, torch.arange(size[0] * size[1]), size), wanted.flatten(1))


def test_depth_at_full_resolution_reads_every_pixel():
    # Left 20 m instead of 10 m in the two upper of 16 pixel rows alone: at stride 1 that is an eighth of the left half.
    coarse = two_segment_targets()
    fine = replace(
        coarse,
        segment=coarse.segment.repeat_interleave(4, 0).repeat_interleave(4, 1),
        depth_m=torch.where(torch.arange(16) < 8, 10.0, 20.0).expand(16, 16).clone(),
    )
    fine.depth_m[:2, :8] = 20.0
    terms = Criterion(CONFIG, LossWeights())(perfect_outputs(10.0, 20.0), [fine])
    share = 16 / 256
    variance = share * (1 - share) * math.log(2) ** 2
    assert float(terms["depth"]) == pytest.approx(5 * variance + math.sqrt(share * 0.25), rel=1e-3)


def unlabelled(depth_m):
    return Targets(
        labelled=False,
        classes=torch.zeros(0, dtype=torch.int64),
        masks=torch.zeros(0, 4, 4, dtype=torch.uint8),
        valid=torch.zeros(4, 4, dtype=torch.uint8),
        boxes=torch.zeros(0, 4),
        segment=torch.full((4, 4), -1),
        depth_m=depth_m,
        semantic=torch.full((4, 4), 255),
    )


def test_an_image_without_labels_teaches_depth_alone():
    # One point on each side. The fused depth of a group is 20 on the left (10 wanted) and 20 on the right (20 wanted).
    depth = torch.full((4, 4), math.nan)
    depth[1, 0], depth[2, 3] = 10.0, 20.0
    outputs = {k: v.clone().requires_grad_() for k, v in perfect_outputs(20.0, 20.0).items()}
    terms = Criterion(CONFIG, LossWeights())(outputs, [unlabelled(depth)])
    assert terms["depth"].item() == pytest.approx(5 * (math.log(2) / 2) ** 2 + math.sqrt(0.5), rel=1e-3)
    assert terms["classification"].item() == terms["bce"].item() == terms["dice"].item() == 0
    torch.stack(list(terms.values())).sum().backward()
    assert outputs["depth_logits"].grad.abs().sum() > 0
    assert outputs["mask_logits"].grad.abs().sum() == 0
    assert outputs["class_logits"].grad.abs().sum() == 0


@pytest.mark.parametrize("points", [0, 8])
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_an_image_without_segments_leaves_the_others_mask_losses_alone(points, order):
    outputs, nothing = perfect_outputs(10.0, 20.0), unlabelled(torch.full((4, 4), math.nan))
    both = {name: value.repeat(2, 1, *[1] * (value.ndim - 2)) for name, value in outputs.items()}
    torch.manual_seed(0)
    alone = Criterion(CONFIG, LossWeights(points=points))(outputs, [two_segment_targets()])
    torch.manual_seed(0)
    targets = [two_segment_targets(), nothing]
    terms = Criterion(CONFIG, LossWeights(points=points))(both, [targets[i] for i in order])
    for name in ("bce", "dice", "depth", "classification"):
        assert float(terms[name]) == pytest.approx(float(alone[name]), rel=1e-5), name


def test_the_backup_query_speaks_where_no_query_does():
    # No confident query: the backup alone says 40 m where 20 m is true: ratio 2 everywhere.
    outputs = perfect_outputs(10.0, 10.0)
    outputs["class_logits"] = torch.full((1, 4, 2), -20.0)
    outputs["backup_depth_logits"] = torch.full((1, 1, 2, 2), math.log(40 / 88 / (1 - 40 / 88)))
    terms = Criterion(CONFIG, LossWeights())(outputs, [unlabelled(torch.full((4, 4), 20.0))])
    assert float(terms["depth"]) == pytest.approx(1.0, rel=1e-3)


def test_points_depend_on_the_seed_alone():
    def run(seed):
        torch.manual_seed(seed)
        terms = Criterion(CONFIG, LossWeights(points=3))(perfect_outputs(20.0, 20.0), [two_segment_targets()])
        return float(terms["depth"])

    assert run(1) == run(1)
    assert len({run(seed) for seed in range(8)}) > 1


def stripes():
    """8x8 cells, left half segment 0, right half segment 1, features one-hot by side."""
    segment = (torch.arange(8) >= 4).long().expand(8, 8)
    return torch.stack([segment == 0, segment == 1]).float(), segment


def test_boundary_triplet_by_hand():
    features, segment = stripes()
    # Features that follow the segments: own distance 0, other distance 2, so the margin of 0.3 is kept everywhere.
    assert float(boundary_triplet(features, segment, None)) == 0
    # The same feature everywhere: both distances are 0 and the margin is what remains.
    same = torch.zeros_like(features)
    same[0] = 1
    assert float(boundary_triplet(same, segment, None)) == pytest.approx(0.3)
    # No boundary, no term.
    assert float(boundary_triplet(same, torch.zeros_like(segment), None)) == 0


def test_depth_continuity_by_hand():
    segment = torch.zeros(1, 4, dtype=torch.int64)
    depth = torch.tensor([[10.0, 10.0, 10.0 * math.e, 10.0 * math.e]])
    # One step in depth of log 1, where e^-10 is left of the weight; features step there, then where depth is flat.
    at_edge = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    inside = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    assert float(depth_continuity(at_edge, segment, depth)) == pytest.approx(math.exp(-10) / 3, rel=1e-4)
    assert float(depth_continuity(inside, segment, depth)) == pytest.approx(1 / 3)
    # Another segment or unknown depth: that pair doesn't count.
    split = torch.tensor([[0, 1, 1, 1]])
    assert float(depth_continuity(inside, split, depth)) == 0
    assert float(depth_continuity(inside, segment, torch.full((1, 4), math.nan))) == 0


def test_unknown_depth_gives_no_gradient_of_continuity():
    features = torch.tensor([[[1.0, 0.5, 0.0, 0.0]]], requires_grad=True)
    depth = torch.tensor([[10.0, 10.0, math.nan, 10.0]])
    depth_continuity(features, torch.zeros(1, 4, dtype=torch.int64), depth).backward()
    assert features.grad.flatten().tolist() == [1.0, -1.0, 0.0, 0.0]


def test_guidance_terms_join_the_objective():
    outputs = perfect_outputs(10.0, 20.0)
    outputs["depth_embedding"] = torch.ones(1, 3, 2, 2)
    outputs["mask_embedding"] = torch.ones(1, 3, 2, 2)
    weights = LossWeights(boundary_triplet=2.0, depth_continuity=1.0)
    terms = Criterion(CONFIG, weights)(outputs, [two_segment_targets()])
    assert {"boundary_triplet", "depth_continuity"} <= set(terms)
    assert float(terms["depth_continuity"]) == 0  # constant features are as smooth as can be


def test_balanced_points_see_small_segments():
    # 10x10 cells, one of them is segment 1: evenly spread, it gets about half of the balanced half.
    masks = torch.zeros(2, 10, 10)
    masks[0], masks[1, 4, 4] = 1, 1
    masks[0, 4, 4] = 0
    criterion = Criterion(CONFIG, LossWeights(points=80, balance=0.5))
    torch.manual_seed(0)
    counts = [int((criterion._mask_points(masks) == 44).sum()) for _ in range(50)]
    assert sum(counts) / 50 == pytest.approx(20.4, abs=1.5)  # 40 * 0.5 evenly, and 40 of 100 anywhere
    assert len(Criterion(CONFIG, LossWeights(points=100, balance=0.5))._mask_points(masks)) == 100

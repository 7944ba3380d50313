"""From PanopticDepth's tensors to a prediction: hand-worked kernels, masks and depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID, pack
from dps_perception.models import fusion, panopticdepth_kernels
from dps_perception.models.families import warm_up
from dps_perception.models.panopticdepth_config import PanopticDepthConfig
from dps_perception.models.panopticdepth_fusion import fuse
from dps_perception.models.panopticdepth_kernels import LEVELS, Kernels, find_kernels, merged
from dps_perception.models.segments import FusionThresholds
from dps_perception.types import OutputGrid

ROAD, SKY, PERSON, CAR = 0, 10, 11, 13
SIZES = {3: 8, 4: 4, 5: 2, 6: 1, 7: 1}
"""Cells a side on each level of a 64x64 image."""
GRID = OutputGrid(64, 64, 1.0, 1.0)
LEFT, RIGHT = (slice(None), slice(0, 32)), (slice(None), slice(32, 64))


def logit(p):
    return float(np.log(p / (1 - p)))


def config(**changes):
    return PanopticDepthConfig(channels=8, depth_channels=2, **changes)


def blank(depth=True):
    """64x64 pixels on which nothing is found; channel 0 of the mask embedding is 1 on the left and -1 on the right,
    channel 1 the other way round, channel 2 is 1; the depth embedding is 1 in both channels."""
    tensors = {}
    for level, n in SIZES.items():
        tensors[f"positions_{level}"] = torch.full((1, 8 + 19, n, n), -20.0)
        tensors[f"positions_{level}"][0, 8 + CAR] = -19.0  # so that no stuff is the best anywhere
        tensors[f"thing_kernels_{level}"] = torch.zeros(1, 3, n, n)
        tensors[f"stuff_kernels_{level}"] = torch.zeros(1, 3, n, n)
        if depth:
            tensors[f"depth_kernels_{level}"] = torch.zeros(1, 4, n, n)
    side = torch.where(torch.arange(16) < 8, 1.0, -1.0).expand(16, 16)
    tensors["mask_embedding"] = torch.stack([side, -side, torch.ones(16, 16)])[None]
    tensors["depth_embedding"] = torch.ones(1, 2, 16, 16)
    return tensors


def put(tensors, class_id, probability, level, y, x, mask, depth=None):
    """A place that speaks for a class: a thing's centre, or stuff."""
    thing = bool(CITYSCAPES.is_thing[class_id])
    tensors[f"positions_{level}"][0, class_id - 11 if thing else 8 + class_id, y, x] = logit(probability)
    tensors[f"{'thing' if thing else 'stuff'}_kernels_{level}"][0, :, y, x] = torch.tensor(mask)
    if depth is not None:
        tensors[f"depth_kernels_{level}"][0, :, y, x] = torch.tensor(depth)


def scene(car=0.9, road=0.8):
    """Road left, car right: depth kernels that give 2 before the sigmoid on the road, shift 1/4 and 1/2, range 1/5."""
    tensors = blank()
    put(tensors, ROAD, road, 4, 1, 1, [10.0, 0, 0], [1.0, 1.0, logit(0.25), logit(0.2)])
    put(tensors, CAR, car, 3, 4, 6, [0.0, 10.0, 0], [0.0, 0.0, logit(0.5), logit(0.2)])
    return tensors


def run(tensors, depth_scale=1.0, settings=None, **thresholds):
    limits = {"score_things": 0.2, "score_stuff": 0.2, **thresholds}
    return fuse(tensors, config(**settings or {}), CITYSCAPES, FusionThresholds(**limits), GRID, depth_scale)


def test_a_lone_peak_is_one_kernel_with_half_its_score_from_its_surroundings():
    tensors = blank()
    put(tensors, CAR, 0.9, 3, 2, 5, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0])
    found = find_kernels(tensors, config())
    assert found.class_id.tolist() == [CAR]
    assert found.is_thing.tolist() == [True]
    assert found.score.tolist() == pytest.approx([(0.9 + 0.9 / 9) / 2])
    assert (found.mask.tolist(), found.depth.tolist()) == ([[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0, 7.0]])


def test_a_lower_neighbour_is_no_peak_of_its_own_but_another_class_there_is():
    tensors = blank()
    put(tensors, CAR, 0.9, 3, 2, 5, [1.0, 0, 0])
    put(tensors, CAR, 0.8, 3, 3, 6, [0, 1.0, 0])
    put(tensors, PERSON, 0.7, 3, 3, 5, [0, 0, 1.0])
    found = find_kernels(tensors, config())
    assert found.class_id.tolist() == [CAR, PERSON]
    assert found.score.tolist() == pytest.approx([(0.9 + 1.7 / 9) / 2, (0.7 + 0.7 / 9) / 2])


def test_the_same_thing_found_on_two_levels_becomes_one():
    tensors = blank()
    put(tensors, CAR, 0.9, 3, 4, 6, [2.0, 0, 0], [1.0, 0, 0, 0])
    put(tensors, CAR, 0.6, 4, 2, 3, [4.0, 0.1, 0], [3.0, 0, 0, 0])
    put(tensors, CAR, 0.5, 4, 0, 0, [0, 1.0, 0])  # another car
    found = find_kernels(tensors, config())
    assert found.score.tolist() == pytest.approx([0.5, 0.5 * 5 / 9])
    torch.testing.assert_close(found.mask, torch.tensor([[3.0, 0.05, 0], [0, 1.0, 0]]))
    torch.testing.assert_close(found.depth[0], torch.tensor([2.0, 0, 0, 0]))


def test_so_many_centres_of_a_level_and_of_all_from_a_score_on(monkeypatch):
    tensors = blank()
    for column, score in ((0, 0.9), (3, 0.7), (6, 0.0179)):  # the last one's: 5 / 9 of it, 0.00994
        put(tensors, CAR, score, 3, 2, column, [1.0, float(column), 0])
    put(tensors, CAR, 0.5, 4, 0, 3, [0, 0, 1.0])
    scores = lambda: find_kernels(tensors, config()).score.tolist()  # noqa: E731
    assert scores() == pytest.approx([5 / 9 * p for p in (0.9, 0.7, 0.5)])
    monkeypatch.setattr(panopticdepth_kernels, "PER_LEVEL", 1)
    assert scores() == pytest.approx([5 / 9 * p for p in (0.9, 0.5)])
    monkeypatch.setattr(panopticdepth_kernels, "MOST", 1)
    assert scores() == pytest.approx([0.5])
    monkeypatch.setattr(panopticdepth_kernels, "CENTRE_SCORE", 0.51)
    assert scores() == []


def test_stuff_that_is_seldom_sure_where_it_is_the_best_is_not_there():
    tensors = blank()
    for level, cells in SIZES.items():
        tensors[f"positions_{level}"][0, 8 + SKY] = logit(0.05)  # of 86 places
        assert cells * cells == tensors[f"positions_{level}"][0, 0].numel()
    put(tensors, SKY, 0.9, 3, 0, 0, [1.0, 0, 0])
    assert find_kernels(tensors, config()).class_id.tolist() == []  # mean (0.9 + 85 * 0.05) / 86
    tensors["positions_3"][0, 8 + SKY, :2] = logit(0.45)
    found = find_kernels(tensors, config())
    assert found.class_id.tolist() == [SKY]
    assert found.score.tolist() == pytest.approx([(16 * 0.45 + 70 * 0.05) / 86])


def test_merging_needs_one_class_one_direction_and_the_best_one_as_its_measure():
    turned = lambda degrees: [float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))]  # noqa: E731
    # 13 degrees: cosine .974; the third is alike to the second, but not to the first; the last has no direction.
    mask = torch.tensor([turned(0), turned(13), turned(26), turned(0), [0.0, 0.0]])
    class_id = torch.tensor([CAR, CAR, CAR, PERSON, CAR])
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    one = merged(Kernels(class_id, score, torch.ones(5, dtype=torch.bool), mask, None), 0.97)
    assert one.class_id.tolist() == [CAR, CAR, PERSON, CAR]
    assert one.score.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])
    torch.testing.assert_close(one.mask, torch.stack([mask[:2].mean(0), *mask[2:]]))


@pytest.mark.parametrize(("fused", "kernel"), [(True, (1 + 3 + 8) / 3), (False, ((1 + 3) / 2 + 8) / 2)])
def test_stuff_kernels_are_means_over_places_or_over_levels(fused, kernel):
    tensors = blank()
    put(tensors, SKY, 0.8, 3, 0, 0, [1.0, 0, 0], [0.0, 0, 1.0, 0])
    put(tensors, SKY, 0.8, 3, 5, 1, [3.0, 0, 0], [0.0, 0, 3.0, 0])
    put(tensors, SKY, 0.5, 5, 0, 1, [8.0, 0, 0], [0.0, 0, 8.0, 0])
    put(tensors, SKY, 0.39, 4, 0, 1, [900.0, 0, 0])  # too unsure to speak, but part of the score
    put(tensors, SKY, 0.6, 4, 3, 3, [900.0, 0, 0])
    tensors["positions_4"][0, 8 + CAR, 3, 3] = 5.0  # a car stands before it
    found = find_kernels(tensors, config(kernel_fusion=fused))
    assert found.class_id.tolist() == [SKY]
    assert found.is_thing.tolist() == [False]
    assert found.score.tolist() == pytest.approx([(0.8 + 0.8 + 0.5 + 0.39) / 4])
    assert found.mask[0].tolist() == pytest.approx([kernel, 0, 0])
    assert found.depth[0].tolist() == pytest.approx([0, 0, kernel, 0])


NORMALISED = 1 / (1 + np.exp(-2))


@pytest.mark.parametrize(
    ("how", "road", "car"),
    [
        ("T2", 88 * (0.2 * (NORMALISED - 0.5) + 0.25), 88 * 0.5),
        ("T1", 88 * (0.2 * NORMALISED + 0.25), 88 * (0.2 * 0.5 + 0.5)),
        ("", 88 * NORMALISED, 88 * 0.5),
    ],
)
def test_each_pixel_belongs_to_the_best_kernel_and_has_its_depth(how, road, car):
    prediction = run(scene(), settings={"depth_normalisation": how})
    assert (prediction.panoptic[LEFT] == pack(ROAD, 0)).all()
    assert (prediction.panoptic[RIGHT] == pack(CAR, 1)).all()
    np.testing.assert_allclose(prediction.depth_m[LEFT], road, rtol=1e-5)
    np.testing.assert_allclose(prediction.depth_m[RIGHT], car, rtol=1e-5)
    assert [(s.class_id, s.area_px) for s in prediction.segments] == [(CAR, 64 * 32), (ROAD, 64 * 32)]
    assert [s.score for s in prediction.segments] == pytest.approx([0.5, 0.8], rel=1e-3)


def test_depth_scale_multiplies_and_depth_stays_above_zero():
    np.testing.assert_allclose(run(scene(), depth_scale=1.5).depth_m[RIGHT], 66.0, rtol=1e-5)
    tensors = blank()
    put(tensors, ROAD, 0.9, 4, 1, 1, [0, 0, 5.0], [-9.0, -9.0, logit(0.1), logit(0.9)])  # 0.1 - 0.45 of d_max
    np.testing.assert_allclose(run(tensors).depth_m, 0.088, rtol=1e-5)


def test_things_are_scored_by_their_masks_too():
    tensors = blank()
    put(tensors, CAR, 0.9, 3, 4, 6, [0.0, logit(0.75), 0])  # three quarters inside: 0.5 * 0.75
    assert len(run(tensors, score_things=0.37).segments) == 1
    for limit in (0.38, 0.6):  # by its mask, and by its class already
        prediction = run(tensors, score_things=limit)
        assert prediction.segments == ()
        assert (prediction.panoptic == VOID_PANOPTIC_ID).all()
        assert (prediction.confidence == 0).all()
        assert np.isfinite(prediction.depth_m).all()  # what was found has a depth all the same


def test_confidence_is_class_times_mask_probability():
    tensors = blank()
    put(tensors, CAR, 0.9, 3, 4, 6, [0.0, 0, logit(0.75)])
    np.testing.assert_allclose(run(tensors).confidence, 0.5 * 0.75, rtol=1e-4)


def test_no_pixel_is_void_where_anything_is_kept():
    prediction = run(scene(car=0.3))
    assert (prediction.panoptic == pack(ROAD, 0)).all()  # also on the right, where its mask is improbable
    assert prediction.confidence[RIGHT].max() < 0.5


def test_a_thing_that_a_better_one_covers_is_given_up():
    tensors = scene()
    put(tensors, PERSON, 0.8, 3, 1, 1, [0.0, 20.0, 0])  # the car's mask, stronger, but of a worse score
    assert {s.class_id for s in run(tensors, overlap=0.5).segments} == {CAR, ROAD}
    tensors["thing_kernels_3"][0, :, 1, 1] = torch.tensor([0.0, 20.0, 30.0])  # the whole image, half of it covered
    assert PERSON in {s.class_id for s in run(tensors, overlap=0.5).segments}
    assert PERSON not in {s.class_id for s in run(tensors, overlap=0.6).segments}


def test_stuff_is_measured_within_the_image():
    image = OutputGrid(64, 40, 1.0, 1.0)  # of the 64 x 64 pixels that the network saw: 8 columns of the right half
    limits = FusionThresholds(stuff_area_px=64 * 8)
    tensors = scene()  # whose car has its centre beyond
    put(tensors, CAR, 0.9, 3, 4, 4, [0.0, 10.0, 0], [0.0, 0, 0, 0])
    put(tensors, SKY, 0.9, 3, 1, 4, [-20.0, 0, 0], [0.0, 0, 0, 0])  # better than the car on the right half
    ids = lambda limits: {s.panoptic_id for s in fuse(tensors, config(), CITYSCAPES, limits, image).segments}  # noqa: E731
    assert ids(limits) == {int(pack(ROAD, 0)), int(pack(SKY, 0))}
    assert ids(replace(limits, stuff_area_px=64 * 8 + 1)) == {int(pack(ROAD, 0)), int(pack(CAR, 1))}


def test_small_stuff_leaves_its_pixels_to_others():
    assert {s.class_id for s in run(scene(), stuff_area_px=64 * 32).segments} == {CAR, ROAD}
    prediction = run(scene(), stuff_area_px=64 * 32 + 1)
    assert (prediction.panoptic == pack(CAR, 1)).all()


@pytest.mark.parametrize(("depth", "metres"), [("instance", np.nan), ("dense", 22.0), ("", np.nan)])
def test_nothing_found(depth, metres):
    tensors = blank(depth == "instance")
    tensors["depth_embedding"] = torch.full((1, 1, 16, 16), logit(0.25))
    prediction = run(tensors, settings={"depth": depth})
    assert prediction.segments == ()
    assert (prediction.panoptic == VOID_PANOPTIC_ID).all()
    assert (prediction.confidence == 0).all()
    np.testing.assert_allclose(prediction.depth_m, metres, rtol=1e-5)


def test_dense_depth_is_one_map_for_all():
    tensors = {name: tensor for name, tensor in scene().items() if not name.startswith("depth")}
    tensors["depth_embedding"] = torch.full((1, 1, 16, 16), logit(0.25))
    prediction = run(tensors, settings={"depth": "dense"})
    assert len(prediction.segments) == 2
    np.testing.assert_allclose(prediction.depth_m, 22.0, rtol=1e-5)


def noise(depth):
    """Tensors of a 64x96 image on which much is found."""
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(1, *shape, generator=generator)  # noqa: E731
    tensors = {"mask_embedding": draw(3, 16, 24)}
    if depth:
        tensors["depth_embedding"] = draw(1 if depth == "dense" else 2, 16, 24)
    for level, size in zip(LEVELS, [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)], strict=True):
        tensors[f"positions_{level}"] = 2 * draw(27, *size) - 1
        tensors[f"thing_kernels_{level}"], tensors[f"stuff_kernels_{level}"] = 3 * draw(3, *size), 3 * draw(3, *size)
        if depth == "instance":
            tensors[f"depth_kernels_{level}"] = draw(4, *size)
    return tensors


@pytest.mark.parametrize("depth", ["instance", "dense", ""])
def test_the_processors_kernels_agree_with_plain_pytorch(depth, monkeypatch):
    def fused():
        limits = FusionThresholds(score_things=0.3, score_stuff=0.3, overlap=0.4)
        return fuse(noise(depth), config(depth=depth), CITYSCAPES, limits, OutputGrid(90, 131, 64 / 90, 96 / 131))

    one = fused()
    monkeypatch.setattr(fusion, "_on_processor", fusion._on_device)
    other = fused()
    assert len(one.segments) > 5
    assert [s.panoptic_id for s in one.segments] == [s.panoptic_id for s in other.segments]
    same = one.panoptic == other.panoptic
    assert same.mean() > 0.998  # ties and sums in another order
    np.testing.assert_allclose(one.depth_m[same], other.depth_m[same], rtol=1e-3)
    np.testing.assert_allclose(one.confidence[same], other.confidence[same], atol=1e-4)


@pytest.mark.parametrize("depth", ["instance", "dense", ""])
def test_warming_up_needs_no_weights(depth):
    warm_up(PanopticDepthConfig(backbone="resnet18", channels=8, depth=depth), CITYSCAPES, torch.device("cpu"))

"""Where PanopticDepth's position maps should say what, worked out by hand."""

import math

import pytest
import torch
from panopticdepth_scene import BUILDING, CAR, CAR_MAP, ROAD, SKY, THINGS, road, targets_of

from dps_perception.labels import VOID_PANOPTIC_ID, pack
from dps_perception.models.families import build
from dps_perception.models.panopticdepth_config import PanopticDepthConfig
from dps_perception.training.panopticdepth_targets import gaussian_radius, level_targets


def levels_of(panoptic):
    return level_targets(targets_of(panoptic), THINGS, 19)


def test_radius_of_a_centre_is_the_root_of_its_equation():
    # r = 2.8 times the positive root of 2.8 x^2 + 1.4 (h + w) x - 0.3 h w = 0; by hand for 8 x 8 and 4 x 2 cells.
    assert gaussian_radius(8, 8) == pytest.approx((-22.4 + math.sqrt(22.4**2 + 4 * 2.8 * 0.3 * 64)) / 2)
    assert gaussian_radius(8, 8) == pytest.approx(2.186, abs=1e-3)
    assert gaussian_radius(4, 2) == pytest.approx(0.736, abs=1e-3)


def test_a_thing_has_its_centre_on_the_levels_of_its_size():
    panoptic = road(128, 128)
    panoptic[32:96, 16:80] = pack(CAR, 1)  # the root of its area is 64: level 3 up to 128, level 4 from 64 on
    levels = levels_of(panoptic)
    assert {n: len(level.things) for n, level in levels.items()} == {3: 1, 4: 1, 5: 0, 6: 0, 7: 0}
    assert (levels[3].places.tolist(), levels[4].places.tolist()) == ([8 * 16 + 6], [4 * 8 + 3])  # centre (64, 48)
    heat = levels[3].centres[CAR_MAP]
    assert float(heat[8, 6]) == 1
    # Radius 2, so deviation 5 / 6: one cell away exp(-1 / (2 * 25 / 36)), two away its fourth power, then nothing.
    assert heat[8, 7:10].tolist() == pytest.approx([math.exp(-0.72), math.exp(-2.88), 0], rel=1e-5)
    assert float(heat[7, 5]) == pytest.approx(math.exp(-1.44), rel=1e-5)
    assert int((levels[3].centres > 0).sum()) == 25
    assert float(levels[4].centres[CAR_MAP, 4, 4]) == pytest.approx(math.exp(-2), rel=1e-5)  # radius 1, deviation 1/2


def test_the_centre_is_that_of_mass():
    panoptic = road(64, 64)
    panoptic[0:32, 0:8] = panoptic[24:32, 0:32] = pack(CAR, 1)  # an L: y (256 * 16 + 192 * 28) / 448, x 4 and 20
    ((place,),) = (level.places.tolist() for level in levels_of(panoptic).values() if len(level.things))
    assert place == int(9472 / 448 / 8) * 8 + int((256 * 4 + 192 * 20) / 448 / 8)


def test_two_things_of_a_class_keep_the_higher_heat():
    panoptic = road(64, 128)
    panoptic[0:64, 0:32], panoptic[0:64, 32:64] = pack(CAR, 1), pack(CAR, 2)
    level = levels_of(panoptic)[3]
    assert level.places.tolist() == [4 * 16 + 2, 4 * 16 + 6]
    assert level.centres.max() == 1
    reach = int(gaussian_radius(8, 4))
    assert reach == 1
    assert level.centres[CAR_MAP, 4, :9].tolist() == pytest.approx(
        [0, *[math.exp(-2), 1, math.exp(-2), 0] * 2], rel=1e-5
    )


def test_regions_are_shares_of_at_least_one_half():
    panoptic = road(32, 32)
    panoptic[:, 4:18] = pack(BUILDING, 0)  # columns of cells: half, all, a quarter, none
    level = levels_of(panoptic)[3]
    assert level.regions[BUILDING, 0].tolist() == [0.5, 1.0, 0.0, 0.0]
    assert level.regions[ROAD, 0].tolist() == [0.5, 0.0, 0.75, 1.0]
    assert level.inside[:, 0, 2].sort().values.tolist() == [0.25, 0.75]


def test_coarse_cells_are_read_in_their_middle():
    panoptic = road(128, 128)
    panoptic[60:68, 60:68] = pack(BUILDING, 0)  # 8 x 8 pixels in the middle of the only cell of level 7
    levels = levels_of(panoptic)
    assert levels[7].regions[:, 0, 0].nonzero().tolist() == [[BUILDING]]
    assert levels[6].regions[BUILDING].sum() == 0


def test_void_and_crowds_are_not_known():
    panoptic = road(32, 32)
    panoptic[:8, :8], panoptic[8:16, :8], panoptic[:8, 8:12] = VOID_PANOPTIC_ID, pack(CAR, 0), VOID_PANOPTIC_ID
    level = levels_of(panoptic)[3]
    assert level.known[:2, :2].tolist() == [[0.0, 0.5], [0.0, 1.0]]
    assert (len(level.things), float(level.centres.sum())) == (0, 0)


def test_cells_keep_their_places_where_the_image_is_no_multiple_of_128():
    panoptic = road(96, 160)
    panoptic[:, 90:], panoptic[:, 148:] = pack(BUILDING, 0), pack(SKY, 0)
    levels = levels_of(panoptic)
    network = build(PanopticDepthConfig(backbone="resnet18", channels=8)).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, 96, 160, 3, dtype=torch.uint8))
    for n, level in levels.items():
        size = outputs[f"positions_{n}"].shape[2:]
        assert level.regions.shape[1:] == level.known.shape == level.inside.shape[1:] == size
        assert (level.known == 1).all()
    # Centres of columns: level 7 at 64 and 192 pixels, of which the second is beyond the image; level 6 at 32, 96, 160.
    assert levels[7].regions.argmax(0).tolist() == [[ROAD, SKY]]
    assert levels[6].regions.argmax(0).tolist() == [[ROAD, BUILDING, SKY]] * 2

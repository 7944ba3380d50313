"""The hard level: as varied as it says, as exact as the standard one, and never mixed up with it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dps_perception.camera import back_project
from dps_perception.data.dvps import DvpsFolder
from dps_perception.data.street import build_scene, classes, drive, render, seeds, single_image
from dps_perception.data.street.builder import Builder, Material, Placement
from dps_perception.data.street.clearance import clear_the_camera
from dps_perception.data.street.dataset import HARD_VERSION, FolderJob, write_folder
from dps_perception.data.street.levels import HARD, MIXED, STANDARD, level_of
from dps_perception.data.street.pose import base_pose, camera_pose, pose_primitives
from dps_perception.data.street.render import StreetFrame
from dps_perception.data.street.road import CURB_M
from dps_perception.data.street.scene import Scene
from dps_perception.data.street.traffic import Lens
from dps_perception.errors import ConfigError, DatasetError
from dps_perception.inference.sources import StreetSource, open_source
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID, unpack

SIZE = (96, 192)
SEEDS = range(700, 712)
GOLDEN_SEED = 1
GOLDEN_LABELS = "a77baac33ca143ab25fc5682b3f87c1b84ba0576a97705faf9089c17ee1e88d7"
"""A deliberate change of the hard level changes this: then raise `dataset.HARD_VERSION` too."""


@pytest.fixture(scope="module")
def frames() -> list[tuple[Scene, StreetFrame]]:
    scenes = [build_scene(seed, level=HARD) for seed in SEEDS]
    return [(scene, render(scene, 0.0, *SIZE)) for scene in scenes]


def test_cameras_and_light_vary(frames: list[tuple[Scene, StreetFrame]]) -> None:
    view_deg = [np.rad2deg(2 * np.arctan(SIZE[1] / 2 / frame.intrinsics.fx)) for _, frame in frames]
    assert 50 <= min(view_deg) < 62 < 85 < max(view_deg) <= 100
    heights = [scene.ego.height for scene, _ in frames]
    assert 0.4 <= min(heights) < 0.9 < 1.6 < max(heights) <= 2.2
    brightness = [frame.image.mean() for _, frame in frames]
    assert max(brightness) - min(brightness) > 60
    warmth = [frame.image[..., 0].mean() / frame.image[..., 2].mean() for _, frame in frames]
    assert max(warmth) > 1.25 * min(warmth)
    assert len({scene.weather.kind for scene, _ in frames}) >= 5
    raised = {base_pose(scene, 0.0)[2, 3] for scene, _ in frames}
    assert raised == {0.0, CURB_M}
    assert len({scene.road.look.road_cover and scene.road.look.road_cover.kind for scene, _ in frames}) >= 2


def test_every_sample_is_valid(frames: list[tuple[Scene, StreetFrame]]) -> None:
    road_shares = []
    for _, frame in frames:
        class_id, instance_id = unpack(frame.panoptic)
        seen = frame.panoptic != VOID_PANOPTIC_ID
        assert class_id[seen].max() < len(CITYSCAPES)
        assert instance_id[seen].max() <= 255
        assert not instance_id[seen & ~CITYSCAPES.is_thing[np.minimum(class_id, 18)]].any()
        np.testing.assert_array_equal(np.isinf(frame.depth_m)[seen], class_id[seen] == classes.SKY)
        assert not np.isnan(frame.depth_m).any()
        assert frame.depth_m.min() > 0.3
        assert frame.image.std() > 15
        road_shares.append((class_id == classes.ROAD).mean())
    assert min(road_shares) > 0.01
    assert np.median(road_shares) > 0.15


def test_depth_and_pose_agree_at_any_tilt(frames: list[tuple[Scene, StreetFrame]]) -> None:
    """Road pixels lie at height 0 of the map, pavement pixels at the curb's, its face at its foot."""
    for _, frame in frames:
        points = back_project(np.where(np.isinf(frame.depth_m), 0, frame.depth_m), frame.intrinsics)
        height = points @ frame.pose[2, :3] + frame.pose[2, 3]
        near, class_id = frame.depth_m < 40, unpack(frame.panoptic)[0]
        np.testing.assert_allclose(height[near & (class_id == classes.ROAD)], 0, atol=2e-3)
        walk = height[near & (class_id == classes.SIDEWALK)]
        on_top, on_face = np.abs(walk - CURB_M) < 2e-3, np.abs(walk) < 2e-3
        assert (on_top | on_face).all()
        assert on_top.sum() >= 0.5 * len(walk)


def test_camera_is_inside_nothing(frames: list[tuple[Scene, StreetFrame]]) -> None:
    for scene, _ in frames:
        for t_s in (0.0, 4.0):
            posed, eye = pose_primitives(scene, t_s), camera_pose(scene, t_s)[:3, 3]
            local = np.einsum("nij,nj->ni", posed.inverse, eye - posed.centre)
            assert (np.abs(local).max(1) > 1).all()


def test_what_would_swallow_the_camera_is_left_out() -> None:
    scene = build_scene(700, level=HARD)
    builder, rng, ego = Builder(), np.random.default_rng(0), scene.ego
    for ahead, class_id in ((0.1, classes.VEGETATION), (2.0, classes.POLE)):
        body = builder.body(Placement(ego.place.s + ahead, ego.place.d), class_id, rng)
        body.ball(Material.PLAIN, (0, 0, ego.place.z + ego.height), (0.5, 0.5, 0.5), (1, 1, 1))
    ego = replace(ego, place=replace(ego.place, speed_s=0.0))
    left = clear_the_camera(replace(scene, ego=ego, primitives=builder.finish()))
    assert left.primitives.class_id.tolist() == [classes.POLE]


def test_seed_gives_the_recorded_labels_twice() -> None:
    one, two = (single_image(GOLDEN_SEED, *SIZE, level=HARD) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.depth_m, two.depth_m)
    assert hashlib.sha256(one.panoptic.tobytes()).hexdigest() == GOLDEN_LABELS
    assert hashlib.sha256(two.panoptic.tobytes()).hexdigest() == GOLDEN_LABELS


def test_drive_starts_with_the_single_image_of_its_seed() -> None:
    first, second = drive(705, 2, 2.0, *SIZE, level=HARD)
    np.testing.assert_array_equal(first.image, single_image(705, *SIZE, level=HARD).image)
    assert first.intrinsics == second.intrinsics


def test_lens_of_90_degrees_sees_as_far_aside_as_ahead() -> None:
    k = Lens(90.0, (0.05, -0.01)).intrinsics(100, 200)
    assert k.fx == k.fy == pytest.approx(100.0)
    assert (k.cx, k.cy) == pytest.approx((99.5 + 10, 49.5 - 2))


def test_levels_by_name() -> None:
    assert [level_of(seed, MIXED) for seed in (0, 1, 2)] == [STANDARD, HARD, STANDARD]
    assert level_of(1, STANDARD) == STANDARD
    with pytest.raises(ConfigError, match="did you mean 'hard'"):
        build_scene(1, level="harrd")


def test_mixed_folder_has_both_and_says_so(tmp_path: Path) -> None:
    job = FolderJob(tmp_path, "train", range(4, 6), 48, 96, level=MIXED)
    assert write_folder(job, processes=1) == 2
    folder = DvpsFolder(tmp_path, "train")
    np.testing.assert_array_equal(folder[0].image, single_image(4, 48, 96).image)
    hard = single_image(5, 48, 96, level=HARD)
    np.testing.assert_array_equal(folder[1].image, hard.image)
    assert folder[1].intrinsics == hard.intrinsics
    config = json.loads((tmp_path / "train" / "config.json").read_text())
    assert (config["level"], config["hard_version"]) == (MIXED, HARD_VERSION)
    with pytest.raises(DatasetError, match="level = mixed, now hard"):
        write_folder(replace(job, level=HARD), processes=1)


def test_folder_from_before_there_were_levels_is_standard(tmp_path: Path) -> None:
    job = FolderJob(tmp_path, "train", range(1), 48, 96)
    write_folder(job, processes=1)
    path = tmp_path / "train" / "config.json"
    config = json.loads(path.read_text())
    del config["level"]
    path.write_text(json.dumps(config))
    with pytest.raises(DatasetError, match="level = standard, now hard"):
        write_folder(replace(job, level=HARD), processes=1)
    assert write_folder(job, processes=1) == 0


def test_evaluation_knows_the_level() -> None:
    source = StreetSource("test-hard", (48, 96), limit=1)
    expected = single_image(seeds.TEST[0], 48, 96, level=HARD)
    np.testing.assert_array_equal(next(iter(source)).image, expected.image)
    assert "hard" in source.name
    assert len(open_source("street:validation-hard", split="test")) == len(seeds.VALIDATION)

"""The street world is the same on every run, its ids are valid and stay, its parts do not reshuffle each other."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from dps_perception.data.street import build_scene, classes, drive, grammar, render, single_image
from dps_perception.data.street.pose import camera_pose
from dps_perception.data.street.randomness import stream
from dps_perception.data.street.render import SMALLEST_SEGMENT_PX, _annotate
from dps_perception.errors import ConfigError
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID, unpack

SMALL = (128, 256)
GOLDEN_SEED = 0
GOLDEN_LABELS = "f99a3212931bb67082cf06ae2ed8285ee35d46537c96fee1448d30e127b7bc31"
GOLDEN_MEAN_COLOR = (120.444, 120.786, 125.142)
GOLDEN_DEPTHS_M = {(100, 128): 8.45618, (120, 30): 5.74427, (60, 20): 22.0887, (60, 240): 9.70993, (75, 128): 17.8569}
"""A deliberate change of the world changes these: then raise `dataset.VERSION` too."""

HASH = """
import hashlib
from dps_perception.data.street import single_image
sample = single_image(21, 96, 192)
arrays = (sample.image, sample.panoptic, sample.depth_m)
print(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest())
"""


def test_same_seed_gives_identical_pixels_in_separate_processes() -> None:
    runs = [subprocess.run([sys.executable, "-c", HASH], capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1] != b""


def test_seed_gives_the_recorded_image() -> None:
    sample = single_image(GOLDEN_SEED, *SMALL)
    assert hashlib.sha256(sample.panoptic.tobytes()).hexdigest() == GOLDEN_LABELS
    np.testing.assert_allclose(sample.image.mean((0, 1)), GOLDEN_MEAN_COLOR, atol=0.3)
    for (row, column), depth_m in GOLDEN_DEPTHS_M.items():
        assert sample.depth_m[row, column] == pytest.approx(depth_m, rel=1e-4)


def test_drive_starts_with_the_single_image_of_its_seed() -> None:
    first = next(drive(5, 3, 10.0, 64, 128))
    sample = single_image(5, 64, 128)
    np.testing.assert_array_equal(first.image, sample.image)
    np.testing.assert_array_equal(first.panoptic, sample.panoptic)


def test_streams_are_independent_and_named() -> None:
    a = stream(3, "lamps", 1).random(4)
    np.testing.assert_array_equal(a, stream(3, "lamps", 1).random(4))
    for other in (stream(3, "lamps", -1), stream(4, "lamps", 1), stream(3, "signs", 1)):
        assert not np.any(a == other.random(4))


def test_changing_one_part_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_scene(11).primitives
    monkeypatch.setattr(grammar, "add_signs", lambda builder, space, road, side, rng: rng.random(1000))
    after = build_scene(11).primitives
    assert (before.class_id == classes.TRAFFIC_SIGN).any()
    assert not (after.class_id == classes.TRAFFIC_SIGN).any()
    for class_id in (classes.BUILDING, classes.VEGETATION, classes.CAR, classes.TRAFFIC_LIGHT, classes.WALL):
        for name in ("centre", "half", "params", "instance_id"):
            old, new = getattr(before, name), getattr(after, name)
            np.testing.assert_array_equal(old[before.class_id == class_id], new[after.class_id == class_id])


def test_panoptic_ids_are_valid() -> None:
    for seed in (1, 2, 3):
        sample = single_image(seed, *SMALL)
        class_id, instance_id = unpack(sample.panoptic)
        seen = sample.panoptic != VOID_PANOPTIC_ID
        assert class_id[seen].max() < len(CITYSCAPES)
        assert not instance_id[seen & ~CITYSCAPES.is_thing[np.minimum(class_id, 18)]].any()
        np.testing.assert_array_equal(np.isinf(sample.depth_m)[seen], class_id[seen] == classes.SKY)
        assert (sample.depth_m > 0).all()


def test_segments_below_the_limit_are_void() -> None:
    height, width = 512, 1024
    scene = build_scene(2)
    panoptic = render(scene, 0.0, height, width).panoptic
    ids, areas = np.unique(panoptic, return_counts=True)
    assert areas[ids != VOID_PANOPTIC_ID].min() >= SMALLEST_SEGMENT_PX
    assert VOID_PANOPTIC_ID in ids


def test_instance_beyond_255_is_crowd() -> None:
    from dps_perception.data.street.builder import Builder, Placement

    builder, rng = Builder(), np.random.default_rng(0)
    ids = [builder.body(Placement(0, 0), classes.PERSON, rng).instance_id for _ in range(257)]
    assert ids[0] == 1
    assert ids[254:] == [255, 0, 0]
    assert builder.body(Placement(0, 0), classes.CAR, rng).instance_id == 1
    assert builder.body(Placement(0, 0), classes.POLE, rng).instance_id == 0


def test_ids_stay_with_their_things_over_a_drive() -> None:
    """Parked cars keep their place in the map under the same id while the camera moves."""
    scene = next(s for s in map(build_scene, range(40, 80)) if s.ego.place.speed_s > 6)
    table = scene.primitives
    parked = {
        int(instance)
        for index, instance in zip(table.object_index, table.instance_id * (table.class_id == classes.CAR), strict=True)
        if instance and table.placements[index].speed_s == 0
    }
    places: dict[int, list[np.ndarray]] = {}
    for t_s in (0.0, 0.5, 1.0, 1.5):
        frame = render(scene, t_s, *SMALL)
        k, pose = frame.intrinsics, camera_pose(scene, t_s)
        class_id, instance_id = unpack(frame.panoptic)
        for instance in parked:
            v, u = np.nonzero((class_id == classes.CAR) & (instance_id == instance))
            if len(u) > 60:
                z = frame.depth_m[v, u]
                points = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z], 1)
                places.setdefault(instance, []).append(np.median(points, 0) @ pose[:3, :3].T + pose[:3, 3])
    seen_again = {instance: np.array(p) for instance, p in places.items() if len(p) > 1}
    assert len(seen_again) >= 2
    for path in seen_again.values():
        assert np.linalg.norm(path - path[0], axis=1).max() < 3.5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((-1.0, 64, 64), "time"), ((99.0, 64, 64), "time"), ((0.0, 0, 64), "size"), ((0.0, 64, 64, 9), "supersample")],
)
def test_impossible_frames_are_refused(arguments: tuple, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        render(build_scene(1), *arguments)


def test_supersampling_changes_colour_only() -> None:
    scene = build_scene(9)
    plain, smooth = render(scene, 0.0, 64, 128), render(scene, 0.0, 64, 128, supersample=2)
    np.testing.assert_array_equal(plain.panoptic, smooth.panoptic)
    np.testing.assert_array_equal(plain.depth_m, smooth.depth_m)
    # Averaging removes aliasing: neighbouring pixels differ less, the picture as a whole does not change.
    roughness = [np.abs(np.diff(f.image.astype(float), axis=1)).mean() for f in (plain, smooth)]
    assert roughness[1] < roughness[0]
    assert plain.image.mean() == pytest.approx(smooth.image.mean(), abs=2)


def test_holes_belong_to_their_solid() -> None:
    """Labels and depth of a fence or crown include what shows through; the image does not."""
    from dps_perception.data.street.cast import HitMap
    from dps_perception.data.street.pose import pose_primitives

    posed = pose_primitives(build_scene(1), 0.0)
    fence = int(np.flatnonzero(posed.class_id == classes.FENCE)[0])
    hits = HitMap(np.array([[30.0, 8.0]], np.float32), np.array([[-1, -1]], np.int32))
    outline = HitMap(np.array([[10.0, 10.0]], np.float32), np.array([[fence, fence]], np.int32))
    road = np.full((1, 2), classes.ROAD, np.uint8)
    panoptic, depth = _annotate(posed, hits, outline, road)
    assert panoptic.tolist() == [[classes.FENCE * 256, classes.ROAD * 256]]
    assert depth.tolist() == [[10.0, 8.0]]

"""`dps_evaluate_tracking` on a small drive: what it reads, counts, writes and refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dps_perception import cli
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import write_street_frame, write_transform
from dps_perception.data.drive_reader import Drive
from dps_perception.data.street.drive_bag import BagJob, write_bag
from dps_perception.errors import ConfigError, DatasetError
from dps_perception.inference import evaluate_tracking
from dps_perception.inference.evaluate_tracking import BASELINE, MOVING, STILL, MaskIou, renumbered, run
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID

CAR, PERSON = 13 * 256, 11 * 256


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("drive") / "bag"
    write_bag(path, BagJob(seed=3_000_000, frames=4, rate_hz=10, height=96, width=192))
    return path


def test_a_drive_has_its_frames_in_order_with_poses(bag):
    drive = Drive(bag)
    frames = list(drive)
    assert len(drive) == len(frames) == 4
    assert [round((f.stamp_ns - frames[0].stamp_ns) / 1e8) for f in frames] == [0, 1, 2, 3]
    assert frames[0].sample.panoptic.shape == (96, 192)
    way = np.linalg.norm(frames[3].pose[:3, 3] - frames[0].pose[:3, 3])
    assert 0.3 < way < 13 * 0.3 + 0.1
    assert frames[0].pose[2, 3] == pytest.approx(1.22, abs=0.3)  # the camera is above the ground


def test_numbers_of_the_truth_are_mixed_but_masks_and_classes_stay():
    truth = np.array([[CAR + 1, CAR + 2, PERSON + 1, PERSON, 0, VOID_PANOPTIC_ID]], np.uint16)
    mixed = renumbered(truth, CITYSCAPES, np.random.default_rng(0))
    assert (mixed[0, 3:] == truth[0, 3:]).all()
    assert (mixed // 256 == truth // 256).all()
    assert (mixed[0, :3] % 256 > 0).all()
    assert (mixed[0, :3] != truth[0, :3]).any()
    assert mixed[0, 0] != mixed[0, 1]


def test_the_baseline_is_the_overlap_of_two_images():
    """Nine of ten pixels shared go on, of another class or with nothing shared do not."""
    plain = MaskIou(CITYSCAPES)
    before, after = (np.zeros((1, 40), np.uint16) for _ in range(2))
    before[0, :10], before[0, 20:30] = CAR + 1, CAR + 2
    after[0, 1:11], after[0, 20:30], after[0, 32:40] = CAR + 7, PERSON + 1, CAR + 2
    assert plain.update(before, [CAR + 1, CAR + 2]) == {CAR + 1: 1, CAR + 2: 2}
    assert plain.update(after, [PERSON + 1, CAR + 2, CAR + 7]) == {CAR + 7: 1, PERSON + 1: 3, CAR + 2: 4}


def test_true_and_predicted_masks_are_tracked_on_every_nth_frame(bag):
    class KnowsHalf:
        """Sees the upper half of the truth, under numbers of its own."""

        def __init__(self):
            self.frames = iter(Drive(bag))

        def predict(self, image, intrinsics):
            sample = next(self.frames).sample
            np.testing.assert_array_equal(image, sample.image)
            return SimpleNamespace(panoptic=sample.panoptic.copy(), depth_m=sample.depth_m)

    trials = run([Drive(bag)], [1, 3], KnowsHalf(), CITYSCAPES)
    assert [(t.masks, t.step, t.method) for t in trials] == [
        (masks, n, method) for masks in ("true", "predicted") for n in (1, 3) for method in (BASELINE, STILL, MOVING)
    ]  # fmt: skip
    scores = {(t.masks, t.step, t.method): t.compute() for t in trials}
    assert {s.frames for (_, step, _), s in scores.items() if step == 1} == {4}
    assert {s.frames for (_, step, _), s in scores.items() if step == 3} == {2}
    for found in scores.values():
        assert found.objects == found.matches == found.detections > 10
    assert scores["true", 1, MOVING].switches <= scores["true", 1, BASELINE].switches


def test_the_command_prints_a_table_and_writes_the_numbers(bag, tmp_path, capsys):
    out = tmp_path / "scores.json"
    evaluate_tracking.command([str(bag), "--true-only", "--every", "2", "--json", str(out)])
    printed = capsys.readouterr().out
    assert "| true | 2 | tracker, motion from TF |" in printed
    trials = json.loads(out.read_text())["trials"]
    assert [t["method"] for t in trials] == [BASELINE, STILL, MOVING]
    assert trials[2]["frames"] == 2
    assert trials[2]["idf1"] > 50
    assert trials[2]["median_ms"] > 0
    assert cli.run(evaluate_tracking.command, [str(bag), "--every", "0"]) == 2
    with pytest.raises(ConfigError, match="--every 0: 1 or more"):
        evaluate_tracking.command([str(bag), "--every", "0"])


def test_a_drive_without_a_fixed_frame_is_refused(bag, tmp_path):
    frame = next(iter(Drive(bag)))
    sample = frame.sample
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        write_street_frame(writer, 1, 5, sample.image, sample.panoptic, sample.depth_m, sample.intrinsics, frame.pose)
        write_transform(writer, "/tf_static", 5, "base_link", "lidar", np.eye(4))
    with pytest.raises(DatasetError, match=r"none of the frames odom, map, world is connected.*'camera_optical_frame'"):
        Drive(path)

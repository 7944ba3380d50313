"""Samples of a robot's own bags: depth moved to the image's time, splits, and every refusal."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_fixtures_bag import (
    CAMERA,
    DEPTH,
    IMAGE,
    MS,
    SIZE,
    START_NS,
    labels,
    true_depth,
    write_lidar_bag,
    write_rgbd,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dps_perception.data.bag import BagReader
from dps_perception.data.bag_dataset import BagDataset
from dps_perception.data.bag_index import BagOptions
from dps_perception.data.bag_topics import BagTopics
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import write_camera_info, write_image, write_transform
from dps_perception.data.street import drive
from dps_perception.data.street.drive_bag import BagJob, write_bag
from dps_perception.data.transforms import Augmentation, augment
from dps_perception.errors import ConfigError, DatasetError
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace, pack


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Path:
    return write_lidar_bag(tmp_path_factory.mktemp("bags") / "robot", labelled=True)


def stamp_of(sample) -> int:
    return int(sample.sample_id.rpartition("_")[2])


def depth_errors(sample, stamp_ns: int) -> np.ndarray:
    """Errors in metres where the true depth is smooth over 7x7 pixels (no edge, nothing half hidden)."""
    truth = true_depth(stamp_ns)
    window = np.ones((7, 7), np.uint8)
    smooth = cv2.dilate(truth, window) - cv2.erode(truth, window) < 2.5
    errors = (sample.depth_m - truth)[smooth]
    assert np.isfinite(errors).mean() > 0.4
    return errors[np.isfinite(errors)]


def test_a_cloud_is_moved_to_the_images_time(robot):
    dataset = BagDataset(robot)
    assert len(dataset) == 10
    for sample in dataset:
        assert np.abs(depth_errors(sample, stamp_of(sample))).max() < 0.1
    sample = dataset[5]
    assert sample.intrinsics == CAMERA
    assert (sample.image == 15).all()
    np.testing.assert_array_equal(sample.panoptic, labels())


def test_where_the_clouds_stamp_is_ignored_depth_is_off_by_the_way_driven(robot, tmp_path):
    """10 m/s for 40 ms: without odometry the cloud counts as taken with the image, 0.4 m too far."""
    still = BagDataset(write_lidar_bag(tmp_path / "still", odometry=False))
    errors = depth_errors(still[0], START_NS)
    assert np.median(errors) == pytest.approx(0.4, abs=0.05)
    moved = BagDataset(robot, options=BagOptions(fixed_frame="odom"))[0]
    assert np.median(depth_errors(moved, START_NS)) == pytest.approx(0.0, abs=0.05)


def test_what_the_lidar_sees_over_the_box_is_not_seen_by_the_camera(robot):
    """Near the box the LiDAR, 1.2 m above the camera and behind it, sees wall where the camera sees box."""
    through = {}
    for name, options in (("rule", BagOptions()), ("none", BagOptions(occlusion=None))):
        sample = BagDataset(robot, options=options)[9]
        through[name] = int((sample.depth_m > 1.3 * true_depth(stamp_of(sample))).sum())
    assert through["none"] > 20
    assert through["rule"] < through["none"] / 4


def test_splits_are_blocks_of_time_with_a_gap(tmp_path):
    path = write_rgbd(tmp_path / "bag", range(0, 10_001, 250))
    everything = BagDataset(path).sample_ids
    train, val = (BagDataset(path, split).sample_ids for split in ("train", "val"))
    assert len(everything) == 41
    # Of 10 s the last 2 are for validation, from 8.0 s on; training ends before 7.0 s.
    assert val == everything[32:]
    assert train == everything[:28]
    tight = BagDataset(path, "train", options=BagOptions(val_share=0.5, gap_s=0.25)).sample_ids
    assert tight == everything[:19]
    first_val = int(val[0].rpartition("_")[2])
    assert all(first_val - int(name.rpartition("_")[2]) > 1_000 * MS for name in train)


def test_a_split_is_the_same_whatever_makes_samples(tmp_path):
    """Images without depth at the end must not move the border."""
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        for second in range(11):
            stamp = START_NS + second * 1000 * MS
            write_camera_info(writer, "/c/camera_info", stamp, CAMERA, "o")
            write_image(writer, "/c/image", stamp, IMAGE, "rgb8", "o")
            if second < 10:
                write_image(writer, "/c/depth", stamp, DEPTH, "32FC1", "o")
    seconds = [(int(i.rpartition("_")[2]) - START_NS) // 10**9 for i in BagDataset(path, "val").sample_ids]
    assert seconds == [8, 9]


def test_depth_images_in_either_unit(tmp_path):
    metres = np.array(DEPTH)
    metres[0, :4] = [0, -np.inf, np.nan, np.inf]
    millimetres = np.full(SIZE, 4000, np.uint16)
    millimetres[0, 0] = 0
    for name, depth, encoding in (("m", metres, "32FC1"), ("mm", millimetres, "16UC1")):
        found = BagDataset(write_rgbd(tmp_path / name, depth=depth, encoding=encoding))[0].depth_m
        assert found.dtype == np.float32
        assert np.isnan(found[0, 0])
        np.testing.assert_allclose(found[1:], 4.0)
    found = BagDataset(tmp_path / "m")[0].depth_m
    assert np.isnan(found[0, :3]).all()
    assert np.isposinf(found[0, 3])


def test_depth_is_paired_within_the_tolerance(tmp_path):
    path = write_rgbd(tmp_path / "bag", (0, 100, 200), depth_delay_ms=15)
    with pytest.raises(DatasetError, match=r"no depth within 0\.01 s \(3 images\); topics used: /cam/image_raw"):
        BagDataset(path)
    loose = BagDataset(path, options=BagOptions(tolerance_s=0.02))
    assert (len(loose), not loose.skipped) == (3, True)
    whole = BagDataset(path, options=BagOptions(keep="all"))
    assert [sample.depth_m for sample in whole] == [None] * 3


def test_what_is_kept(tmp_path):
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        for i, (has_depth, has_labels) in enumerate([(True, True), (True, False), (False, True), (False, False)]):
            stamp = START_NS + i * 100 * MS
            write_camera_info(writer, "/c/camera_info", stamp, CAMERA, "o")
            write_image(writer, "/c/image", stamp, IMAGE, "rgb8", "o")
            if has_depth:
                write_image(writer, "/c/depth", stamp, DEPTH, "32FC1", "o")
            if has_labels:
                write_image(writer, "/ground_truth/panoptic", stamp, labels(), "16UC1", "o")

    def kept(keep):
        dataset = BagDataset(path, options=BagOptions(keep=keep))
        return [(s.depth_m is not None, s.panoptic is not None) for s in dataset], dict(dataset.skipped)

    assert kept("supervised") == ([(True, True), (True, False), (False, True)], {"no depth within 0.01 s": 1})
    assert kept("labelled") == ([(True, True)], {"no labels of its stamp": 2, "no depth within 0.01 s": 1})
    assert len(kept("all")[0]) == 4


def test_images_outside_the_transforms_are_counted_with_the_reason(tmp_path):
    path = write_lidar_bag(tmp_path / "bag", frames=3)
    with BagWriter(tmp_path / "late") as writer, BagReader(path) as reader:
        for raw in reader.raw_messages():
            writer.add_topic(raw.topic, raw.type_name)
            if raw.topic != "/tf" or raw.stamp_ns >= START_NS + 100 * MS:
                writer.write_raw(raw.topic, raw.stamp_ns, raw.data)
    dataset = BagDataset(tmp_path / "late")
    ((reason, count),) = dataset.skipped.items()
    assert (len(dataset), count) == (1, 2)
    assert reason.startswith("no transform (first: transform 'odom' -> 'base_link' is known from")


def test_a_folder_of_bags_of_both_storages(tmp_path, robot):
    folder = tmp_path / "bags"
    write_rgbd(folder / "day1" / "kitchen", (0, 100))
    shutil.copy(robot / "robot.mcap", folder)
    types = get_typestore(Stores.ROS2_KILTED)
    with Writer(folder / "old", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {}
        with BagReader(folder / "day1" / "kitchen") as reader:
            for raw in reader.raw_messages():
                if raw.topic not in connections:
                    connections[raw.topic] = writer.add_connection(raw.topic, raw.type_name, typestore=types)
                writer.write(connections[raw.topic], raw.stamp_ns, raw.data)
    dataset = BagDataset(folder)
    starts = [i.rpartition("_")[0] for i in dataset.sample_ids]
    assert starts == ["day1_kitchen"] * 2 + ["old"] * 2 + ["robot"] * 10
    assert len(set(dataset.sample_ids)) == 14
    for index in (13, 0, 3, 1, 2):  # in any order
        assert dataset[index].sample_id == dataset.sample_ids[index]
    np.testing.assert_array_equal(dataset[1].depth_m, dataset[3].depth_m)
    assert dataset[-1].sample_id == dataset.sample_ids[13]
    with pytest.raises(IndexError):
        dataset[14]
    dataset.close()
    assert dataset[0].sample_id == dataset.sample_ids[0]


def _depth_sum(dataset: BagDataset, index: int) -> float:
    return float(np.nansum(dataset[index].depth_m))


def test_other_processes_read_on_their_own(robot):
    dataset = BagDataset(robot)
    expected = [_depth_sum(dataset, i) for i in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap(_depth_sum, [(dataset, i) for i in range(4)], chunksize=1) == expected
    assert _depth_sum(pickle.loads(pickle.dumps(dataset)), 2) == expected[2]
    assert _depth_sum(dataset, 3) == expected[3]


def test_the_street_drive_comes_back_and_can_be_trained_on(tmp_path):
    write_bag(tmp_path / "drive", BagJob(seed=5, frames=2, rate_hz=5.0, height=32, width=64))
    dataset = BagDataset(tmp_path / "drive", "all", CITYSCAPES)
    for sample, frame in zip(dataset, drive(5, 2, 5.0, 32, 64), strict=True):
        np.testing.assert_array_equal(sample.image, frame.image)
        np.testing.assert_array_equal(sample.panoptic, frame.panoptic)
        np.testing.assert_array_equal(sample.depth_m, frame.depth_m)
        assert sample.intrinsics == frame.intrinsics
    view = augment(dataset[0], (24, 48), 60.0, Augmentation(scale=(1.0, 2.0)), np.random.default_rng(0))
    assert (view.image.shape, view.panoptic.shape, view.depth_m.shape) == ((24, 48, 3), (24, 48), (24, 48))
    assert np.isfinite(view.depth_m).any()


def test_sparse_depth_goes_through_augmentation(robot):
    view = augment(BagDataset(robot)[0], SIZE, CAMERA.fx, Augmentation(flip=1.0, color=0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(view.depth_m, BagDataset(robot)[0].depth_m[:, ::-1])


def test_transforms_of_a_camera_that_is_its_own_lidar(tmp_path):
    """A cloud in the image's own frame needs no transforms at all."""
    with BagWriter(tmp_path / "bag") as writer, BagReader(write_lidar_bag(tmp_path / "whole", 1)) as reader:
        for raw in reader.raw_messages(["/front/image_raw", "/front/camera_info", "/points"]):
            writer.add_topic(raw.topic, raw.type_name)
            writer.write_raw(raw.topic, raw.stamp_ns, raw.data)
        write_transform(writer, "/tf_static", START_NS, "front_optical", "lidar", np.diag([1.0, 1, 1, 1]))
    dataset = BagDataset(tmp_path / "bag", options=BagOptions(camera_frame="lidar"))
    assert len(dataset) == 1


def test_wrong_splits_options_and_folders_are_told(tmp_path, robot):
    with pytest.raises(ConfigError, match=r"split 'vall' of a bag, did you mean 'val'.*train, val, all"):
        BagDataset(robot, "vall")
    with pytest.raises(DatasetError, match=r"split 'train'.*too short for this split"):
        BagDataset(robot, "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"holds no bag: no metadata\.yaml and no \.mcap or \.db3"):
        BagDataset(tmp_path / "empty")
    with pytest.raises(DatasetError, match="does not exist"):
        BagDataset(tmp_path / "nothing")
    for wrong in ({"keep": "some"}, {"val_share": 1.0}, {"gap_s": -1.0}, {"tolerance_s": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BagOptions(**wrong)


def test_two_bags_of_one_name_are_told(tmp_path):
    write_rgbd(tmp_path / "a_b")
    write_rgbd(tmp_path / "a" / "b")
    with pytest.raises(DatasetError, match="would share the name 'a_b'; rename one"):
        BagDataset(tmp_path)


def test_unconnected_lidar_names_the_frames(tmp_path):
    with BagWriter(tmp_path / "bag") as writer, BagReader(write_lidar_bag(tmp_path / "whole", 1)) as reader:
        for raw in reader.raw_messages():
            if raw.topic != "/tf_static":
                writer.add_topic(raw.topic, raw.type_name)
                writer.write_raw(raw.topic, raw.stamp_ns, raw.data)
    with pytest.raises(DatasetError, match=r"no frame '(front_optical|lidar)'.*frames there are: base_link, odom"):
        BagDataset(tmp_path / "bag")
    with pytest.raises(DatasetError, match=r"bag '.*': no frame 'mapp'"):
        BagDataset(tmp_path / "whole", options=BagOptions(fixed_frame="mapp"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"depth": DEPTH[:16]}, r"depth of '/cam/aligned_depth' is 64x16, the image 64x32.*register"),
        ({"panoptic": labels()[:, :32]}, r"labels of '/ground_truth/panoptic' is 32x32, the image 64x32"),
        ({"panoptic": np.full(SIZE, pack(19, 0))}, r"have class 19; label space 'cityscapes' has 19 classes"),
        ({"image": IMAGE[:16], "depth": DEPTH[:16]}, r"camera_info is for 64x32 pixels, the image is 64x16"),
    ],
)
def test_what_does_not_fit_names_bag_stamp_and_cure(tmp_path, change, told):
    dataset = BagDataset(write_rgbd(tmp_path / "bag", **change), topics=BagTopics(depth="/cam/aligned_depth"))
    with pytest.raises(
        DatasetError, match=rf"(?s)bag '.*bag', image at 1700000000\.000 s of '/cam/image_raw': .*{told}"
    ):
        dataset[0]


def test_labels_of_another_label_space(tmp_path):
    small = LabelSpace("small", (ClassInfo("floor", False, (0, 0, 0)),) * 3)
    path = write_rgbd(tmp_path / "bag", panoptic=np.full(SIZE, pack(2, 0)))
    assert BagDataset(path, "all", small).label_space is small
    assert (BagDataset(path, "all", small)[0].panoptic == 512).all()

"""Samples of a robot's own bags: depth moved to the image's time, splits, topics found, and every refusal."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from dataset_fixtures_bag import CAMERA, SIZE, START_NS, labels, true_depth, write_lidar_bag
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader, BagWriter
from dps_perception.data.bag_dataset import BagDataset
from dps_perception.data.bag_index import BagOptions
from dps_perception.data.bag_messages import COLOR_ENCODINGS, decode_rgb
from dps_perception.data.bag_topics import BagTopics
from dps_perception.data.calibration import Rectifier
from dps_perception.data.drive_bag import write_camera_info, write_image, write_transform
from dps_perception.data.street import drive
from dps_perception.data.street.drive_bag import BagJob, write_bag
from dps_perception.data.transforms import Augmentation, augment
from dps_perception.errors import CameraInfoError, ConfigError, DatasetError
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace, pack

MS = 10**6
IMAGE = np.full((*SIZE, 3), 7, np.uint8)
DEPTH = np.full(SIZE, 4.0, np.float32)


def write_rgbd(path: Path, stamps=(0,), *, depth=DEPTH, encoding="32FC1", depth_delay_ms=0, panoptic=None, image=IMAGE):
    """A bag of an RGB-D camera: image, camera_info, depth `depth_delay_ms` later; stamps in milliseconds."""
    with BagWriter(path) as writer:
        for ms in stamps:
            stamp = START_NS + ms * MS
            write_camera_info(writer, "/cam/camera_info", stamp, CAMERA, "optical")
            write_image(writer, "/cam/image_raw", stamp, image, "rgb8", "optical")
            if depth is not None:
                write_image(writer, "/cam/aligned_depth", stamp + depth_delay_ms * MS, depth, encoding, "optical")
            if panoptic is not None:
                write_image(writer, "/ground_truth/panoptic", stamp, panoptic, "16UC1", "optical")
    return path


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


# --- finding topics -------------------------------------------------------------------------------------------------


def write_images(path: Path, *topics: tuple[str, str, str]) -> Path:
    """One message of each (topic, encoding, frame), and camera_info beside the first."""
    kinds = {"rgb8": IMAGE, "mono8": IMAGE[..., 0], "32FC1": DEPTH}
    with BagWriter(path) as writer:
        write_camera_info(writer, f"{topics[0][0].rpartition('/')[0]}/camera_info", START_NS, CAMERA, topics[0][2])
        for topic, encoding, frame in topics:
            write_image(writer, topic, START_NS, kinds[encoding], encoding, frame)
    return path


def test_grey_and_foreign_depth_give_way(tmp_path):
    path = write_images(
        tmp_path / "bag",
        ("/color/image_raw", "rgb8", "color"),
        ("/infra/image_raw", "mono8", "infra"),
        ("/depth/image_raw", "32FC1", "infra"),
        ("/aligned/image_raw", "32FC1", "color"),
    )
    sample = BagDataset(path)[0]
    assert (sample.image == 7).all()
    np.testing.assert_array_equal(sample.depth_m, DEPTH)


def test_compressed_beside_raw_counts_once_and_is_read_where_named(tmp_path):
    path = tmp_path / "bag"
    jpeg = np.frombuffer(cv2.imencode(".png", IMAGE[..., ::-1])[1].tobytes(), np.uint8)
    with BagWriter(path) as writer:
        write_camera_info(writer, "/c/camera_info", START_NS, CAMERA, "o")
        write_image(writer, "/c/image", START_NS, IMAGE, "rgb8", "o")
        write_image(writer, "/c/depth", START_NS, DEPTH, "32FC1", "o")
        kind = "sensor_msgs/msg/CompressedImage"
        message = writer.new(kind, header=writer.header(START_NS, "o"), format="rgb8; png compressed bgr8", data=jpeg)
        writer.write("/c/image/compressed", kind, START_NS, message)
    for topic in ("", "/c/image/compressed"):
        np.testing.assert_array_equal(BagDataset(path, topics=BagTopics(image=topic))[0].image, IMAGE)


@pytest.mark.parametrize(
    ("topics", "asked", "told"),
    [
        (
            [("/left/image", "rgb8", "l"), ("/right/image", "rgb8", "r")],
            {},
            r"2 topics could be the image.*name one of /left/image, /right/image as topics\.image.*"
            r"/right/image \[sensor_msgs/msg/Image\] x1",
        ),
        ([("/d/image", "32FC1", "o")], {}, r"no topic is the image \(.*/d/camera_info \[sensor_msgs/msg/CameraInfo\]"),
        ([("/c/image", "rgb8", "o")], {"depth": "/c/depht"}, r"no topic '/c/depht'.*/c/image \[sensor_msgs"),
        (
            [("/c/image", "rgb8", "o")],
            {"image": "/c/camera_info"},
            r"'/c/camera_info' \[sensor_msgs/msg/CameraInfo\] can't be the image topic, which is sensor_msgs/msg/Image",
        ),
        (
            [("/c/image", "rgb8", "o"), ("/c/d1", "32FC1", "o"), ("/c/d2", "32FC1", "o")],
            {},
            r"2 topics could be the depth.*/c/d1, /c/d2",
        ),
        ([("/c/image", "rgb8", "o")], {}, r"no topic with depth \(1 images\); topics used: /c/image, /c/camera_info"),
        ([("/c/image", "rgb8", "o"), ("/c/d", "32FC1", "other")], {}, "no topic with depth"),
    ],
)
def test_unclear_topics_list_those_there_are(tmp_path, topics, asked, told):
    path = write_images(tmp_path / "bag", *topics)
    with pytest.raises(DatasetError, match=told):
        BagDataset(path, topics=BagTopics(**asked))


def test_depth_and_cloud_at_once_are_refused():
    with pytest.raises(ConfigError, match=r"an image \('/d'\) or a cloud \('/p'\): give one"):
        BagTopics(depth="/d", cloud="/p")


# --- what does not fit ----------------------------------------------------------------------------------------------


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


# --- calibration ----------------------------------------------------------------------------------------------------


def info(model="plumb_bob", d=(), size=SIZE, **fields):
    k = Intrinsics(60.0, 60.0, (size[1] - 1) / 2, (size[0] - 1) / 2, *size).matrix().reshape(9)
    return SimpleNamespace(
        height=size[0], width=size[1], distortion_model=model, d=np.array(d), k=k, p=np.zeros(12), binning_x=0,
        binning_y=0, roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0), **fields,
    )  # fmt: skip


def test_distorted_raw_images_are_refused_or_rectified(tmp_path):
    """k1 = -0.5 at r = 0.25: a point of the pinhole image 15 px right of the centre is at 15 (1 - 0.5 / 16) = 14.53."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, 46] = 255  # 14.5 px right of the centre
    depth = np.repeat(np.arange(SIZE[1], dtype=np.float32)[None] + 1, SIZE[0], 0)
    for name, topic in (("raw", "/c/image_raw"), ("rect", "/c/image_rect")):
        with BagWriter(tmp_path / name) as writer:
            write_image(writer, topic, START_NS, image, "rgb8", "o")
            write_image(writer, "/c/depth", START_NS, depth, "32FC1", "o")
            new = writer.new
            message = new(
                "sensor_msgs/msg/CameraInfo", header=writer.header(START_NS, "o"), height=SIZE[0], width=SIZE[1],
                distortion_model="plumb_bob", d=np.array([-0.5, 0, 0, 0, 0]), k=CAMERA.matrix().reshape(9),
                r=np.eye(3).reshape(9), p=np.hstack([CAMERA.matrix() * 0.9, np.zeros((3, 1))]).reshape(12),
                binning_x=0, binning_y=0, roi=new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0,
                                                  width=0, do_rectify=False),
            )  # fmt: skip
            writer.write("/c/camera_info", "sensor_msgs/msg/CameraInfo", START_NS, message)
    with pytest.raises(DatasetError, match=r"lens distorts \(plumb_bob, d = \[-0\.5.*set rectify.*image_proc"):
        BagDataset(tmp_path / "raw")[0]
    sample = BagDataset(tmp_path / "raw", options=BagOptions(rectify=True))[0]
    assert sample.intrinsics == CAMERA
    row = SIZE[0] // 2
    center = np.average(np.arange(40, 55), weights=sample.image[row, 40:55, 0].astype(float))
    assert center - CAMERA.cx == pytest.approx(15.0, abs=0.15)
    assert sample.depth_m[row, 46] in (46.0, 47.0)  # taken from column 46 of the sensor's, or next to it
    rectified = BagDataset(tmp_path / "rect")[0]
    np.testing.assert_array_equal(rectified.image, image)
    assert rectified.intrinsics.fx == pytest.approx(54.0)


def test_rectifying_fills_with_unknown_and_knows_its_models():
    rectifier = Rectifier(info(d=(0.9, 0, 0, 0, 0)), SIZE)  # outward: corners come from beyond the sensor
    assert np.isnan(rectifier.depth(DEPTH)[0, 0])
    assert rectifier.panoptic(labels())[0, 0] == 65535
    assert rectifier.image(IMAGE)[0, 0].tolist() == [0, 0, 0]
    assert rectifier.depth(DEPTH)[16, 32] == 4.0
    fisheye = Rectifier(info("equidistant", (0.0, 0, 0, 0)), SIZE)
    # theta = atan(30 / 60): the pixel 30 right of the centre comes from 60 * theta = 27.8 right of it.
    ramp = np.repeat(np.arange(SIZE[1], dtype=np.float32)[None], SIZE[0], 0)
    assert fisheye.depth(ramp)[16, 61] == pytest.approx(31.5 + 60 * np.arctan(29.5 / 60), abs=0.6)
    with pytest.raises(CameraInfoError, match=r"model 'magic' with 1 coeff.*plumb_bob \(4 or 5\).*equidistant \(4\)"):
        Rectifier(info("magic", (0.1,)), SIZE)


def test_one_calibration_serves_the_whole_bag(tmp_path):
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        for second in range(3):
            stamp = START_NS + second * 1000 * MS
            write_image(writer, "/c/image", stamp, IMAGE, "rgb8", "o")
            write_image(writer, "/c/depth", stamp, DEPTH, "32FC1", "o")
            if second == 1:
                write_camera_info(writer, "/c/camera_info", stamp, CAMERA, "o")
    assert [s.intrinsics for s in BagDataset(path)] == [CAMERA] * 3


# --- decoding -------------------------------------------------------------------------------------------------------


def test_what_the_node_accepts_is_read_alike():
    """Every encoding of the node, against the node's own decoder, on random pixels with padded rows."""
    node = pytest.importorskip("dps_perception.node.decode")
    message_type = pytest.importorskip("sensor_msgs.msg").Image
    assert set(node.ENCODINGS) <= set(COLOR_ENCODINGS)
    decoder, random = node.Decoder(), np.random.default_rng(0)
    for encoding, pixel_bytes in node.BYTES_PER_PIXEL.items():
        message = message_type(height=6, width=8, step=8 * pixel_bytes + 2, encoding=encoding)
        message.data.frombytes(random.integers(0, 256, 6 * message.step, np.uint8).tobytes())
        np.testing.assert_allclose(
            decode_rgb(message).astype(int), decoder.rgb(message).astype(int), atol=1, err_msg=encoding
        )


def test_transforms_of_a_camera_that_is_its_own_lidar(tmp_path):
    """A cloud in the image's own frame needs no transforms at all."""
    with BagWriter(tmp_path / "bag") as writer, BagReader(write_lidar_bag(tmp_path / "whole", 1)) as reader:
        for raw in reader.raw_messages(["/front/image_raw", "/front/camera_info", "/points"]):
            writer.add_topic(raw.topic, raw.type_name)
            writer.write_raw(raw.topic, raw.stamp_ns, raw.data)
        write_transform(writer, "/tf_static", START_NS, "front_optical", "lidar", np.diag([1.0, 1, 1, 1]))
    dataset = BagDataset(tmp_path / "bag", options=BagOptions(camera_frame="lidar"))
    assert len(dataset) == 1

"""Bags: what is written comes back, by our reader and by the library's own; damage and absence are told clearly."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader, header_stamp_ns
from dps_perception.data.bag_dataset import BagDataset
from dps_perception.data.bag_messages import decode_depth, decode_raw, decode_rgb, quaternion
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import CAMERA_IN_BASE, write_image, write_street_frame
from dps_perception.errors import DatasetError, ImageError

STAMP = 1_700_000_000_123_456_789
SIZE = (4, 6)
INTRINSICS = Intrinsics(10.0, 11.0, 2.5, 1.5, *SIZE)


def frame(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    panoptic = rng.integers(0, 19 * 256, SIZE).astype(np.uint16)
    panoptic[0, 0] = 65535
    depth = rng.uniform(1, 80, SIZE).astype(np.float32)
    depth[0, :2] = [np.nan, np.inf]
    return image, panoptic, depth


def write_drive(path: Path, frames: int = 3) -> Path:
    with BagWriter(path) as writer:
        for i in range(frames):
            pose = CAMERA_IN_BASE.copy()
            pose[0, 3] += 2.0 * i
            write_street_frame(writer, i, STAMP + i * 10**8, *frame(i), INTRINSICS, pose)
    return path


def test_samples_come_back_exactly(tmp_path: Path) -> None:
    samples = list(BagDataset(write_drive(tmp_path / "drive")))
    assert [s.sample_id for s in samples] == [f"drive_{STAMP + i * 10**8}" for i in range(3)]
    for i, sample in enumerate(samples):
        image, panoptic, depth = frame(i)
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.panoptic, panoptic)
        np.testing.assert_array_equal(sample.depth_m, depth)
        assert sample.intrinsics == INTRINSICS


def test_another_reader_agrees(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive")
    with AnyReader([path]) as reader:
        counts = {c.topic: (c.msgtype, c.msgcount) for c in reader.connections}
        tf = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages() if c.topic == "/tf"]
    assert counts == {
        "/camera/image_raw": ("sensor_msgs/msg/Image", 3),
        "/camera/camera_info": ("sensor_msgs/msg/CameraInfo", 3),
        "/tf": ("tf2_msgs/msg/TFMessage", 3),
        "/tf_static": ("tf2_msgs/msg/TFMessage", 1),
        "/ground_truth/panoptic": ("sensor_msgs/msg/Image", 3),
        "/ground_truth/depth": ("sensor_msgs/msg/Image", 3),
    }
    second = tf[1].transforms[0]
    assert (second.header.frame_id, second.child_frame_id) == ("map", "base_link")
    # The camera moved 2 m along map x without turning: so did base_link.
    assert second.transform.translation.x == pytest.approx(2.0)
    assert second.transform.translation.z == pytest.approx(0.0)
    assert second.transform.rotation.w == pytest.approx(1.0)


def test_single_file_and_latched_topic(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive")
    assert sorted(p.name for p in path.iterdir()) == ["drive.mcap", "metadata.yaml"]
    with BagReader(path / "drive.mcap") as reader:
        topics = reader.topics()
        assert topics["/tf_static"].latched
        assert not topics["/tf"].latched
        assert (reader.start_ns, reader.end_ns) == (STAMP, STAMP + 2 * 10**8)
        stamps = [header_stamp_ns(m.data) for m in reader.raw_messages(["/camera/image_raw"], STAMP + 1)]
    assert stamps == [STAMP + 10**8, STAMP + 2 * 10**8]


def test_sqlite_bags_of_older_ros_versions(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS2_HUMBLE)
    string = types.types["std_msgs/msg/String"]
    with Writer(tmp_path / "old", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/text", "std_msgs/msg/String", typestore=types)
        for stamp, word in enumerate(["a", "b"]):
            writer.write(connection, stamp + 1, types.serialize_cdr(string(data=word), "std_msgs/msg/String"))
    for path in (tmp_path / "old", tmp_path / "old" / "old.db3"):
        with BagReader(path) as reader:
            assert reader.topics()["/text"].message_count == 2
            assert [reader.deserialize(m).data for m in reader.raw_messages()] == ["a", "b"]
    data = (tmp_path / "old" / "old.db3").read_bytes()
    (tmp_path / "cut.db3").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="truncated or damaged"), BagReader(tmp_path / "cut.db3") as reader:
        list(reader.raw_messages())


def test_only_whole_groups_are_paired(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for topic, stamps in {"/a": [1, 2, 3, 5], "/b": [5, 3, 2, 4]}.items():
            for stamp in stamps:
                write_image(writer, topic, stamp, np.full((1, 1), stamp, np.uint8), "mono8", "camera")
    with BagReader(tmp_path / "bag") as reader:
        assert reader.common_stamps(["/a", "/b"]) == [2, 3, 5]
        groups = list(reader.synchronised(["/a", "/b"]))
    assert [stamp for stamp, _ in groups] == [2, 3, 5]
    assert all(int(m.data[0]) == stamp for stamp, group in groups for m in group.values())


def test_missing_topic_lists_those_there_are(tmp_path: Path) -> None:
    with (
        BagReader(write_drive(tmp_path / "drive")) as reader,
        pytest.raises(DatasetError, match=r"no topic '/camera/image'.*did you mean.*/tf_static \[tf2_msgs"),
    ):
        list(reader.raw_messages(["/camera/image"]))


@pytest.mark.parametrize("keep", [0, 5, 40, 0.3, 0.5, 0.9, -1])
def test_truncated_file_is_told(tmp_path: Path, keep: float) -> None:
    path = write_drive(tmp_path / "drive") / "drive.mcap"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    for target in (path, path.parent):
        with pytest.raises(DatasetError, match="truncated or damaged"), BagReader(target) as reader:
            list(reader.raw_messages())


@pytest.mark.parametrize("make", ["missing", "folder", "text", "garbage.mcap", "garbage.db3", "unfinished"])
def test_not_a_bag_is_told(tmp_path: Path, make: str) -> None:
    path = tmp_path / make
    if make == "folder":
        path.mkdir()
    elif make == "unfinished":
        path.mkdir()
        (path / "x_0.mcap").write_bytes(b"")
    elif make != "missing":
        path.write_bytes(b"no bag at all, but long enough to hold any header that one may look for" * 100)
    wanted = {
        "missing": "does not exist",
        "folder": "no metadata.yaml; give a folder",
        "unfinished": r"not finished; `dps_record --recover",
        "text": "is not a bag",
    }
    with pytest.raises(DatasetError, match=wanted.get(make, "truncated or damaged")):
        BagReader(path)


def write_something_and_fail(path: Path) -> None:
    with BagWriter(path, overwrite=True) as writer:
        write_image(writer, "/a", 1, np.zeros((1, 1), np.uint8), "mono8", "camera")
        write_image(writer, "/a", 2, np.zeros(1, np.uint8), "mono8", "camera")


def test_failed_writing_leaves_nothing_and_keeps_the_old_bag(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "drive")
    before = (path / "drive.mcap").read_bytes()
    with pytest.raises(DatasetError, match="exists already"):
        BagWriter(path)
    with pytest.raises(IndexError):
        write_something_and_fail(path)
    assert (path / "drive.mcap").read_bytes() == before
    with BagWriter(path, overwrite=True) as writer:
        write_image(writer, "/a", 1, np.zeros((1, 1), np.uint8), "mono8", "camera")
    with BagReader(path) as reader:
        assert list(reader.topics()) == ["/a"]
    assert [p.name for p in tmp_path.iterdir()] == ["drive"]


@pytest.mark.parametrize("keep", [False, True])
def test_a_bag_that_can_not_take_its_name_leaves_the_old_one_there(tmp_path: Path, monkeypatch, keep: bool) -> None:
    path = write_drive(tmp_path / "drive")
    before = (path / "drive.mcap").read_bytes()
    rename = Path.rename

    def fails_for_the_new_bag(self: Path, target: Path) -> Path:
        if self.parent != tmp_path and self.name != "replaced":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_bag)
    with pytest.raises(DatasetError, match="Input/output error"), BagWriter(path, overwrite=True, keep=keep) as writer:
        write_image(writer, "/a", 1, np.zeros((1, 1), np.uint8), "mono8", "camera")
    assert (path / "drive.mcap").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == (2 if keep else 1)  # the new one can be recovered, where it is to be kept


def test_own_message_types(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        with pytest.raises(DatasetError, match="unknown"):
            writer.add_topic("/own", "my_msgs/msg/Pair")
        writer.register_types({"my_msgs/msg/Pair": "uint16 first\nstring second\n"})
        writer.write("/own", "my_msgs/msg/Pair", 7, writer.new("my_msgs/msg/Pair", first=3, second="four"))
        with pytest.raises(DatasetError, match="can't go there too"):
            writer.add_topic("/own", "std_msgs/msg/Bool")
    with BagReader(tmp_path / "bag") as reader:
        (raw,) = reader.raw_messages()
        message = reader.deserialize(raw)
    assert (raw.stamp_ns, message.first, message.second) == (7, 3, "four")


class Fake:
    """A message: whatever fields it is given."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update({"is_bigendian": 0, **fields})


def test_decoding_by_hand() -> None:
    # Two rows of one bgr8 pixel, with one byte of padding at the end of the first row only.
    message = Fake(height=2, width=1, step=4, encoding="bgr8", data=bytes([1, 2, 3, 99, 4, 5, 6]))
    assert decode_rgb(message).tolist() == [[[3, 2, 1]], [[6, 5, 4]]]
    big = Fake(height=1, width=2, step=4, encoding="16UC1", data=bytes([0x01, 0x02, 0, 0]), is_bigendian=1)
    assert decode_raw(big).tolist() == [[0x0102, 0]]
    depth = decode_depth(big)
    assert depth[0, 0] == pytest.approx(0.258)
    assert np.isnan(depth[0, 1])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"height": 0}, "1x0"),
        ({"step": 2}, "step is 2 bytes"),
        ({"data": bytes(5)}, "has 5 bytes"),
        ({"encoding": "purple9"}, "'purple9'"),
        ({"format": "jpeg", "data": b"no jpeg"}, "can't be decoded"),
    ],
)
def test_malformed_images_are_told(fields: dict[str, object], told: str) -> None:
    good = {"height": 2, "width": 1, "step": 3, "encoding": "rgb8", "data": bytes(6)}
    decode_rgb(Fake(**good))
    with pytest.raises(ImageError, match=told):
        decode_rgb(Fake(**{**good, **fields}))


def test_quaternion_by_hand() -> None:
    quarter_about_z = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)
    np.testing.assert_allclose(quaternion(quarter_about_z), [0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)
    # The optical frame of REP 103: quaternion (-0.5, 0.5, -0.5, 0.5).
    np.testing.assert_allclose(quaternion(CAMERA_IN_BASE[:3, :3]), [-0.5, 0.5, -0.5, 0.5], atol=1e-12)

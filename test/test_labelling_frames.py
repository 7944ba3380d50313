"""Where the frames come from, which of them are taken, and what camera they have."""

import cv2
import numpy as np
import pytest
import yaml
from dataset_fixtures_bag import CAMERA, START_NS, write_lidar_bag

from dps_perception.data.bag_topics import BagTopics
from dps_perception.data.camera_file import CameraFile
from dps_perception.data.dvps import DvpsFolder, is_complete, write_sample
from dps_perception.errors import CameraInfoError, ConfigError, DatasetError
from dps_perception.labelling.frames import Parting, Thinning, open_frames
from dps_perception.labels import COCO_PANOPTIC, pack
from dps_perception.types import Sample

TOPICS = BagTopics(panoptic=None)
SECOND = 10**9


def write_images(folder, count=5, size=(32, 64)):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.full((*size, 3), 10 * i, np.uint8))
    return folder


def write_video(path, count=6):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 32))
    for i in range(count):
        video.write(np.full((32, 64, 3), 40 * i, np.uint8))
    video.release()
    return path


def frames_of(path, fov=90.0, **options):
    return open_frames(path, options.get("camera"), fov, options.get("rectified", False), TOPICS)


def test_a_folder_and_its_subfolders_are_sequences(tmp_path):
    write_images(tmp_path / "drive" / "b", 2)
    write_images(tmp_path / "drive" / "a", 3)
    write_images(tmp_path / "drive" / ".hidden", 3)
    first, second = frames_of(tmp_path / "drive")
    assert (first.name, len(first.stamps_ns), second.name, len(second.stamps_ns)) == ("a", 3, "b", 2)
    samples = list(first.read([0, 2]))
    assert [int(s.image[0, 0, 0]) for s in samples] == [0, 20]
    assert samples[0].intrinsics.fx == pytest.approx(32.0)  # 90 degrees over 64 pixels
    assert samples[0].depth_m is None


def test_a_video_is_read_in_order_with_gaps(tmp_path):
    (video,) = frames_of(write_video(tmp_path / "a.avi"))
    assert video.stamps_ns == [i * SECOND // 10 for i in range(6)]
    assert [round(float(s.image.mean()) / 40) for s in video.read([1, 2, 5])] == [1, 2, 5]


def test_a_bag_comes_with_its_camera_and_its_lidar(tmp_path):
    write_lidar_bag(tmp_path / "bag", frames=3)
    (bag,) = frames_of(tmp_path / "bag", fov=None)
    assert bag.stamps_ns == [START_NS + i * SECOND // 10 for i in range(3)]
    assert bag.sensor == "/points"
    (sample,) = bag.read([1])
    assert sample.intrinsics == CAMERA
    assert np.isfinite(sample.depth_m).any()
    (blind,) = open_frames(tmp_path / "bag", None, None, False, BagTopics(depth=None, cloud=None, panoptic=None))
    assert blind.sensor == ""
    assert next(blind.read([1])).depth_m is None


def test_a_lidar_without_place_tells_how_to_do_without(tmp_path):
    write_lidar_bag(tmp_path / "bag", frames=3)
    with pytest.raises(DatasetError, match="topic '/point'"):
        open_frames(tmp_path / "bag", None, None, False, BagTopics(cloud="/point", panoptic=None))


@pytest.mark.parametrize(
    ("thinning", "taken"),
    [
        (Thinning(), [0, 1, 2, 3, 4, 5, 6, 7]),
        (Thinning(every=3), [0, 3, 6]),
        (Thinning(fps=5), [0, 2, 4, 6]),
        (Thinning(fps=100), [0, 1, 2, 3, 4, 5, 6, 7]),
        (Thinning(fps=5, limit=2), [0, 2]),
    ],
)
def test_thinning_of_ten_frames_a_second(thinning, taken):
    assert thinning.of([7 * SECOND + i * SECOND // 10 for i in range(8)]) == taken


def test_the_last_part_validates_and_a_gap_is_left_out():
    # 0..10 s: validation from 8 s on, training before 6.5 s.
    found = Parting(0.2, 1.5).split_of([i * SECOND for i in range(11)])
    assert found == ["train"] * 7 + [None] + ["val"] * 3
    assert Parting(0.0, 1.5).split_of([0, SECOND]) == ["train", "train"]


@pytest.mark.parametrize("wrong", [{"every": 0}, {"fps": 0.0}, {"limit": 0}])
def test_thinning_out_of_range(wrong):
    with pytest.raises(ConfigError, match="must be positive"):
        Thinning(**wrong)


def test_what_is_not_there_or_does_not_go_together(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no video")
    write_images(tmp_path / "images")
    write_lidar_bag(tmp_path / "bag", frames=2)
    for name, fov, told in [
        ("gone", 90.0, "does not exist"),
        ("empty", 90.0, "holds no image"),
        ("text.txt", 90.0, "not a video"),
        ("images", None, "give --camera FILE"),
        ("bag", 90.0, "a bag has camera_info"),
    ]:
        with pytest.raises((DatasetError, ConfigError), match=told):
            frames_of(tmp_path / name, fov)
    with pytest.raises(ConfigError, match="--topic is for bags"):
        open_frames(tmp_path / "images", None, 90.0, False, BagTopics(image="/a", panoptic=None))


def test_an_image_that_cannot_be_read_is_one_fault(tmp_path):
    write_images(tmp_path / "images", 3)
    (tmp_path / "images" / "001.png").write_bytes(b"half a file")
    (frames,) = frames_of(tmp_path / "images")
    good, bad, also_good = frames.read([0, 1, 2])
    assert isinstance(good, Sample)
    assert isinstance(also_good, Sample)
    assert "001.png" in str(bad)


def ros_calibration(path, distortion=(0.0,) * 5, **changes):
    matrix = {"rows": 3, "cols": 3, "data": [60.0, 0, 31.5, 0, 61.0, 15.5, 0, 0, 1]}
    projection = {"rows": 3, "cols": 4, "data": [50.0, 0, 30.5, 0, 0, 51.0, 14.5, 0, 0, 0, 1, 0]}
    content = {
        "image_width": 64, "image_height": 32, "camera_name": "front", "camera_matrix": matrix,
        "distortion_model": "plumb_bob", "distortion_coefficients": {"rows": 1, "cols": 5, "data": list(distortion)},
        "projection_matrix": projection, **changes,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    return path


def test_ros_calibration_of_rectified_and_raw_images(tmp_path):
    plain = CameraFile(ros_calibration(tmp_path / "plain.yaml"))
    intrinsics, rectifier = plain.of((32, 64))
    assert (intrinsics.fx, intrinsics.cy, rectifier) == (50.0, 14.5, None)  # P counts for rectified images
    bent = ros_calibration(tmp_path / "bent.yaml", (-0.3, 0.1, 0, 0, 0))
    intrinsics, rectifier = CameraFile(bent).of((32, 64))
    assert intrinsics.fx == 60.0  # K is what undistortion leaves
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    assert (rectifier.image(image) != image).any()
    assert CameraFile(bent, rectified=True).of((32, 64))[1] is None


def test_camera_files_that_do_not_fit(tmp_path):
    with pytest.raises(CameraInfoError, match="64x32 pixels, the image is 128x64"):
        CameraFile(ros_calibration(tmp_path / "a.yaml")).of((64, 128))
    (tmp_path / "camera.json").write_text(
        '{"intrinsic": {"fx": 1, "fy": 1, "u0": 0, "v0": 0}, "size": {"height": 2, "width": 4}}'
    )
    assert CameraFile(tmp_path / "camera.json").of((2, 4))[0].fx == 1
    with pytest.raises(CameraInfoError, match="is for 4x2 pixels, the image is 8x4"):
        CameraFile(tmp_path / "camera.json").of((4, 8))
    (tmp_path / "bad.yaml").write_text("image_width: 64")
    with pytest.raises(CameraInfoError, match=r"not what ROS' camera_calibration writes .*image_height"):
        CameraFile(tmp_path / "bad.yaml")
    with pytest.raises(CameraInfoError, match="no camera file"):
        CameraFile(tmp_path / "gone.yaml")


def test_label_spaces_of_many_classes_keep_them_in_our_folders(tmp_path):
    panoptic = np.array([[pack(132, 0), pack(0, 255)], [65535, pack(79, 3)]], np.uint16)
    sample = Sample(np.zeros((2, 2, 3), np.uint8), panoptic, None, CAMERA.resized(2, 2), "")
    write_sample(tmp_path, "train", 0, 0, sample, label_space=COCO_PANOPTIC)
    np.testing.assert_array_equal(DvpsFolder(tmp_path, "train", COCO_PANOPTIC)[0].panoptic, panoptic)


@pytest.mark.parametrize("at", ["_depth", "_camera"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, at):
    import dps_perception.data.dvps as dvps

    def full(path, *rest):
        if at in str(path):
            raise OSError(28, "No space left on device")
        return real(path, *rest)

    real = dvps.replacing
    monkeypatch.setattr(dvps, "replacing", full)
    image = np.zeros((2, 2, 3), np.uint8)
    sample = Sample(image, np.zeros((2, 2), np.uint16), np.ones((2, 2), np.float32), CAMERA.resized(2, 2), "")
    with pytest.raises(DatasetError, match="No space left on device"):
        write_sample(tmp_path, "train", 0, 0, sample)
    assert not any(p.is_file() for p in tmp_path.rglob("*"))
    assert not is_complete(tmp_path, "train", "000000_000000_street")

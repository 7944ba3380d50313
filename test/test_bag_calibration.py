"""Calibrations of bags: distorted images, one message for a whole bag."""

from __future__ import annotations

from types import SimpleNamespace

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
)

from dps_perception.camera import Intrinsics
from dps_perception.data.bag_dataset import BagDataset
from dps_perception.data.bag_index import BagOptions
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.calibration import Rectifier
from dps_perception.data.drive_bag import write_camera_info, write_image
from dps_perception.errors import CameraInfoError, DatasetError


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

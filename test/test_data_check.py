"""The walk over a dataset: counts by hand, faults collected, units judged."""

import json

import numpy as np
import pytest
from dataset_fixtures import scene, write, write_cityscapes, write_mapillary, write_semkitti
from dataset_fixtures_bag import START_NS, write_lidar_bag

from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.check import DatasetSummary, check_dataset
from dps_perception.data.datasets import open_dataset
from dps_perception.data.depth_statistics import DepthStatistics
from dps_perception.labels import CITYSCAPES
from dps_perception.types import Sample


def sample(panoptic=None, depth_m=None, intrinsics=None, sample_id="a"):
    return Sample(np.zeros((4, 6, 3), np.uint8), panoptic, depth_m, intrinsics, sample_id)


def test_counts_of_a_real_layout(tmp_path):
    write_cityscapes(tmp_path)
    summary = check_dataset(open_dataset("cityscapes", tmp_path, "train"))
    assert (summary.images, summary.labelled, summary.without_camera, summary.faults) == (2, 2, 0, [])
    car, person, road = 13, 11, 0
    assert (summary.segments[car], summary.pixels[car], summary.crowds[car]) == (4, 2 * 2 * 16 * 16, 0)
    assert (summary.segments[person], summary.pixels[person], summary.crowds[person]) == (0, 2 * 8 * 48, 2)
    assert summary.segments[road] == 2
    assert summary.void_px == 2 * 16 * 16
    assert summary.void_share == pytest.approx(16 * 16 / (64 * 128))
    found = summary.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["sizes"] == {"128x64": 2}
    assert found["classes"]["car"] == {"segments": 4, "crowds": 0, "pixels": 1024}
    assert found["depth"]["coverage"] == pytest.approx(1 - np.count_nonzero(scene() == 0) / (64 * 128))
    assert (found["depth"]["min_m"], found["depth"]["max_m"]) == pytest.approx((2.5, 0.25 * 110 / 1))


def test_the_table_can_be_read(tmp_path):
    write_cityscapes(tmp_path)
    table = check_dataset(open_dataset("cityscapes", tmp_path, "train")).table()
    assert "images 2, 2 with labels, 2 with depth, 0 without camera" in table
    assert "width x height: 128x64 (2)" in table
    car = next(line for line in table.splitlines() if line.startswith("car "))
    assert car.split() == ["car", "thing", "4", "0", "6.250"]
    assert "void" in table
    assert table.endswith("0 faults")


def test_bad_files_are_collected_and_the_rest_is_counted(tmp_path):
    write_semkitti(tmp_path)
    folder = tmp_path / "video_sequence" / "train"
    write(folder / "000000_000000_gtFine_class.png", np.full((64, 128), 77, np.uint16))
    summary = check_dataset(open_dataset("semkitti_dvps", tmp_path, "train"))
    assert summary.images == 1
    (fault,) = summary.faults
    assert "000000_000000_gtFine_class.png: value 77" in fault
    (folder / "000000_000001_leftImg8bit.png").write_bytes(b"no")
    table = check_dataset(open_dataset("semkitti_dvps", tmp_path, "train")).table()
    assert "2 faults:" in table
    assert "000000_000001_leftImg8bit.png is not a readable image" in table
    assert "width x height: none" in table


def test_unlabelled_depthless_datasets(tmp_path):
    write_mapillary(tmp_path)
    summary = check_dataset(open_dataset("mapillary", tmp_path, "training"))
    assert summary.without_camera == 2
    assert (summary.depth.median_m, summary.depth.coverage, summary.warnings) == (None, None, [])
    unlabelled = DatasetSummary(CITYSCAPES)
    unlabelled.add(sample())
    assert unlabelled.void_share is None
    assert "void" not in unlabelled.table()


def test_values_that_can_not_be():
    summary = DatasetSummary(CITYSCAPES)
    panoptic = np.zeros((4, 6), np.uint16)
    panoptic[0] = 40 * 256  # no such class
    panoptic[1] = 2 * 256 + 3  # the third building
    depth = np.full((4, 6), -1.5, np.float32)
    summary.add(sample(panoptic, depth))
    assert summary.faults == [
        "a: instance 3 of 'building', which is stuff",
        "a: class id 40 on 6 pixels; label space 'cityscapes' has 19 classes",
        "a: depth without camera; training can't scale it",
        "a: depth -1.5 m; it must be positive",
    ]


def test_an_image_that_teaches_nothing_is_a_fault():
    summary = DatasetSummary(CITYSCAPES)
    summary.add(sample())
    assert summary.faults == ["a: neither labels nor depth; training stops at it"]


def test_cameras_of_another_image_size_are_warned_of():
    # Cityscapes' own camera (u0 1096.98, v0 513.1) beside images of half its size, and the right one.
    summary = DatasetSummary(CITYSCAPES)
    right = Intrinsics(2262.52, 2265.3, 1096.98, 513.137, 1024, 2048)
    labels = np.zeros((4, 6), np.uint16)
    summary.add(sample(labels, intrinsics=right.resized(512, 1024)))
    assert summary.warnings == []
    assert "focal length fx: 1131 px" in summary.table()
    summary.add(sample(labels, intrinsics=Intrinsics(2262.52, 2265.3, 1096.98, 513.137, 512, 1024)))
    (warning,) = summary.warnings
    assert "not in the middle half of 1 images" in warning
    assert "focal length fx: 1131 to 2263 px" in summary.table()
    assert summary.to_dict()["focal_px"] == [1131.26, 2262.52]


def test_median_and_coverage():
    statistics = DepthStatistics()
    statistics.add(np.array([[1, 2, np.nan], [30, np.inf, np.nan]], np.float32))
    statistics.add(np.array([[4, 5]], np.float32))
    assert statistics.median_m == pytest.approx(4, rel=0.0025)
    assert statistics.coverage == pytest.approx(6 / 8)
    assert "1 to 30 m, median 4" in statistics.line()
    assert statistics.warnings() == []


@pytest.mark.parametrize(
    ("factor", "likely"),
    [
        (1000, ["millimetres taken for metres (then 8", "not divided by 256 (then 31"]),
        (256, ["not divided by 256 (then 8", "millimetres taken for metres (then 2"]),
        (1 / 256, ["divided by 256 twice", "(then 8", "inverse depth (disparity)"]),
        (1 / 1000, ["kilometres taken for metres (then 8"]),
        (1e7, ["check the unit"]),
        (30 * 1000 / 256 / 8, ["a PNG of millimetres taken for metres * 256 (then 30 m)"]),
    ],
)
def test_units_are_judged_by_the_median(factor, likely):
    statistics = DepthStatistics()
    statistics.add(np.full((3, 3), 8 * factor, np.float32))
    (warning,) = statistics.warnings()
    assert "is not between 0.5 and 100 m" in warning
    for text in likely:
        assert text in warning


def test_disparity_is_farther_below():
    metres, disparity = DepthStatistics(), DepthStatistics()
    rows = np.repeat(np.linspace(1, 0.05, 30), 4).reshape(30, 4)
    for _ in range(10):
        metres.add(20 * rows)
        disparity.add(20 / rows / 10)
    assert metres.warnings() == []
    (warning,) = disparity.warnings()
    assert "lower third is farther than the rest in 10 of 10 images" in warning


def test_depth_that_is_never_known():
    summary = DatasetSummary(CITYSCAPES)
    summary.add(sample(depth_m=np.full((4, 6), np.nan, np.float32), intrinsics=Intrinsics(5, 5, 2, 2, 4, 6)))
    assert summary.faults == []
    assert "warning: no depth image has a known depth" in summary.table()
    assert "0.00 % of pixels" in summary.table()


def test_images_of_bags_that_are_left_out_are_counted(tmp_path):
    write_lidar_bag(tmp_path / "bag", frames=4)
    with BagWriter(tmp_path / "part") as writer, BagReader(tmp_path / "bag") as reader:
        for raw in reader.raw_messages():
            writer.add_topic(raw.topic, raw.type_name)
            if raw.topic != "/points" or raw.stamp_ns < START_NS + 150_000_000:
                writer.write_raw(raw.topic, raw.stamp_ns, raw.data)
    summary = check_dataset(open_dataset("bag", tmp_path / "part", "all"))
    (reason,) = summary.skipped
    assert "depth" in reason
    assert (summary.images, summary.skipped[reason]) == (2, 2)
    assert f"left out: {reason} (2 images)" in summary.table()
    assert summary.to_dict()["skipped"] == {reason: 2}

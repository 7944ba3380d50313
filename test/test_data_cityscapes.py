"""Cityscapes and the published Cityscapes-DVPS folders, by hand-worked values and by every error."""

import numpy as np
import pytest
from dataset_fixtures import (
    CITYSCAPES_DVPS_FRAMES,
    cityscapes_camera,
    scene,
    write,
    write_cityscapes,
    write_cityscapes_dvps,
)

from dps_perception.camera import Intrinsics
from dps_perception.data.cityscapes import Cityscapes, CityscapesDvps
from dps_perception.errors import DatasetError

TRAIN = "train/aachen/aachen_000000_000010"


@pytest.fixture
def cityscapes(tmp_path):
    write_cityscapes(tmp_path)
    return tmp_path


@pytest.fixture
def cityscapes_dvps(tmp_path):
    write_cityscapes_dvps(tmp_path)
    return tmp_path


def test_cityscapes_labels(cityscapes):
    dataset = Cityscapes(cityscapes, "train")
    assert list(dataset.sample_ids) == ["aachen_000000_000010", "bochum_000000_000011"]
    # sky 10, road 0, void, cars 13 with instances from 0 -> 1 and 2, a group of persons (11) -> crowd
    expected = np.array([10 * 256, 0, 65535, 13 * 256 + 1, 13 * 256 + 2, 11 * 256])[scene()]
    expected[8:16, :16] = 65535  # "static"
    np.testing.assert_array_equal(dataset[0].panoptic, expected)


def test_cityscapes_depth_uses_the_frames_own_camera(cityscapes):
    dataset = Cityscapes(cityscapes, "train")
    first, second = dataset[0], dataset[1]
    assert first.intrinsics == Intrinsics(100.0, 101.0, 64.0, 30.0, 64, 128)
    # Row 24 has d = 1 + 24 // 8 = 4 px: 0.2 m * 100 px / 4 px = 5 m, and 0.25 * 110 / 4 = 6.875 m.
    assert first.depth_m[24, 0] == pytest.approx(5.0)
    assert second.depth_m[24, 0] == pytest.approx(6.875)
    assert first.depth_m[63, 0] == pytest.approx(20 / 8)
    assert np.isnan(first.depth_m[scene() == 0]).all()
    assert np.isfinite(first.depth_m[scene() != 0]).all()


def test_cityscapes_zero_disparity_is_unknown(cityscapes):
    write(cityscapes / f"disparity/{TRAIN}_disparity.png", np.ones((64, 128), np.uint16))
    assert np.isnan(Cityscapes(cityscapes, "train")[0].depth_m).all()


def test_cityscapes_without_depth_or_cameras(cityscapes):
    (cityscapes / "disparity").rename(cityscapes / "aside")
    sample = Cityscapes(cityscapes, "val")[0]
    assert sample.depth_m is None
    assert sample.intrinsics.fx == 120.0
    (cityscapes / "camera").rename(cityscapes / "aside2")
    sample = Cityscapes(cityscapes, "val")[0]
    assert sample.intrinsics is None
    assert sample.panoptic is not None


def test_disparity_without_camera_is_refused(cityscapes):
    (cityscapes / "camera").rename(cityscapes / "aside")
    with pytest.raises(DatasetError, match=r"disparity.* without .*camera.*camera_trainvaltest"):
        Cityscapes(cityscapes, "train")


def test_missing_and_empty_splits_name_those_there_are(cityscapes):
    with pytest.raises(DatasetError, match=r"no folder .*leftImg8bit/training; splits there are: train, val"):
        Cityscapes(cityscapes, "training")
    (cityscapes / "leftImg8bit" / "test").mkdir()
    with pytest.raises(DatasetError, match=r"test holds no .*leftImg8bit.png.*splits there are: test, train, val"):
        Cityscapes(cityscapes, "test")


@pytest.mark.parametrize(
    "name", ["gtFine/{}_gtFine_instanceIds.png", "disparity/{}_disparity.png", "camera/{}_camera.json"]
)
def test_missing_pairs_are_found_at_once(cityscapes, name):
    path = cityscapes / name.format(TRAIN)
    path.unlink()
    with pytest.raises(DatasetError, match=rf"missing .*{path.name}: every image of split 'train' needs its"):
        Cityscapes(cityscapes, "train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gtFine/{}_gtFine_instanceIds.png", np.zeros((64, 128), np.uint8), "expected a 16-bit grey PNG"),
        ("gtFine/{}_gtFine_instanceIds.png", np.full((64, 128), 34, np.uint16), "value 34 at row 0, column 0"),
        ("gtFine/{}_gtFine_instanceIds.png", np.full((64, 128), 255, np.uint16), "labelTrainIds"),
        ("gtFine/{}_gtFine_instanceIds.png", np.full((64, 128), 7001, np.uint16), "value 7001.*8192 such pixels"),
        ("gtFine/{}_gtFine_instanceIds.png", np.zeros((32, 64), np.uint16), "64x32, but its image .* is 128x64"),
        ("disparity/{}_disparity.png", np.zeros((64, 128, 3), np.uint8), r"expected a 16-bit grey PNG \(disparity"),
        ("disparity/{}_disparity.png", np.zeros((32, 128), np.uint16), "128x32, but its image"),
        ("camera/{}_camera.json", {"intrinsic": {"fx": 1.0}}, "intrinsic fx, fy, u0, v0"),
        ("camera/{}_camera.json", {"intrinsic": {"fx": 0, "fy": 1, "u0": 0, "v0": 0}}, "focal length fx=0"),
        ("camera/{}_camera.json", {"intrinsic": cityscapes_camera()["intrinsic"]}, "no extrinsic baseline"),
        ("camera/{}_camera.json", {**cityscapes_camera(), "extrinsic": {"baseline": 0}}, "must be positive"),
        ("camera/{}_camera.json", {**cityscapes_camera(), "size": {"height": 2, "width": 4}}, "camera file is for 4x2"),
        ("camera/{}_camera.json", [], "not a Cityscapes camera file"),
    ],
)
def test_bad_content_names_the_file(cityscapes, name, content, message):
    path = cityscapes / name.format(TRAIN)
    write(path, content)
    with pytest.raises(DatasetError, match=message) as caught:
        Cityscapes(cityscapes, "train")[0]
    named = path.name if "size" not in content else "aachen_000000_000010_leftImg8bit.png"
    assert named in str(caught.value)


@pytest.mark.parametrize("name", ["leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_gtFine_instanceIds.png"])
def test_truncated_images_are_named(cityscapes, name):
    path = cityscapes / name.format(TRAIN)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DatasetError, match=rf"{path.name} is not a readable image \(truncated"):
        Cityscapes(cityscapes, "train")[0]


def test_dvps_things_count_from_zero_and_groups_are_void(cityscapes_dvps):
    dataset = CityscapesDvps(cityscapes_dvps, "train")
    assert list(dataset.sample_ids) == [name for split, name in CITYSCAPES_DVPS_FRAMES if split == "train"]
    sample = dataset[0]
    expected = np.array([10 * 256, 0, 65535, 13 * 256 + 1, 13 * 256 + 2, 65535])[scene()]
    np.testing.assert_array_equal(sample.panoptic, expected)
    assert sample.depth_m[63, 0] == 2.0
    assert sample.depth_m[24, 0] == 2 + 39 * 0.5
    assert np.isnan(sample.depth_m[0, 64])


def test_dvps_without_cameras_takes_the_common_ones(cityscapes_dvps):
    intrinsics = CityscapesDvps(cityscapes_dvps, "val")[0].intrinsics
    assert intrinsics.size_hw == (64, 128)
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((2262.52 / 16, 2265.30 / 16))
    assert intrinsics.cx == pytest.approx((1096.98 + 0.5) / 16 - 0.5)


def test_dvps_takes_the_camera_of_the_frame_or_its_snippet(cityscapes_dvps):
    cameras = cityscapes_dvps / "camera" / "val"
    write(cameras / "munster" / "munster_000105_000009_camera.json", cityscapes_camera(1))
    write(cameras / "munster" / "munster_000105_000030_camera.json", cityscapes_camera(2))
    dataset = CityscapesDvps(cityscapes_dvps, "train")  # frames 4 and 9
    assert [dataset[i].intrinsics.fx for i in (0, 1)] == [110.0, 110.0]
    write(cameras / "munster" / "munster_000105_000004_camera.json", cityscapes_camera(0))
    assert CityscapesDvps(cityscapes_dvps, "train")[0].intrinsics.fx == 100.0
    write(cameras / "frankfurt" / "frankfurt_000000_000324_camera.json", cityscapes_camera(0))
    with pytest.raises(DatasetError, match=r"frankfurt_000000_.*within 30 frames of 294"):
        CityscapesDvps(cityscapes_dvps, "val")


def test_dvps_names_must_be_the_published_ones_where_cameras_are_looked_up(cityscapes_dvps):
    (cityscapes_dvps / "camera").mkdir()
    folder = cityscapes_dvps / "video_sequence" / "val"
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("frankfurt_000000_000294", "street"))
    with pytest.raises(DatasetError, match="'000001_000006_street' is not of the form"):
        CityscapesDvps(cityscapes_dvps, "val")


def test_dvps_bad_content(cityscapes_dvps):
    folder, name = cityscapes_dvps / "video_sequence" / "val", CITYSCAPES_DVPS_FRAMES[2][1]
    labels, depth = folder / f"{name}_gtFine_instanceTrainIds.png", folder / f"{name}_depth.png"
    with pytest.raises(DatasetError, match="splits there are: train, val"):
        CityscapesDvps(cityscapes_dvps, "test")
    write(labels, np.full((64, 128), 26001, np.uint16))
    with pytest.raises(DatasetError, match=rf"{labels.name}: value 26001 .*trainIds 0..18, or 32000"):
        CityscapesDvps(cityscapes_dvps, "val")[0]
    write_cityscapes_dvps(cityscapes_dvps)
    write(depth, np.zeros((64, 128), np.uint8))
    with pytest.raises(DatasetError, match=rf"{depth.name}: uint8 .*metres \* 256"):
        CityscapesDvps(cityscapes_dvps, "val")[0]
    depth.unlink()
    with pytest.raises(DatasetError, match=rf"missing .*{depth.name}: every image needs its depth"):
        CityscapesDvps(cityscapes_dvps, "val")

"""Where the demo's camera images come from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dps_perception.data.bag import BagReader
from dps_perception.data.bag_messages import decode_depth, decode_rgb
from dps_perception.data.calibration import intrinsics_of
from dps_perception.data.camera_file import assumed_intrinsics
from dps_perception.data.layout import spread
from dps_perception.errors import DatasetError, DpsError, ImageError
from dps_perception.node import demo_images
from dps_perception.node.demo_images import (
    START_NS,
    STEP_NS,
    motorcycle,
    packaged_images,
    stereo_depth,
    user_images,
    write_camera_bag,
)


def test_stereo_depth_by_hand() -> None:
    # 0.2 m * 1000 px / (30 + 20) px = 4 m.
    depth = stereo_depth(np.array([[30.0, 0.0, np.nan, np.inf]]), 1000.0, 0.2, 20.0)
    assert depth[0, 0] == pytest.approx(4.0)
    assert np.isnan(depth[0, 1:]).all()


def test_motorcycle_has_its_calibration_and_measured_depth() -> None:
    image = motorcycle()
    assert image is not None
    assert image.rgb.shape == (500, 741, 3)
    assert (image.intrinsics.fx, image.intrinsics.cx, image.intrinsics.cy) == (994.978, 311.193, 254.877)
    assert image.depth_m is not None
    assert image.depth_m.shape == (500, 741)
    assert 2.0 < np.nanmin(image.depth_m) < 2.3
    assert 4.9 < np.nanmax(image.depth_m) < 5.2
    # One pixel by hand: depth = baseline * f / (disparity + doffs).
    with np.load(Path(demo_images.importlib.util.find_spec("skimage").origin).parent / "data/motorcycle_disp.npz") as f:  # type: ignore[union-attr,arg-type]
        disparity = float(f[f.files[0]][250, 370])
    assert image.depth_m[250, 370] == pytest.approx(0.193001 * 994.978 / (disparity + 31.086), rel=1e-6)


def test_assumed_intrinsics_by_hand() -> None:
    # tan(45 deg) = 1: with 90 degrees across 200 pixels the focal length is 100 pixels.
    wide = assumed_intrinsics(100, 200, 90.0)
    assert wide.fx == pytest.approx(100.0)
    assert (wide.cx, wide.cy) == (99.5, 49.5)
    assert assumed_intrinsics(200, 100, 90.0).fx == pytest.approx(100.0)  # the longer side counts
    with pytest.raises(DpsError, match="5 to 150"):
        assumed_intrinsics(100, 200, 180.0)


def test_spread() -> None:
    assert spread(795, 3) == [0, 397, 794]
    assert spread(2, 5) == [0, 1]
    assert spread(0, 5) == []


def make_images(folder: Path, count: int) -> None:
    folder.mkdir()
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:02d}.png"), np.full((6, 8, 3), (0, 0, 10 * i), np.uint8))


def test_a_folder_an_image_and_a_video(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 5)
    images = list(user_images(tmp_path / "images", 3, 60.0))
    assert [i.name for i in images] == ["00.png", "02.png", "04.png"]
    assert images[2].rgb[0, 0].tolist() == [40, 0, 0]  # red: BGR files come out as RGB
    assert "60° field of view assumed" in images[0].calibration
    (single,) = user_images(tmp_path / "images" / "01.png", 3, 60.0)
    assert single.name == "01.png"
    video = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(6):
        video.write(np.full((48, 64, 3), 40 * i, np.uint8))
    video.release()
    frames = list(user_images(tmp_path / "a.avi", 2, 60.0))
    assert [f.name for f in frames] == ["a.avi, frame 0", "a.avi, frame 5"]
    assert abs(int(frames[1].rgb.mean()) - 200) < 5


def test_nothing_usable_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no video")
    (tmp_path / "bad.png").write_text("no image")
    for name, error, told in [
        ("empty", DatasetError, "holds no image"),
        ("text.txt", DatasetError, "not a video"),
        ("bad.png", ImageError, "not an image"),
        ("gone", DatasetError, "does not exist"),
    ]:
        with pytest.raises(error, match=told):
            list(user_images(tmp_path / name, 3, 60.0))


def test_packages_are_used_where_installed_and_named_where_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(tmp_path / "labelme", 4)
    monkeypatch.setattr(demo_images, "LABELME_FOLDER", tmp_path / "labelme")
    monkeypatch.setattr(demo_images, "OPENCV_VIDEO", tmp_path / "none.avi")
    images, absent = packaged_images(2)
    assert len(images) == 2
    assert absent == ["street video of opencv-doc, which is not installed (apt install opencv-doc)"]


def test_camera_bag(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 2)
    images = list(user_images(tmp_path / "images", 2, 90.0))
    with_depth = demo_images.CameraImage(
        "measured", images[0].rgb, images[0].intrinsics, "calibrated", np.full((6, 8), 2.5, np.float32)
    )
    write_camera_bag(tmp_path / "bag", [images[1], with_depth])
    with BagReader(tmp_path / "bag") as reader:
        pairs = list(reader.synchronised(["/camera/image_raw", "/camera/camera_info"]))
        ((depth_stamp, depth),) = reader.synchronised(["/ground_truth/depth"])
    assert [stamp for stamp, _ in pairs] == [START_NS, START_NS + STEP_NS]
    assert depth_stamp == START_NS + STEP_NS
    np.testing.assert_array_equal(decode_rgb(pairs[0][1]["/camera/image_raw"]), images[1].rgb)
    assert intrinsics_of(pairs[0][1]["/camera/camera_info"]) == images[1].intrinsics
    assert (decode_depth(depth["/ground_truth/depth"]) == 2.5).all()

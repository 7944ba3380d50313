"""Real camera images for the demo: those that well-kept packages install, or the user's own, as a bag to replay.

The calibrated motorcycle scene of scikit-image (Middlebury 2014) comes with measured depth; the others have no
calibration, so a field of view is assumed for them, and said.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..data.bag_writer import BagWriter
from ..data.camera_file import assumed_intrinsics
from ..data.drive_bag import DRIVE_TOPICS, OPTICAL_FRAME, write_camera_info, write_image
from ..data.layout import IMAGE_SUFFIXES, images_in, spread
from ..errors import DatasetError, ImageError

LABELME_FOLDER = Path("/usr/share/doc/labelme-examples/examples/video_annotation/data_annotated")
OPENCV_VIDEO = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
ASSUMED_FOV_DEG = 60.0
START_NS = 1_600_000_000_000_000_000
STEP_NS = 200_000_000

# The motorcycle's calibration, for an image of 741 x 500 pixels; baseline in metres.
_MOTORCYCLE = Intrinsics(994.978, 994.978, 311.193, 254.877, 500, 741)
_MOTORCYCLE_BASELINE_M = 0.193001
_MOTORCYCLE_DOFFS_PX = 31.086


@dataclass(frozen=True)
class CameraImage:
    """One real image.

    Attributes:
        name: for captions.
        rgb: (H, W, 3) uint8.
        intrinsics: calibrated, or assumed.
        calibration: where the intrinsics come from, for captions.
        depth_m: (H, W) float32 measured metres, NaN unknown; or None.
    """

    name: str
    rgb: NDArray[np.uint8]
    intrinsics: Intrinsics
    calibration: str
    depth_m: NDArray[np.float32] | None = None


def stereo_depth(
    disparity_px: NDArray[np.floating], focal_px: float, baseline_m: float, doffs_px: float
) -> NDArray[np.float32]:
    """Depth = baseline * focal / (disparity + doffs), metres; NaN where the disparity is not finite and positive."""
    known = np.isfinite(disparity_px) & (disparity_px > 0)
    safe = np.where(known, disparity_px, 1.0).astype(np.float64)
    return np.where(known, baseline_m * focal_px / (safe + doffs_px), np.nan).astype(np.float32)


def motorcycle() -> CameraImage | None:
    """The left image of scikit-image's stereo pair with its measured depth; None where it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "data"
    picture, disparity = folder / "motorcycle_left.png", folder / "motorcycle_disp.npz"
    if not (picture.exists() and disparity.exists()):
        return None
    rgb = read_image(picture)
    height, width = rgb.shape[:2]
    with np.load(disparity, allow_pickle=False) as arrays:
        disparity_px = arrays[arrays.files[0]].astype(np.float64)
    if disparity_px.shape != (height, width):
        raise DatasetError(f"{disparity} is {disparity_px.shape}, {picture} {(height, width)}; reinstall scikit-image")
    # Disparity and doffs are counted in columns, so they scale with the width as the focal length does.
    scale = width / _MOTORCYCLE.width
    depth_m = stereo_depth(disparity_px, _MOTORCYCLE.fx * scale, _MOTORCYCLE_BASELINE_M, _MOTORCYCLE_DOFFS_PX * scale)
    return CameraImage(
        "motorcycle (scikit-image, Middlebury 2014)", rgb, _MOTORCYCLE.resized(height, width), "calibrated", depth_m
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image file.

    Raises:
        ImageError: it can't be read.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ImageError(f"'{path}' is not an image that OpenCV reads")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def folder_images(folder: Path, limit: int, fov_deg: float, name: str = "") -> Iterator[CameraImage]:
    """Up to `limit` images of a folder, evenly spread by name.

    Raises:
        DatasetError: there is no image in it.
        ImageError: one can't be read.
    """
    files = images_in(folder)
    if not files:
        raise DatasetError(f"folder '{folder}' holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    for index in spread(len(files), limit):
        title = f"{name}, {files[index].name}" if name else files[index].name
        yield _uncalibrated(title, read_image(files[index]), fov_deg)


def video_images(path: Path, limit: int, fov_deg: float, name: str = "") -> Iterator[CameraImage]:
    """Up to `limit` frames of a video, evenly spread.

    Raises:
        DatasetError: it can't be opened or holds no frame.
    """
    video = cv2.VideoCapture(str(path))
    try:
        number = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        wanted = set(spread(number, limit))
        last = max(wanted, default=-1)
        read = 0
        for index in range(last + 1):
            if not video.grab():
                break
            if index in wanted:
                ok, bgr = video.retrieve()
                if ok:
                    read += 1
                    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                    yield _uncalibrated(f"{name or path.name}, frame {index}", rgb, fov_deg)
        if not read:
            raise DatasetError(f"'{path}' is not a video that OpenCV reads; give a folder of images or a video")
    finally:
        video.release()


def _uncalibrated(name: str, rgb: NDArray[np.uint8], fov_deg: float) -> CameraImage:
    height, width = rgb.shape[:2]
    calibration = f"not calibrated: {fov_deg:g}° field of view assumed, so distances have no sure scale"
    return CameraImage(name, rgb, assumed_intrinsics(height, width, fov_deg), calibration)


def user_images(path: Path, limit: int, fov_deg: float) -> Iterator[CameraImage]:
    """Images of a folder, or frames of a video, or one image file.

    Raises:
        DatasetError, ImageError: nothing usable is there.
    """
    if path.is_dir():
        yield from folder_images(path, limit, fov_deg)
    elif not path.exists():
        raise DatasetError(f"'{path}' does not exist; give a folder of images or a video")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        yield _uncalibrated(path.name, read_image(path), fov_deg)
    else:
        yield from video_images(path, limit, fov_deg)


def packaged_images(limit: int) -> tuple[list[CameraImage], list[str]]:
    """(street images that Debian packages installed, a line for each package that is not there)."""
    images: list[CameraImage] = []
    absent: list[str] = []
    if LABELME_FOLDER.is_dir():
        images += folder_images(LABELME_FOLDER, limit, ASSUMED_FOV_DEG, "labelme-examples")
    else:
        absent.append(
            "labelme-examples is not installed (apt install labelme-examples): its street frames are left out"
        )
    if OPENCV_VIDEO.exists():
        images += video_images(OPENCV_VIDEO, limit, ASSUMED_FOV_DEG, "opencv-doc vtest.avi")
    else:
        absent.append("street video of opencv-doc, which is not installed (apt install opencv-doc)")
    return images, absent


def write_camera_bag(path: Path, images: Sequence[CameraImage]) -> None:
    """Write images, their camera_info, and measured depth where there is some, as a bag (replacing an old one)."""
    with BagWriter(path, overwrite=True) as writer:
        for index, image in enumerate(images):
            stamp_ns = START_NS + index * STEP_NS
            write_camera_info(writer, DRIVE_TOPICS.camera_info, stamp_ns, image.intrinsics, OPTICAL_FRAME)
            write_image(writer, DRIVE_TOPICS.image, stamp_ns, image.rgb, "rgb8", OPTICAL_FRAME)
            if image.depth_m is not None:
                write_image(writer, DRIVE_TOPICS.depth, stamp_ns, image.depth_m, "32FC1", OPTICAL_FRAME)

"""CameraInfo to intrinsics of the image it came with, and undistortion of raw images; ROS-free.

Anything with the fields of a sensor_msgs/CameraInfo will do, so that the node and the bag reader share these rules.
"""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..errors import CameraInfoError
from ..labels import VOID_PANOPTIC_ID

_PERSPECTIVE = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14)}
_FISHEYE = {"equidistant": (4,), "fisheye": (4,)}
_MOST_PX, _LEAST_FOCAL_PX = 1e6, 1e-2


def intrinsics_of(info: Any, image_hw: tuple[int, int] | None = None, *, from_k: bool = False) -> Intrinsics:
    """Intrinsics of an image that came with this CameraInfo. Binning and ROI are applied.

    Args:
        info: a CameraInfo.
        image_hw: (height, width) of the image, to be compared with the calibration's; None compares nothing.
        from_k: the image is taken as rectified, so P (its left 3x3) counts where it is set and K elsewhere; True takes
            K, which describes the image as the sensor sent it, before rectification.

    Raises:
        CameraInfoError: zero size or focal length, numbers that can't be, a ROI beyond the sensor, or the calibration
            is for another size than the image.
    """
    if info.height == 0 or info.width == 0:
        raise CameraInfoError(
            f"camera_info is for a {info.width}x{info.height} image; the camera is not calibrated "
            "(ros2 run camera_calibration cameracalibrator)"
        )
    _check_numbers(info)
    p, k = info.p, info.k
    use_p = not from_k and has_projection(info)
    found = of_sent_pixels(info, *((p[0], p[5], p[2], p[6]) if use_p else (k[0], k[4], k[2], k[5])))
    if image_hw is not None and found.size_hw != image_hw:
        raise CameraInfoError(
            f"camera_info is for {found.width}x{found.height} pixels, the image is {image_hw[1]}x{image_hw[0]}; "
            "is camera_info remapped to the same camera, and does what resizes the image resize camera_info too?"
        )
    return found


def has_projection(info: Any) -> bool:
    """Whether P is set."""
    return bool(info.p[0] > 0 and info.p[5] > 0)


def _check_numbers(info: Any) -> None:
    """Refuse what no camera has: such numbers would put points anywhere, or overflow."""
    for name, values in (("K", info.k), ("P", info.p)):
        numbers = np.asarray(values, np.float64)
        if not np.isfinite(numbers).all() or (np.abs(numbers) > _MOST_PX).any():
            raise CameraInfoError(
                f"camera_info's {name} is {numbers.tolist()}; all must be finite and at most {_MOST_PX:g}; calibrate "
                "the camera (ros2 run camera_calibration cameracalibrator)"
            )
        across, down = numbers[0], numbers[4 if name == "K" else 5]
        if min(across, down) < 0 or 0 < min(across, down) < _LEAST_FOCAL_PX:
            raise CameraInfoError(
                f"camera_info's {name} has focal lengths fx={across}, fy={down}; they must be {_LEAST_FOCAL_PX:g} "
                "pixels or more"
            )
    roi = info.roi
    if roi.y_offset + roi.height > info.height or roi.x_offset + roi.width > info.width:
        raise CameraInfoError(
            f"camera_info's roi is {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}), which reaches beyond "
            f"its {info.width}x{info.height} pixels; both must be in pixels of the full sensor"
        )


def of_sent_pixels(info: Any, fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
    """Intrinsics of the pixels that were sent (ROI, binning), from those of the full sensor."""
    whole = Intrinsics(float(fx), float(fy), float(cx), float(cy), int(info.height), int(info.width))
    roi = info.roi
    if roi.height and roi.width:
        whole = whole.cropped(int(roi.y_offset), int(roi.x_offset), int(roi.height), int(roi.width))
    rows, columns = max(1, int(info.binning_y)), max(1, int(info.binning_x))
    height, width = whole.height // rows, whole.width // columns
    return whole.cropped(0, 0, height * rows, width * columns).resized(height, width)


def is_distorted(info: Any) -> bool:
    """Whether the calibration says that the raw image is distorted: any coefficient other than zero."""
    return bool(np.any(np.asarray(info.d, np.float64) != 0))


def names_rectified_image(topic: str) -> bool:
    """Whether an image is rectified by its topic's name: image_rect, image_rect_color, rectified/image, ..."""
    return any(word.startswith("rect") for word in re.split("[/_]", topic))


def names_raw_image(topic: str) -> bool:
    """Whether an image is not rectified by its topic's name: image_raw, also compressed."""
    return topic.removesuffix("/compressed").endswith("raw") and not names_rectified_image(topic)


class Rectifier:
    """Takes the lens distortion out of a camera's images; the pinhole camera left is the calibration's K.

    R and P play no part: the optical frame stays the one that the header names, so transforms stay right. Distortion
    acts on normalised coordinates, so images of a ROI or with binning are served too.

    Attributes:
        intrinsics: of the images sent, before and after.

    Raises:
        CameraInfoError: K or a coefficient is unusable, or the distortion model is unknown.
    """

    def __init__(self, info: Any, image_hw: tuple[int, int]) -> None:
        self.intrinsics = intrinsics_of(info, image_hw, from_k=True)
        matrix, size = self.intrinsics.matrix(), (image_hw[1], image_hw[0])
        coefficients = np.asarray(info.d, np.float64)
        model = str(info.distortion_model)
        known = _PERSPECTIVE | _FISHEYE
        if model not in known or coefficients.size not in known[model]:
            raise CameraInfoError(
                f"distortion model '{model[:40]}' with {coefficients.size} coefficients can't be undone; "
                f"known are {_listed(known)}"
            )
        if not np.isfinite(coefficients).all():
            raise CameraInfoError(f"distortion coefficients are {coefficients.tolist()}; all must be finite")
        if model in _FISHEYE:
            maps = cv2.fisheye.initUndistortRectifyMap(matrix, coefficients, np.eye(3), matrix, size, cv2.CV_32FC1)
        else:
            maps = cv2.initUndistortRectifyMap(matrix, coefficients, np.eye(3), matrix, size, cv2.CV_32FC1)
        self._maps = maps

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The undistorted image (H, W, 3), bilinear; black where the sensor saw nothing."""
        return cv2.remap(rgb, *self._maps, cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    def depth(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """The undistorted depth (H, W), nearest pixel; NaN where the sensor saw nothing."""
        return cv2.remap(depth_m, *self._maps, cv2.INTER_NEAREST, borderValue=np.nan).astype(np.float32, copy=False)

    def panoptic(self, panoptic: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """The undistorted panoptic ids (H, W), nearest pixel; void where the sensor saw nothing."""
        void = VOID_PANOPTIC_ID
        return cv2.remap(panoptic, *self._maps, cv2.INTER_NEAREST, borderValue=void).astype(np.uint16, copy=False)


def _listed(known: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} ({' or '.join(map(str, numbers))})" for name, numbers in known.items())

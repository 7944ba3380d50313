"""From a camera's messages to a frame the network can take: decoded, rectified where asked, with what calibrates it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from ..camera import Intrinsics
from ..data.calibration import Rectifier, intrinsics_of, is_distorted, names_raw_image, names_rectified_image
from ..errors import CameraInfoError
from ..types import Frame
from .calibration import pinhole_camera_info
from .decode import Decoder, stamp_ns
from .diagnostics import Health
from .parameters import Parameters


@dataclass(frozen=True)
class CameraFrame(Frame):
    """A frame and the CameraInfo of its rectified image; None without usable intrinsics."""

    camera_info: CameraInfo | None = None


class Intake:
    """Makes the frames of one camera.

    Args:
        decoder: for image messages.
        health: told of calibrations that can't be used or don't fit the image's topic.
        warn: called with (kind, text), throttled by the caller.
        topic: full name of the image topic, as it is now.
    """

    def __init__(
        self, decoder: Decoder, health: Health, warn: Callable[[str, str], None], topic: Callable[[], str]
    ) -> None:
        self._decoder = decoder
        self._health = health
        self._warn = warn
        self._topic = topic
        self._rectifier: tuple[tuple[Any, ...], Rectifier] | None = None

    def frame(self, image: Any, info: CameraInfo | None, parameters: Parameters) -> CameraFrame:
        """Decode an image; without a usable calibration it stays as it came.

        Args:
            image: Image or CompressedImage.
            info: that belongs to it, if any.
            parameters: frame_id, rectify.

        Raises:
            ImageError: the image can't be decoded.
        """
        rgb = self._decoder.rgb(image)
        frame_id = parameters.frame_id or image.header.frame_id
        if not frame_id:
            self._warn(
                "frame_id",
                "the image's frame_id is empty, so TF and RViz can't place the outputs; set it in the camera driver, "
                "or give this node the parameter frame_id",
            )
        intrinsics, camera_info = None, info
        if info is not None:
            try:
                if parameters.rectify:
                    rgb, intrinsics = self._rectified(rgb, info)
                    camera_info = pinhole_camera_info(intrinsics, info.header)
                else:
                    intrinsics = intrinsics_of(info, rgb.shape[:2])
                self._health.calibration_error = ""
                self._compare_with_topic(info, parameters.rectify)
            except CameraInfoError as error:
                camera_info = None
                self._health.calibration_error = str(error)
                self._warn("calibration", f"{error}. 2D outputs go on, 3D is withheld")
        return CameraFrame(rgb, intrinsics, stamp_ns(image), frame_id, camera_info)

    def _rectified(self, rgb: NDArray[np.uint8], info: CameraInfo) -> tuple[NDArray[np.uint8], Intrinsics]:
        """The undistorted image and its intrinsics; maps are made once for a calibration."""
        size_hw = (rgb.shape[0], rgb.shape[1])
        if not is_distorted(info):
            return rgb, intrinsics_of(info, size_hw, from_k=True)
        roi = info.roi
        window = roi.y_offset, roi.x_offset, roi.height, roi.width, info.binning_y, info.binning_x
        numbers = info.distortion_model, tuple(info.d), tuple(info.k)
        key = (*numbers, *window, info.height, info.width, *size_hw)
        if self._rectifier is None or self._rectifier[0] != key:
            self._rectifier = None  # two sets of maps need not fit into memory
            self._rectifier = key, Rectifier(info, size_hw)
        rectifier = self._rectifier[1]
        return rectifier.image(rgb), rectifier.intrinsics

    def _compare_with_topic(self, info: CameraInfo, rectify: bool) -> None:
        """Warn where the topic's name says that `rectify` is set wrongly; camera_info is the same for both images."""
        topic, text = self._topic(), ""
        if is_distorted(info) and not rectify and names_raw_image(topic):
            text = (
                f"{topic} is not rectified by its name, and its lens distorts ({info.distortion_model[:40]}, d "
                f"= {[round(float(d), 4) for d in info.d[:14]]}), so points and boxes are bent as the lens does; set "
                "rectify to true, or remap 'image' to a rectified topic (image_proc's image_rect)"
            )
        elif is_distorted(info) and rectify and names_rectified_image(topic):
            text = f"{topic} is rectified by its name, and rectify undistorts it once more; set rectify to false"
        self._health.distortion = text
        if text:
            self._warn("distortion", text)

"""What a camera sends: an image and its calibration as messages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ..camera import Intrinsics
from .calibration import pinhole_camera_info


def camera_messages(rgb: NDArray[np.uint8], intrinsics: Intrinsics) -> tuple[Image, CameraInfo]:
    """An Image (rgb8) and the CameraInfo that belongs to it, with headers of their own and no stamp."""
    height, width = rgb.shape[:2]
    image = Image(height=height, width=width, step=3 * width, encoding="rgb8")
    image.data.frombytes(np.ascontiguousarray(rgb).tobytes())
    info = pinhole_camera_info(intrinsics, Header())
    image.header.frame_id = info.header.frame_id = "camera_optical_frame"
    return image, info

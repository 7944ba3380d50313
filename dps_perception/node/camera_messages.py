"""What a camera sends: an image and its calibration as messages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from ..camera import Intrinsics


def camera_messages(rgb: NDArray[np.uint8], intrinsics: Intrinsics) -> tuple[Image, CameraInfo]:
    """An Image (rgb8) and the CameraInfo that belongs to it, with headers of their own and no stamp."""
    height, width = rgb.shape[:2]
    image = Image(height=height, width=width, step=3 * width, encoding="rgb8")
    image.data.frombytes(np.ascontiguousarray(rgb).tobytes())
    info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    fx, fy, cx, cy = (float(v) for v in (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy))
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    image.header.frame_id = info.header.frame_id = "camera_optical_frame"
    return image, info

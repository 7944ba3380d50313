"""The CameraInfo of the grid of the outputs; how one is read is in `data.calibration`."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ..data.calibration import of_sent_pixels


def scaled_camera_info(source: CameraInfo, size_hw: tuple[int, int], header: Header) -> CameraInfo:
    """The source's calibration for its image resized to `size_hw`; binning and ROI are worked into K and P."""
    height, width = size_hw
    message = CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model=source.distortion_model,
        d=source.d,
        r=source.r,
    )
    k, p = source.k, source.p
    if k[0] > 0 and k[4] > 0:
        message.k = of_sent_pixels(source, k[0], k[4], k[2], k[5]).resized(height, width).matrix().ravel()
    if p[0] > 0 and p[5] > 0:
        moved = of_sent_pixels(source, p[0], p[5], p[2], p[6]).resized(height, width)
        matrix = np.array(p, np.float64).reshape(3, 4)
        matrix[:, :3] = moved.matrix()
        matrix[0, 3] *= moved.fx / p[0]  # Tx = -fx * baseline
        matrix[1, 3] *= moved.fy / p[5]
        message.p = matrix.ravel()
    return message

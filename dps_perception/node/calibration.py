"""CameraInfo to intrinsics of the image it came with, and back for the grid of the outputs."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ..camera import Intrinsics
from ..errors import CameraInfoError


def intrinsics_of(info: CameraInfo, image_hw: tuple[int, int]) -> Intrinsics:
    """Intrinsics of an image of `image_hw` = (height, width) pixels that came with this CameraInfo.

    The image is taken as rectified: P (its left 3x3) counts where it is set, K elsewhere. Binning and ROI are applied.

    Raises:
        CameraInfoError: zero size or focal length, or the calibration is for another size than the image.
    """
    if info.height == 0 or info.width == 0:
        raise CameraInfoError(
            f"camera_info is for a {info.width}x{info.height} image; the camera is not calibrated "
            "(ros2 run camera_calibration cameracalibrator)"
        )
    p, k = info.p, info.k
    focal = (p[0], p[5], p[2], p[6]) if p[0] > 0 and p[5] > 0 else (k[0], k[4], k[2], k[5])
    found = _of_image(info, *focal)
    if found.size_hw != image_hw:
        raise CameraInfoError(
            f"camera_info is for {found.width}x{found.height} pixels, the image is {image_hw[1]}x{image_hw[0]}; "
            "is camera_info remapped to the same camera, and does what resizes the image resize camera_info too?"
        )
    return found


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
        message.k = _of_image(source, k[0], k[4], k[2], k[5]).resized(height, width).matrix().ravel()
    if p[0] > 0 and p[5] > 0:
        moved = _of_image(source, p[0], p[5], p[2], p[6]).resized(height, width)
        matrix = np.array(p, np.float64).reshape(3, 4)
        matrix[:, :3] = moved.matrix()
        matrix[0, 3] *= moved.fx / p[0]  # Tx = -fx * baseline
        matrix[1, 3] *= moved.fy / p[5]
        message.p = matrix.ravel()
    return message


def _of_image(info: CameraInfo, fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
    """Intrinsics of the pixels that were sent, from those of the full sensor."""
    whole = Intrinsics(float(fx), float(fy), float(cx), float(cy), int(info.height), int(info.width))
    roi = info.roi
    if roi.height and roi.width:
        whole = whole.cropped(int(roi.y_offset), int(roi.x_offset), int(roi.height), int(roi.width))
    rows, columns = max(1, int(info.binning_y)), max(1, int(info.binning_x))
    height, width = whole.height // rows, whole.width // columns
    return whole.cropped(0, 0, height * rows, width * columns).resized(height, width)

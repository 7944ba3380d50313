"""CameraInfo of images without distortion: that of the outputs' grid; how one is read is in `data.calibration`."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ..camera import Intrinsics
from ..data.calibration import has_projection, intrinsics_of


def pinhole_camera_info(
    intrinsics: Intrinsics, header: Header, stereo_px: tuple[float, float] = (0.0, 0.0)
) -> CameraInfo:
    """The calibration of an image without distortion: K is the left part of P, D is zero, R is the identity.

    `stereo_px` are P's Tx and Ty [pixels * metres].
    """
    matrix = intrinsics.matrix()
    return CameraInfo(
        header=header,
        height=intrinsics.height,
        width=intrinsics.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([matrix, [[stereo_px[0]], [stereo_px[1]], [0.0]]]).ravel(),
    )


def scaled_camera_info(source: CameraInfo, size_hw: tuple[int, int], header: Header) -> CameraInfo:
    """The calibration of the source's rectified image, resized to `size_hw`; binning and ROI are worked in.

    Whoever reads it as that of a raw image or as that of a rectified one gets the same rays: the source's P (or its K,
    where P is not set) is both K and P.

    Raises:
        CameraInfoError: the source is unusable.
    """
    found = intrinsics_of(source).resized(*size_hw)
    p = source.p
    stereo = (p[3] * found.fx / p[0], p[7] * found.fy / p[5]) if has_projection(source) else (0.0, 0.0)  # -f * baseline
    return pinhole_camera_info(found, header, stereo)

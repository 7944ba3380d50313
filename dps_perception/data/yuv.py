"""YUV images as cameras send them to RGB: two pixels packed into four bytes, or brightness and colour in two planes.

BT.601 with limited range (black is Y 16, white Y 235), as OpenCV and V4L2 take these encodings.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_PACKED = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
_QUARTERED = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
ENCODINGS = (*_PACKED, *_QUARTERED, "nv24")
"""As in sensor_msgs/image_encodings. `step` is that of the brightness plane; in nv12 and nv21 the colour plane has the
same step and half as many rows, in nv24 twice the step and as many rows; it follows without a gap."""


def least_step(encoding: str, width: int) -> int:
    """Bytes that a row of `width` pixels needs: pairs of pixels share their colour, so half a pair needs all of it."""
    pairs = -(-width // 2)
    return 4 * pairs if encoding in _PACKED else 2 * pairs if encoding in _QUARTERED else width


def needed_bytes(encoding: str, height: int, step: int) -> int:
    """Bytes of all planes."""
    rows = height if encoding in _PACKED else height + -(-height // 2) if encoding in _QUARTERED else 3 * height
    return rows * step


def yuv_to_rgb(encoding: str, data: NDArray[np.uint8], height: int, width: int, step: int) -> NDArray[np.uint8]:
    """RGB (height, width, 3) uint8.

    Args:
        encoding: one of `ENCODINGS`.
        data: (N,) uint8, at least `needed_bytes`; may be read-only.
        height, width: any, also odd.
        step: at least `least_step`.
    """
    row = least_step(encoding, width)
    if encoding in _PACKED:
        packed = np.lib.stride_tricks.as_strided(data, (height, row // 2, 2), (step, 2, 1), writeable=False)
        rgb = cv2.cvtColor(packed, _PACKED[encoding])
    elif encoding in _QUARTERED:
        rows = height + height % 2  # a last odd row has colour of its own
        bright = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)
        if height % 2:
            bright = np.pad(bright, ((0, 1), (0, 0)), mode="edge")
        color = data[height * step :]
        color = np.lib.stride_tricks.as_strided(color, (rows // 2, row // 2, 2), (step, 2, 1), writeable=False)
        rgb = cv2.cvtColorTwoPlane(bright, color, _QUARTERED[encoding])
    else:
        rgb = _full_color(data, height, width, step)
    return np.asarray(rgb[:height, :width], np.uint8)


def _full_color(data: NDArray[np.uint8], height: int, width: int, step: int) -> NDArray[np.uint8]:
    """Of nv24. OpenCV has no such conversion: each pixel becomes a pair of equal ones."""
    pairs = np.empty((height, width, 4), np.uint8)
    pairs[..., 1] = pairs[..., 3] = np.lib.stride_tricks.as_strided(data, (height, width), (step, 1), writeable=False)
    color = data[height * step :]
    pairs[..., ::2] = np.lib.stride_tricks.as_strided(color, (height, width, 2), (2 * step, 2, 1), writeable=False)
    packed = pairs.reshape(height, 2 * width, 2)
    return np.asarray(cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_UYVY)[:, ::2], np.uint8)

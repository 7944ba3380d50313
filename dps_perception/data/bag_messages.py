"""Between message objects and arrays, ROS-free: anything with the fields of the ROS message will do.

What cameras send to the node is decoded there by cv_bridge; this is for bags, read on machines without ROS.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..labels import ClassInfo, LabelSpace
from . import yuv
from .image_bytes import check_compressed, check_size, undecodable

_FORMATS: dict[str, tuple[type, int, int | None]] = {
    # encoding: (element type, channels, OpenCV conversion to RGB)
    "rgb8": (np.uint8, 3, None),
    "8UC3": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": (np.uint8, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (np.uint8, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (np.uint8, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (np.uint8, 1, cv2.COLOR_BayerGB2RGB),
    "8UC4": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono16": (np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (np.uint16, 3, None),
    "bgr16": (np.uint16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": (np.uint16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": (np.uint16, 4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb16": (np.uint16, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": (np.uint16, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": (np.uint16, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": (np.uint16, 1, cv2.COLOR_BayerGB2RGB),
}
COLOR_ENCODINGS = (*_FORMATS, *yuv.ENCODINGS)
"""Image encodings that `decode_rgb` reads: all that the node accepts, and a few more."""

_RAW = {"mono8": np.uint8, "8UC1": np.uint8, "mono16": np.uint16, "16UC1": np.uint16, "32FC1": np.float32}


def _pixels(message: Any, dtype: type, channels: int) -> NDArray[Any]:
    height, width, step = int(message.height), int(message.width), int(message.step)
    check_size(height, width)
    row_bytes = width * channels * np.dtype(dtype).itemsize
    if step < row_bytes:
        raise ImageError(f"step is {step} bytes, a row of {width} '{message.encoding}' pixels needs {row_bytes}")
    data = np.frombuffer(memoryview(message.data), np.uint8)
    if data.size < step * (height - 1) + row_bytes:
        raise ImageError(f"image data has {data.size} bytes, {height} rows of {step} need {step * height}")
    rows = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1), writeable=False)
    order = np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<")
    array: NDArray[Any] = np.ascontiguousarray(rows).view(order).astype(dtype, copy=False)
    return array.reshape(height, width, channels) if channels > 1 else array


def decode_rgb(message: Any) -> NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 of an Image or CompressedImage message; 16 bit are scaled to 8.

    Raises:
        ImageError: unknown encoding, zero size, step too small, data truncated or not an image file.
    """
    if hasattr(message, "format"):
        return _compressed(message)
    if message.encoding in yuv.ENCODINGS:
        return _yuv(message)
    if message.encoding not in _FORMATS:
        raise ImageError(
            f"image encoding '{message.encoding}' is not a colour image; known are {', '.join(COLOR_ENCODINGS)}"
        )
    dtype, channels, conversion = _FORMATS[message.encoding]
    pixels = _pixels(message, dtype, channels)
    rgb = pixels if conversion is None else cv2.cvtColor(pixels, conversion)
    if dtype is np.uint16:
        rgb = np.rint(rgb * np.float32(255 / 65535))
    return rgb.astype(np.uint8, copy=False)


def _compressed(message: Any) -> NDArray[np.uint8]:
    data = bytes(message.data)
    claimed = check_compressed(data, message.format)
    # On the grid that camera_info is of, whatever an EXIF header says about the camera's being turned.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if decoded is None or decoded.shape[:2] != claimed:
        raise undecodable(data, message.format, "not a whole jpeg or png")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _yuv(message: Any) -> NDArray[np.uint8]:
    height, width, step = int(message.height), int(message.width), int(message.step)
    check_size(height, width)
    data = np.frombuffer(memoryview(message.data), np.uint8)
    least, needed = yuv.least_step(message.encoding, width), yuv.needed_bytes(message.encoding, height, step)
    if step < least or data.size < needed:
        raise ImageError(
            f"step {step} and {data.size} bytes of data; {width}x{height} pixels of '{message.encoding}' need a step "
            f"of {least} and {needed} bytes"
        )
    return yuv.yuv_to_rgb(message.encoding, data, height, width, step)


def decode_raw(message: Any) -> NDArray[Any]:
    """(H, W) values of a one-channel Image message as they are: uint8, uint16 or float32.

    Raises:
        ImageError: not a one-channel encoding, zero size, step too small, or data truncated.
    """
    if message.encoding not in _RAW:
        raise ImageError(f"image encoding '{message.encoding}' is not one of {', '.join(_RAW)}")
    return _pixels(message, _RAW[message.encoding], 1)


def decode_depth(message: Any) -> NDArray[np.float32]:
    """Depth (H, W) float32 in metres; the unit follows the encoding: 32FC1 metres, 16UC1 millimetres (0 -> NaN)."""
    values = decode_raw(message)
    if values.dtype == np.float32:
        return values
    if values.dtype != np.uint16:
        raise ImageError(f"depth encoding '{message.encoding}' is not 32FC1 (metres) or 16UC1 (millimetres)")
    return np.where(values == 0, np.nan, values * np.float32(1e-3)).astype(np.float32)


def quaternion(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit quaternion (x, y, z, w), w >= 0, of a rotation matrix (3, 3).

    Taken from the eigenvector of the symmetric 4x4 form (Bar-Itzhack 2000), which has no special cases.
    """
    m = np.asarray(rotation, np.float64)
    symmetric = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m.trace()],
        ]
    )
    vector = np.linalg.eigh(symmetric)[1][:, -1]
    return np.copysign(1.0, vector[3]) * vector


def label_space_of(panoptic_info: Any) -> LabelSpace:
    """The classes that a dps_msgs/PanopticInfo message lists, under the name of its model."""
    classes = tuple(
        ClassInfo(c.name, bool(c.is_thing), (round(c.color.r * 255), round(c.color.g * 255), round(c.color.b * 255)))
        for c in panoptic_info.classes
    )
    return LabelSpace(panoptic_info.model_id, classes)


def decode_cloud(message: Any, names: Collection[str] | None = None) -> NDArray[Any]:
    """Points (H, W) of a PointCloud2 message as a structured array with these fields (all by default).

    It is a view, nothing is copied.

    Raises:
        ImageError: the data is shorter than height, width and steps say, or a field's type is unknown.
    """
    order = ">" if message.is_bigendian else "<"
    fields = [f for f in message.fields if names is None or f.name in names]
    kinds = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
    try:
        dtype = np.dtype(
            {
                "names": [f.name for f in fields],
                "formats": [f"{order}{kinds[f.datatype]}" for f in fields],
                "offsets": [f.offset for f in fields],
                "itemsize": message.point_step,
            }
        )
        return np.ndarray(
            (message.height, message.width),
            dtype,
            np.frombuffer(memoryview(message.data), np.uint8),
            strides=(message.row_step, message.point_step),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ImageError(
            f"point cloud of {message.width}x{message.height} points, {message.point_step} bytes each, "
            f"with {len(message.data)} bytes can't be read: {error}"
        ) from error


def cloud_colors(cloud: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 of a cloud's `rgb` field (0x00RRGGBB in the bits of a float)."""
    bits = np.ascontiguousarray(cloud["rgb"]).view(cloud["rgb"].dtype.str.replace("f", "u"))
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], -1).astype(np.uint8)

"""What an image encoding means, and how OpenCV gets from one to another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class CvBridgeError(TypeError):
    """An image can't be converted."""


_DTYPES = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}
_CV_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")
_COLORS = {"mono": ("GRAY", 1), "rgb": ("RGB", 3), "bgr": ("BGR", 3), "rgba": ("RGBA", 4), "bgra": ("BGRA", 4)}
# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's first two.
_BAYER = {"bayer_rggb": "BayerBG", "bayer_bggr": "BayerRG", "bayer_gbrg": "BayerGR", "bayer_grbg": "BayerGB"}
_YUV = {"yuv422": "UYVY", "yuv422_yuy2": "YUY2"}


@dataclass(frozen=True)
class Encoding:
    """One image encoding.

    Attributes:
        name: as in `sensor_msgs/Image.encoding`.
        dtype: of one channel, native byte order.
        channels: numbers per pixel.
        order: OpenCV's name of the colour order ("RGB", "BayerBG", "UYVY", ...); empty for plain numbers (8UC3, ...).
    """

    name: str
    dtype: np.dtype[Any]
    channels: int
    order: str = ""


def parse(name: str) -> Encoding:
    """Look an encoding up; raises CvBridgeError where it is unknown."""
    if name in _YUV:
        return Encoding(name, np.dtype(np.uint8), 2, _YUV[name])
    if match := re.fullmatch(r"([a-z_]+?)(8|16)", name):
        dtype = np.dtype(f"uint{match[2]}")
        if match[1] in _COLORS:
            order, channels = _COLORS[match[1]]
            return Encoding(name, dtype, channels, order)
        if match[1] in _BAYER:
            return Encoding(name, dtype, 1, _BAYER[match[1]])
    if match := _GENERIC.fullmatch(name):
        return Encoding(name, np.dtype(_DTYPES[match[1]]), int(match[2] or 1))
    raise CvBridgeError(f"Unrecognized image encoding [{name}]")


def cv_type_name(dtype: np.dtype[Any], channels: int) -> str:
    """OpenCV's name of an array type, such as 8UC3."""
    if dtype.name not in _CV_NAMES:
        raise CvBridgeError(f"OpenCV has no image type for {dtype.name}; it has {', '.join(_CV_NAMES)}")
    return f"{_CV_NAMES[dtype.name]}C{channels}"


def _conversion_code(source: Encoding, target: Encoding) -> int | None:
    """OpenCV's code of the colour conversion, None where the order stays; raises CvBridgeError where there is none."""
    if not source.order and target.order:
        raise CvBridgeError(
            f"[{source.name}] is not a color format. but [{target.name}] is. The conversion does not make sense"
        )
    if not source.order or not target.order:
        if source.channels != target.channels:
            raise CvBridgeError(f"[{source.name}] and [{target.name}] do not have the same number of channel")
        return None
    if source.order == target.order and not source.order.startswith("Bayer"):
        return None
    if source.order in _YUV.values():
        name = f"COLOR_YUV2{target.order}_{source.order}"
    else:
        name = f"COLOR_{source.order}2{target.order}"
    to_color = target.order in {order for order, _ in _COLORS.values()}
    if not to_color or (source.order.startswith("Bayer") and target.channels == 4):
        raise CvBridgeError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    return int(getattr(cv2, name))


def _change_depth(image: NDArray[Any], source: np.dtype[Any], target: np.dtype[Any]) -> NDArray[Any]:
    """Convert the numbers: 8 and 16 bit integers scale to each other's full range, others are rounded and saturated."""
    if source == target:
        return image.copy()
    if not np.issubdtype(target, np.integer):
        return image.astype(target)
    factor = {(1, 2): 65535 / 255, (2, 1): 255 / 65535}.get((source.itemsize, target.itemsize), 1.0)
    limits = np.iinfo(target)
    values = np.rint(np.nan_to_num(image.astype(np.float64), nan=float(limits.min)) * factor)
    return np.clip(values, limits.min, limits.max).astype(target)


def convert(image: NDArray[Any], source_name: str, target_name: str) -> NDArray[Any]:
    """Convert an image from one encoding to another; always a copy. Raises CvBridgeError where that is impossible."""
    if source_name == target_name:
        return image.copy()
    source, target = parse(source_name), parse(target_name)
    code = _conversion_code(source, target)
    try:
        colored = image if code is None else cv2.cvtColor(image, code)
    except cv2.error as error:
        raise CvBridgeError(f"[{source_name}] to [{target_name}]: {error}") from error
    return _change_depth(colored, image.dtype, target.dtype)

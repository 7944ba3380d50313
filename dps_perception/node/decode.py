"""ROS images to RGB arrays; every malformed message gives an error that names the cure."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from ..data import yuv
from ..data.image_bytes import LONGEST_NAME, check_compressed, check_size, undecodable
from ..errors import DpsError, ImageError, nearest

_COPY_FREE: dict[str, tuple[int, int | None]] = {  # channels, OpenCV's conversion to RGB (None: it is RGB)
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
}
_BAYER = {f"bayer_{pattern}{bits}": bits // 8 for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)}
_BRIDGED = {"mono16": 2, "rgb16": 6, "bgr16": 6, "rgba16": 8, "bgra16": 8} | _BAYER
_BYTES_PER_PIXEL = {name: channels for name, (channels, _) in _COPY_FREE.items()} | _BRIDGED
_LEAST_BAYER = 3  # OpenCV takes colours from neighbours and leaves smaller images black
ENCODINGS = (*_BYTES_PER_PIXEL, *yuv.ENCODINGS)


class BridgeError(DpsError):
    """cv_bridge can't be used in this Python environment."""


class Decoder:
    """Turns image messages into (H, W, 3) uint8 RGB arrays.

    8 bit colour and grey are read from the message's memory as they are (rgb8 without any copy), and so is YUV, of
    which cv_bridge knows only a part. All else, and compressed images, go through cv_bridge. 8UC1, 8UC3 and 8UC4 are
    taken as grey, BGR and BGRA, as OpenCV means them. Nothing is allocated before the sizes are known to fit.

    Raises:
        BridgeError: cv_bridge is missing or does not fit NumPy or OpenCV here.
    """

    def __init__(self) -> None:
        self._bridge = _working_bridge()

    def rgb(self, message: Image | CompressedImage) -> NDArray[np.uint8]:
        """Decode; the array may share the message's memory.

        Raises:
            ImageError: zero or excessive size, step or buffer too small, unknown encoding, or undecodable data.
        """
        return self._compressed(message) if isinstance(message, CompressedImage) else self._raw(message)

    def _raw(self, message: Image) -> NDArray[np.uint8]:
        check_layout(message)
        if message.encoding in yuv.ENCODINGS:
            data = np.frombuffer(message.data, np.uint8)
            return yuv.yuv_to_rgb(message.encoding, data, message.height, message.width, message.step)
        if message.encoding not in _COPY_FREE:
            try:
                return np.asarray(self._bridge.imgmsg_to_cv2(message, "rgb8"), np.uint8)
            except (TypeError, ValueError, RuntimeError, cv2.error) as error:  # CvBridgeError is a TypeError
                raise ImageError(f"cv_bridge can't turn encoding '{message.encoding}' into rgb8: {error}") from error
        channels, conversion = _COPY_FREE[message.encoding]
        rows = np.ndarray(
            (message.height, message.width, channels),
            np.uint8,
            memoryview(message.data),
            strides=(message.step, channels, 1),
        )
        if conversion is None:
            return rows
        return np.asarray(cv2.cvtColor(rows, conversion), np.uint8)

    def _compressed(self, message: CompressedImage) -> NDArray[np.uint8]:
        data = bytes(message.data)
        claimed = check_compressed(data, message.format)
        try:
            decoded = self._bridge.compressed_imgmsg_to_cv2(message)
        except (TypeError, ValueError, RuntimeError, cv2.error) as error:
            raise undecodable(data, message.format, str(error)) from error
        if decoded is None or decoded.shape[:2] != claimed:
            raise undecodable(data, message.format, "not a whole jpeg or png")
        mosaic = message.format.partition(";")[0].strip()
        if decoded.ndim == 2 and mosaic in _BAYER:  # what image_transport makes of a bayer image as png
            return self._raw(_as_message(decoded, mosaic))
        if decoded.dtype == np.uint16:
            decoded = (decoded >> 8).astype(np.uint8)
        channels = 1 if decoded.ndim == 2 else decoded.shape[2]
        if decoded.dtype != np.uint8 or channels not in (1, 3, 4):
            name = message.format[:LONGEST_NAME]
            raise ImageError(f"format '{name}' decodes to {channels} channels of {decoded.dtype}; send 8 bit")
        code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
        return np.asarray(cv2.cvtColor(decoded, code), np.uint8)


def check_layout(message: Image) -> None:
    """Raise ImageError where size, encoding, step and buffer don't fit together, or the size is excessive."""
    check_size(message.height, message.width)
    if message.encoding not in ENCODINGS:
        name = message.encoding[:LONGEST_NAME]
        raise ImageError(
            f"encoding '{name}' is unknown{nearest(name, ENCODINGS)} "
            f"Convert it (image_proc) or send one of: {', '.join(ENCODINGS)}"
        )
    if message.encoding in _BAYER and min(message.height, message.width) < _LEAST_BAYER:
        raise ImageError(
            f"image is {message.width}x{message.height}; {message.encoding} needs {_LEAST_BAYER}x{_LEAST_BAYER} pixels"
        )
    least = least_step(message.encoding, message.width)
    if message.step < least:
        raise ImageError(
            f"step {message.step} is less than {message.width} pixels of {message.encoding} ({least} bytes); "
            "the camera driver fills the message wrongly"
        )
    needed = needed_bytes(message.encoding, message.height, message.step)
    if len(message.data) < needed:
        raise ImageError(
            f"{len(message.data)} bytes of data, but height {message.height} x step {message.step} needs "
            f"{needed}{' with the colour plane' if needed > message.height * message.step else ''}; "
            "the image is truncated"
        )


def least_step(encoding: str, width: int) -> int:
    """Bytes that a row of `width` pixels needs, in one of `ENCODINGS`."""
    return yuv.least_step(encoding, width) if encoding in yuv.ENCODINGS else width * _BYTES_PER_PIXEL[encoding]


def needed_bytes(encoding: str, height: int, step: int) -> int:
    """Bytes of data of an image of `height` rows, in one of `ENCODINGS`."""
    return yuv.needed_bytes(encoding, height, step) if encoding in yuv.ENCODINGS else height * step


def stamp_ns(message: Any) -> int:
    """The header's stamp in nanoseconds."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _as_message(pixels: NDArray[Any], encoding: str) -> Image:
    """An Image of (H, W) pixels in native byte order."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step, message.is_bigendian = pixels.shape[1] * pixels.itemsize, int(sys.byteorder == "big")
    message.data.frombytes(np.ascontiguousarray(pixels).tobytes())
    return message


def _working_bridge() -> Any:
    """A CvBridge that has proven itself on a 2x2 image.

    A cv_bridge built against NumPy 1 or OpenCV 4 fails beside NumPy 2 or OpenCV 5 in many ways, on import or on use.
    """
    versions = f"NumPy {np.__version__}, OpenCV {cv2.__version__}"
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        grey = Image(height=2, width=2, step=4, encoding="mono16")
        grey.data.frombytes(np.full(4, 0xFFFF, "<u2").tobytes())
        decoded = np.asarray(bridge.imgmsg_to_cv2(grey, "rgb8"))
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "cv_bridge":
            raise BridgeError(
                f"cv_bridge is not installed ({error}); on ROS: sudo apt install ros-$ROS_DISTRO-cv-bridge, "
                "in the wheel environment: make setup"
            ) from error
        raise BridgeError(_does_not_fit(versions, error)) from error
    except Exception as error:  # what fails depends on what was built against what
        raise BridgeError(_does_not_fit(versions, error)) from error
    if decoded.shape != (2, 2, 3) or decoded.dtype != np.uint8 or not (decoded == 255).all():
        raise BridgeError(_does_not_fit(versions, f"white decodes to {decoded.dtype} {decoded.ravel().tolist()}"))
    return bridge


def _does_not_fit(versions: str, why: object) -> str:
    return (
        f"cv_bridge does not work beside {versions} ({why!s:.200}). ROS's binary cv_bridge is built against NumPy 1 "
        "(Humble, Jazzy) and OpenCV 4: pin them for this Python, pip install 'numpy<2' 'opencv-python-headless<5', "
        "or build cv_bridge from source"
    )

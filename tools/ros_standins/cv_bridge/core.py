"""Between ROS image messages and NumPy arrays."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import sensor_msgs.msg
from numpy.typing import NDArray

from . import encodings
from .encodings import CvBridgeError


class CvBridge:
    """Converts between `sensor_msgs` images and OpenCV's arrays; one-channel images are (H, W), others (H, W, C)."""

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Number type and channels, such as ("uint8", 3)."""
        parsed = encodings.parse(encoding)
        return parsed.dtype.name, parsed.channels

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """OpenCV's type number, such as cv2.CV_8UC3."""
        parsed = encodings.parse(encoding)
        return int(getattr(cv2, f"CV_{encodings.cv_type_name(parsed.dtype, parsed.channels)}"))

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype[Any], n_channels: int) -> str:
        """OpenCV's type name, such as 8UC3."""
        return encodings.cv_type_name(dtype, n_channels)

    def imgmsg_to_cv2(self, img_msg: sensor_msgs.msg.Image, desired_encoding: str = "passthrough") -> NDArray[Any]:
        """Array of an Image, row padding removed, in native byte order; shares the message's memory where it can.

        Raises:
            CvBridgeError: unknown encoding, buffer shorter than height * step, or no such conversion.
        """
        encoding = encodings.parse(img_msg.encoding)
        height, width, step = img_msg.height, img_msg.width, img_msg.step
        wire = encoding.dtype.newbyteorder(">" if img_msg.is_bigendian else "<")
        pixel = wire.itemsize * encoding.channels
        if step < width * pixel:
            raise CvBridgeError(f"Image is wrongly formed: step {step} < width {width} * {pixel} bytes")
        if len(img_msg.data) < height * step:
            raise CvBridgeError(f"Image is wrongly formed: {len(img_msg.data)} bytes < height {height} * step {step}")
        data = bytes(img_msg.data) if isinstance(img_msg.data, list) else img_msg.data
        strided = np.ndarray((height, width, encoding.channels), wire, data, strides=(step, pixel, wire.itemsize))
        image = np.ascontiguousarray(strided[..., 0] if encoding.channels == 1 else strided, dtype=encoding.dtype)
        if desired_encoding == "passthrough":
            return image
        return encodings.convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: NDArray[Any], encoding: str = "passthrough", header: Any = None
    ) -> sensor_msgs.msg.Image:
        """Image of an array; `encoding` only names what the array holds, nothing is converted.

        Raises:
            TypeError: not an array.
            CvBridgeError: the array's type is not that of the encoding.
        """
        if not isinstance(cvim, (np.ndarray, np.generic)):
            raise TypeError("Your input type is not a numpy array")
        channels = 1 if cvim.ndim < 3 else cvim.shape[2]
        cv_type = encodings.cv_type_name(cvim.dtype, channels)
        if encoding != "passthrough":
            parsed = encodings.parse(encoding)
            if encodings.cv_type_name(parsed.dtype, parsed.channels) != cv_type:
                raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {cv_type}")
        message = sensor_msgs.msg.Image()
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.encoding = cv_type if encoding == "passthrough" else encoding
        message.is_bigendian = int(
            cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and sys.byteorder == "big")
        )
        message.step = cvim.shape[1] * channels * cvim.dtype.itemsize
        message.data.frombytes(cvim.tobytes())
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: sensor_msgs.msg.CompressedImage, desired_encoding: str = "passthrough"
    ) -> NDArray[Any] | None:
        """Array of a CompressedImage as OpenCV decodes it (BGR; grey, alpha and 16 bit stay).

        Returns:
            None where nothing could be decoded and no conversion was asked for, as the real one does.

        Raises:
            CvBridgeError: no conversion from bgr8 to the desired encoding, or it fails on these channels.
        """
        try:
            image = cv2.imdecode(np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:  # an empty buffer
            raise CvBridgeError(str(error)) from error
        if desired_encoding == "passthrough":
            return image
        if image is None:
            raise CvBridgeError(f"{len(cmprs_img_msg.data)} bytes of format [{cmprs_img_msg.format}] can't be decoded")
        return encodings.convert(image, "bgr8", desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: NDArray[Any], dst_format: str = "jpg") -> sensor_msgs.msg.CompressedImage:
        """CompressedImage of an array (BGR), `dst_format` as OpenCV's file endings: jpg, png, ...

        Raises:
            TypeError: not an array.
            CvBridgeError: OpenCV can't write this array in this format.
        """
        if not isinstance(cvim, (np.ndarray, np.generic)):
            raise TypeError("Your input type is not a numpy array")
        try:
            written, buffer = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(str(error)) from error
        if not written:
            raise CvBridgeError(f"an array of {cvim.dtype} {cvim.shape} can't be written as [{dst_format}]")
        message = sensor_msgs.msg.CompressedImage(format=dst_format)
        message.data.frombytes(buffer.tobytes())
        return message

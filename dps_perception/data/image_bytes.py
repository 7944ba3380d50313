"""What a JPEG or PNG says about itself, read from its bytes before anything is decoded or allocated."""

from __future__ import annotations

from ..errors import ImageError

MAX_SIDE_PX = 32_766
"""Of one side; OpenCV can't undistort larger images."""
MAX_PIXELS = 8192 * 8192
"""Of a whole image, 64 Mi: 192 MiB as RGB, and about 3 GiB once all outputs are made of it."""
LONGEST_NAME = 60
"""Of what a message claims, in errors."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG = b"\xff\xd8"
_SCAN, _END = 0xDA, b"\xff\xd9"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}
_MAX_SEGMENTS = 1000


def check_size(height: int, width: int) -> None:
    """Refuse an image that claims no pixels or too many.

    Raises:
        ImageError: names the size and the limit.
    """
    if height <= 0 or width <= 0:
        raise ImageError(f"image is {width}x{height}; the camera driver sent no pixels")
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        raise ImageError(
            f"image claims {width}x{height} pixels; at most {MAX_SIDE_PX} a side and {MAX_PIXELS / 1e6:.0f} million in "
            "all are taken. If the camera is that large, send smaller images (image_proc's resize node)"
        )


def check_compressed(data: bytes, format_: str) -> tuple[int, int]:
    """(height, width) that a whole JPEG or PNG claims, the data of a CompressedImage of this format.

    Raises:
        ImageError: it is depth or neither of the two, claims too many pixels or none, or its header or end is missing.
    """
    if "compressedDepth" in format_:
        raise ImageError(f"format '{format_[:LONGEST_NAME]}' holds depth; give a colour image (jpeg or png)")
    try:
        claimed = _claimed_size(data)
    except ImageError as error:
        raise undecodable(data, format_, str(error)) from error
    check_size(*claimed)
    if ends_early(data):
        raise undecodable(data, format_, "its end is missing")
    return claimed


def undecodable(data: bytes, format_: str, why: str) -> ImageError:
    """The error for a CompressedImage whose data can't be decoded."""
    return ImageError(
        f"{len(data)} bytes of format '{format_[:LONGEST_NAME]}' can't be decoded ({why}); send jpeg or png, and "
        "check the link for lost bytes"
    )


def _claimed_size(data: bytes) -> tuple[int, int]:
    """(height, width) in the header of a JPEG or PNG.

    Raises:
        ImageError: neither of the two, or its header is damaged.
    """
    if data.startswith(_PNG):
        if len(data) < 24 or data[12:16] != b"IHDR":
            raise ImageError("its PNG header is damaged")
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if not data.startswith(_JPEG):
        raise ImageError("it is neither a jpeg nor a png")
    place = _segment(data, _FRAME_HEADERS)
    if place is None or len(data) < place + 9:
        raise ImageError("its JPEG header is damaged")
    return int.from_bytes(data[place + 5 : place + 7], "big"), int.from_bytes(data[place + 7 : place + 9], "big")


def ends_early(data: bytes) -> bool:
    """Whether a JPEG or PNG has no end, so that a decoder would fill in what is missing; other data: if it is empty."""
    if data.startswith(_PNG):
        return _PNG_END not in data
    if not data.startswith(_JPEG):
        return not data
    pixels = _segment(data, frozenset({_SCAN}))  # a preview before them may have an end of its own
    return pixels is None or data.find(_END, pixels) < 0


def _segment(data: bytes, kinds: frozenset[int]) -> int | None:
    """Where the first of these JPEG segments begins (at its 0xFF), before the end of the segment with the pixels."""
    place = 2
    for _ in range(_MAX_SEGMENTS):
        if data[place : place + 1] != b"\xff" or place + 1 >= len(data):
            return None
        kind = data[place + 1]
        if kind == 0xFF:  # padding
            place += 1
            continue
        if kind in kinds:
            return place
        if kind == _SCAN:
            return None
        place += 2 if kind in _WITHOUT_LENGTH else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None

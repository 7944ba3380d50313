"""Finding, pairing and reading the files of datasets; every error names the file and what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..camera import Intrinsics
from ..errors import DatasetError
from .image_bytes import ends_early

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
"""Of files that are taken for images where a folder may hold any."""


def images_in(folder: Path) -> list[Path]:
    """The image files that lie in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def split_folder(parent: Path, split: str) -> Path:
    """`parent / split`.

    Raises:
        DatasetError: it is no folder; the message names the splits that there are.
    """
    folder = parent / split
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; splits there are: {folders_in(parent)}")
    return folder


def names_in(folder: Path, pattern: str, suffix: str, expected: str, splits: Path | None = None) -> list[str]:
    """Sorted names, without `suffix`, of the files below `folder` that match `pattern`.

    Raises:
        DatasetError: there are none; the message says what was `expected` and which folders `splits` has
            (None: the parent of `folder`).
    """
    names = sorted(p.name[: -len(suffix)] for p in folder.glob(pattern) if p.name[0] != ".")
    if not names:
        there = folders_in(splits or folder.parent)
        raise DatasetError(f"{folder} holds no {pattern} (expected {expected}); splits there are: {there}")
    return names


def folders_in(folder: Path) -> str:
    """Names of the folders in a folder, for messages."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return ", ".join(names) or "none"


def spread(number: int, limit: int) -> list[int]:
    """At most `limit` indices of `number`, evenly spread from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, number - 1, min(number, limit))}) if number else []


def require(paths: Iterable[Path], why: str) -> None:
    """Check that all paths are there.

    Raises:
        DatasetError: names the first that is not, how many there are, and `why` they are needed.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DatasetError(f"missing {missing[0]}{more}: {why}")


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, on the pixel grid as stored (labels know nothing of EXIF orientation)."""
    image = read_pixels(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_grey(path: Path, dtypes: Iterable[DTypeLike], meaning: str) -> NDArray[Any]:
    """(H, W) of a grey PNG.

    Raises:
        DatasetError: unreadable, in colour, or of a dtype not in `dtypes`; the message says what the file is for.
    """
    array = read_pixels(path, cv2.IMREAD_UNCHANGED)
    allowed = [np.dtype(t) for t in dtypes]
    if array.ndim != 2 or array.dtype not in allowed:
        bits = " or ".join(f"{t.itemsize * 8}-bit" for t in allowed)
        raise DatasetError(f"{path}: {array.dtype} with shape {array.shape}, expected a {bits} grey PNG ({meaning})")
    return array


def read_pixels(path: Path, flags: int) -> NDArray[Any]:
    """What OpenCV reads (BGR).

    Raises:
        DatasetError: the file is missing, can't be opened, is truncated or not an image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except OSError as error:
        raise DatasetError(f"{path} can't be opened ({error.strerror})") from error
    array = None if ends_early(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if array is None:
        raise DatasetError(f"{path} is not a readable image (truncated?)")
    return array


def check_sizes(
    image_path: Path,
    image: NDArray[np.uint8],
    arrays: Mapping[Path, NDArray[Any] | None],
    intrinsics: Intrinsics | None = None,
) -> None:
    """Check that everything of a sample is on the image's pixel grid.

    Raises:
        DatasetError: names the file that is not.
    """
    height, width = image.shape[:2]
    for path, array in arrays.items():
        if array is not None and array.shape[:2] != (height, width):
            raise DatasetError(
                f"{path}: {array.shape[1]}x{array.shape[0]}, but its image {image_path} is {width}x{height}"
            )
    if intrinsics is not None and intrinsics.size_hw != (height, width):
        raise DatasetError(
            f"{image_path} is {width}x{height}, but its camera file is for {intrinsics.width}x{intrinsics.height}"
        )

"""Bringing images of any size to the network's input size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

PAD_COLOR = (124, 116, 104)
"""RGB of padded pixels: the mean that the networks subtract."""


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3); area averaging when shrinking, bilinear when growing."""
    if image.shape[:2] == (height, width):
        return image
    shrink = height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


def letterbox(image: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], float, float]:
    """Fit an image into (height, width) keeping its aspect ratio, top left, padded right or below.

    Returns:
        The padded image (height, width, 3), and the network pixels per image pixel along y and x.
    """
    h, w = image.shape[:2]
    scale = min(height / h, width / w)
    new_h, new_w = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    resized = resize_image(image, new_h, new_w)
    if (new_h, new_w) == (height, width):
        return np.ascontiguousarray(resized), new_h / h, new_w / w
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = PAD_COLOR
    canvas[:new_h, :new_w] = resized
    return canvas, new_h / h, new_w / w

"""Faults of real cameras on an image: what rendered training images lack and photographs have."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CHANCE = 0.5
LOG2_GAMMA = (-0.75, 0.75)
WHITE_BALANCE = (0.8, 1.25)
BLUR_SIGMA = (0.3, 1.5)
NOISE_LEVELS = (1.0, 12.0)
JPEG_QUALITY = (25, 90)


def degrade(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Give an image the look of another camera: each fault comes with probability one half.

    In the order of the light's way: lens blur (Gaussian, sigma in pixels), white balance (factor per channel), tone
    curve (gamma), sensor noise (Gaussian, grey levels, partly the same in all channels), JPEG compression.

    Args:
        image: (H, W, 3) uint8 RGB.
        random: source of randomness; the same state gives the same result.

    Returns:
        (H, W, 3) uint8 RGB, a new array unless no fault was drawn.
    """
    if random.random() < CHANCE:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(*BLUR_SIGMA)), np.uint8)
    balanced, curved = random.random() < CHANCE, random.random() < CHANCE
    if balanced or curved:
        gains = random.uniform(*WHITE_BALANCE, size=3) if balanced else np.ones(3)
        gamma = 2 ** random.uniform(*LOG2_GAMMA) if curved else 1.0
        level = np.arange(256)[:, None] / 255.0
        table = np.rint(np.clip(level**gamma * gains, 0, 1) * 255).astype(np.uint8)
        image = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    if random.random() < CHANCE:
        noise = (
            random.standard_normal(image.shape, np.float32)
            + random.standard_normal(image.shape[:2], np.float32)[..., None]
        )
        noise *= np.float32(random.uniform(*NOISE_LEVELS) / np.sqrt(2))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if random.random() < CHANCE:
        quality = int(random.integers(*JPEG_QUALITY))
        packed = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image

"""Training views (paper, Section IV-A): scale jitter with its depth rule, crop, flip, roll, colour, sensor faults."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from ..camera import Intrinsics
from ..errors import ConfigError, DatasetError
from ..labels import VOID_PANOPTIC_ID
from ..types import Sample
from .resize import PAD_COLOR, resize_image
from .sensor import degrade


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes.

    Attributes:
        scale: smallest and largest factor s on the image once it fits the crop; depth becomes depth / s.
        flip: probability of a horizontal flip.
        rotation: largest roll of the camera, degrees, drawn evenly from both sides.
        color: probability of SSD's photometric distortion (brightness, contrast, saturation, hue).
        sensor: probability of another camera's faults, `sensor.degrade` (ours: real cameras differ from rendered ones).
        center_crop: crop the centre instead of a random window.

    Raises:
        ConfigError: a value is out of range.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    rotation: float = 0.0
    color: float = 0.5
    sensor: float = 0.0
    center_crop: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise ConfigError(f"augmentation scale {self.scale}: the smallest and the largest factor, both positive")
        for name in ("flip", "color", "sensor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augmentation {name} is {getattr(self, name)}; a probability is within 0..1")
        if not 0 <= self.rotation <= 180:
            raise ConfigError(f"augmentation rotation is {self.rotation} degrees; it must be within 0..180")


NO_AUGMENTATION = Augmentation(flip=0.0, color=0.0)


def augment(
    sample: Sample,
    size_hw: tuple[int, int],
    focal_px: float,
    augmentation: Augmentation,
    random: np.random.Generator,
) -> Sample:
    """A training view of `sample`: exactly `size_hw`, padded with void where the image does not reach.

    Args:
        sample: labels, depth and intrinsics are optional, but depth needs intrinsics.
        size_hw: (height, width) of the result.
        focal_px: focal length of the canonical camera, pixels (a canonical camera as in Yin et al., ICCV 2023). The
            returned depth is where that camera would see things as large: depth * focal_px / fx of this view. It
            depends on pixels alone, not on the size of the crop, so stages with other sizes go together. For a view of
            the training camera scaled by s this is the paper's depth / s.
        augmentation: ranges; `NO_AUGMENTATION` only fits the image into the size.
        random: source of randomness.

    Raises:
        DatasetError: the sample has neither labels nor depth, or depth without intrinsics.
    """
    if sample.panoptic is None and sample.depth_m is None:
        raise DatasetError(f"{sample.sample_id}: neither panoptic labels nor depth; nothing can be learnt from it")
    height, width = size_hw
    source_h, source_w = sample.image.shape[:2]
    fit = min(height / source_h, width / source_w)
    scale = fit * random.uniform(*augmentation.scale)
    window_h, window_w = max(1, round(height / scale)), max(1, round(width / scale))
    spare = (source_h - window_h, source_w - window_w)
    share = (0.5, 0.5) if augmentation.center_crop else tuple(random.random(2))
    # A window larger than the image is padded at a random side too, so that position is no give-away.
    top, left = (round(n * s) for n, s in zip(spare, share, strict=True))
    view = _window(sample, top, left, window_h, window_w, height, width)
    if random.random() < augmentation.flip:
        view = flip(view)
    if augmentation.rotation:
        view = roll(view, random.uniform(-augmentation.rotation, augmentation.rotation))
    if random.random() < augmentation.color:
        view = replace(view, image=_distort(view.image, random))
    if random.random() < augmentation.sensor:
        view = replace(view, image=degrade(view.image, random))
    if view.depth_m is not None:
        if view.intrinsics is None:
            raise DatasetError(f"{sample.sample_id}: depth without intrinsics can't be scaled to the training camera")
        view = replace(view, depth_m=view.depth_m * np.float32(focal_px / view.intrinsics.fx))
    return view


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    k = sample.intrinsics
    mirrored = k and Intrinsics(k.fx, k.fy, k.width - 1 - k.cx, k.cy, k.height, k.width)
    panoptic, depth = sample.panoptic, sample.depth_m
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        panoptic=None if panoptic is None else np.ascontiguousarray(panoptic[:, ::-1]),
        depth_m=None if depth is None else np.ascontiguousarray(depth[:, ::-1]),
        intrinsics=mirrored,
    )


def roll(sample: Sample, degrees: float) -> Sample:
    """Turn the camera about its optical axis: depth along that axis stays, what comes into view is void."""
    height, width = sample.image.shape[:2]
    k = sample.intrinsics
    matrix = k.matrix() if k else np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1.0]])
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = (matrix @ turn @ np.linalg.inv(matrix))[:2]

    def warp(array: NDArray, fill: object, interpolation: int) -> NDArray:
        return cv2.warpAffine(array, affine, (width, height), flags=interpolation, borderValue=fill)  # type: ignore[call-overload]

    panoptic, depth = sample.panoptic, sample.depth_m
    return replace(
        sample,
        image=warp(sample.image, PAD_COLOR, cv2.INTER_LINEAR),
        panoptic=None if panoptic is None else warp(panoptic, VOID_PANOPTIC_ID, cv2.INTER_NEAREST),
        depth_m=None if depth is None else warp(depth, np.nan, cv2.INTER_NEAREST),
    )


def _window(sample: Sample, top: int, left: int, h: int, w: int, height: int, width: int) -> Sample:
    """The window of `h` x `w` source pixels at (top, left), which may overhang, resized to (height, width)."""
    source_h, source_w = sample.image.shape[:2]
    y0, y1, x0, x1 = max(0, top), min(source_h, top + h), max(0, left), min(source_w, left + w)
    ty0, ty1 = round((y0 - top) * height / h), round((y1 - top) * height / h)
    tx0, tx1 = round((x0 - left) * width / w), round((x1 - left) * width / w)
    inner = (slice(ty0, ty1), slice(tx0, tx1))

    def place(array: NDArray, fill: object, resized: NDArray) -> NDArray:
        if resized.shape[:2] == (height, width):
            return resized
        canvas = np.empty((height, width, *array.shape[2:]), array.dtype)
        canvas[:] = fill
        canvas[inner] = resized
        return canvas

    def nearest(array: NDArray) -> NDArray:
        return cv2.resize(array[y0:y1, x0:x1], (tx1 - tx0, ty1 - ty0), interpolation=cv2.INTER_NEAREST_EXACT)

    image = resize_image(np.ascontiguousarray(sample.image[y0:y1, x0:x1]), ty1 - ty0, tx1 - tx0)
    panoptic, depth, k = sample.panoptic, sample.depth_m, sample.intrinsics
    return replace(
        sample,
        image=place(sample.image, PAD_COLOR, image),
        panoptic=None if panoptic is None else place(panoptic, VOID_PANOPTIC_ID, nearest(panoptic)),
        depth_m=None if depth is None else place(depth, np.nan, nearest(depth)),
        intrinsics=k and k.cropped(top, left, h, w).resized(height, width),
    )


_PHOTOMETRIC = v2.RandomPhotometricDistort(p=0.5)


def _distort(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**31)))
        return _PHOTOMETRIC(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).contiguous().numpy()

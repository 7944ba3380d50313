"""Tensors made to look like a real prediction, for timing what comes after the network.

Untrained networks keep no query, and trained ones as many as the image has; the work after them grows with that
number. Each kept query here owns one region with a smooth border; sizes run from small things to large stuff.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..camera import Intrinsics
from ..errors import ConfigError
from ..labels import MAX_INSTANCE_ID, LabelSpace
from ..models.efficientdps import STRIDE
from ..models.efficientdps_config import EfficientDPSConfig
from ..models.efficientdps_fusion import fuse
from ..models.segments import FusionThresholds
from ..types import OutputGrid, Prediction

LIMIT = 8.0
"""Largest mask logit, either way, as trained networks have them."""
_SHARPNESS = 40.0
_STUFF_EVERY = 4


@dataclass(frozen=True)
class Look:
    """What a prediction looks like: `kept` of `queries` queries become segments."""

    kept: int = 50
    queries: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.kept <= self.queries:
            raise ConfigError(f"{self.kept} of {self.queries} queries kept: it must be 1 to all of them")


def network_outputs(
    space: LabelSpace, size_hw: tuple[int, int], look: Look, device: torch.device | str = "cpu", seed: int = 0
) -> dict[str, Tensor]:
    """The named tensors of `EfficientDPS.forward` for a network input of `size_hw`, batch size 1.

    Raises:
        ConfigError: more segments than the label space has ids for.
    """
    height, width = size_hw[0] // STRIDE, size_hw[1] // STRIDE
    random = np.random.default_rng(seed)
    classes = _classes(space, look.kept)
    masks = np.full((look.queries, height, width), -LIMIT, np.float32)
    masks += random.normal(0, 0.3, masks.shape).astype(np.float32)
    masks[: look.kept] = regions(look.kept, (height, width), random)
    class_logits = np.full((look.queries, len(space)), -6, np.float32)
    class_logits[np.arange(look.kept), classes] = random.uniform(2, 4, look.kept)
    rows = np.linspace(2, -3, height, dtype=np.float32)[:, None]  # near below, far above
    depth = rows + random.normal(0, 0.5, (look.queries, 1, 1)).astype(np.float32) + np.zeros((1, width), np.float32)
    arrays = {
        "class_logits": class_logits[None],
        "mask_logits": masks[None],
        "depth_logits": depth[None],
        "backup_depth_logits": (rows + np.zeros((1, width), np.float32))[None, None],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}


def regions(number: int, size_hw: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """(number, h, w) float32 logits: positive in a region of its own, which it shares with nobody.

    Regions are what is nearest to each of `number` points, distances divided by sizes; borders are bent.
    """
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = (y + 0.5) / height, (x + 0.5) / width * 2
    phase = random.uniform(0, 6, 4)
    y = y + 0.03 * np.sin(9 * x + phase[0]) + 0.015 * np.sin(23 * x + phase[1])
    x = x + 0.03 * np.sin(11 * y + phase[2]) + 0.015 * np.sin(29 * y + phase[3])
    side = int(np.ceil(np.sqrt(number / 2)))
    places = random.permutation(2 * side * side)[:number]  # apart, so that nobody is swallowed
    cy = (places // (2 * side) + random.uniform(0.3, 0.7, number)) / side
    cx = (places % (2 * side) + random.uniform(0.3, 0.7, number)) / side
    size = random.lognormal(0, 0.5, number)
    distance = np.stack([np.hypot(y - cy[k], x - cx[k]) / size[k] for k in range(number)]).astype(np.float32)
    if number == 1:
        return np.full_like(distance, LIMIT)
    first, second = np.partition(distance, 1, axis=0)[:2]
    other = np.where(distance == first, second, first)
    return np.clip(_SHARPNESS * side * (other - distance), -LIMIT, LIMIT).astype(np.float32)


def predicted(
    tensors: dict[str, Tensor],
    space: LabelSpace,
    size_hw: tuple[int, int],
    image_hw: tuple[int, int],
    max_depth_m: float,
) -> Prediction:
    """Fuse them for an image of `image_hw` that fills the network's input of `size_hw`."""
    grid = OutputGrid(*image_hw, size_hw[0] / image_hw[0], size_hw[1] / image_hw[1])
    config = EfficientDPSConfig(max_depth_m=max_depth_m).for_classes(space)
    return fuse(tensors, config, space, FusionThresholds(), grid)


def wide_camera(image_hw: tuple[int, int]) -> Intrinsics:
    """A camera of about 90 degrees, for images that come without one."""
    height, width = image_hw
    return Intrinsics(width / 2, width / 2, (width - 1) / 2, (height - 1) / 2, height, width)


def _classes(space: LabelSpace, number: int) -> np.ndarray:
    """Class of each segment: every fourth one stuff, each stuff class once as long as there are any left."""
    stuff, things = np.flatnonzero(~space.is_thing), np.flatnonzero(space.is_thing)
    if number > len(stuff) + MAX_INSTANCE_ID * len(things):
        raise ConfigError(f"{number} segments: label space '{space.name}' has ids for fewer")
    chosen = min(len(stuff), number // _STUFF_EVERY + 1)
    rest = things[np.arange(number - chosen) % len(things)] if len(things) else stuff[: number - chosen]
    return np.concatenate([stuff[:chosen], rest])

"""What a Real-Time Panoptic network is made of, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, nearest
from .config import BACKBONES
from .layers import NORMS

STRIDES = {3: 8, 4: 16, 5: 32, 6: 64, 7: 128}
"""Stride of each pyramid level."""


@dataclass(frozen=True)
class RealtimePanopticConfig:
    """Sizes and switches of Real-Time Panoptic (paper, Section 4 and Table 3).

    Attributes:
        backbone: one of resnet18, resnet50, swin_t, swin_b.
        channels: width of the pyramid and the localisation tower.
        semantic_channels: width of the semantic tower.
        num_classes: size of the label space.
        thing_classes: class ids of the things, which have boxes.
        norm: normalisation in the towers: "group" (paper), "batch" (folds into the convolutions) or "none".
        two_towers: a tower of its own for semantics; False reads everything from one.
        levelness: predict which level's box counts at each pixel; False takes the best of all.
        depth: a dense depth map from the semantic features (ours; the paper has no depth).
        max_depth_m: farthest depth of that map, metres.
    """

    backbone: str = "resnet50"
    channels: int = 256
    semantic_channels: int = 128
    num_classes: int = 19
    thing_classes: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)
    norm: str = "group"
    two_towers: bool = True
    levelness: bool = True
    depth: bool = False
    max_depth_m: float = 88.0

    def __post_init__(self) -> None:
        for name, value, allowed in (("backbone", self.backbone, BACKBONES), ("norm", self.norm, NORMS)):
            if value not in allowed:
                raise ConfigError(f"{name} '{value}' is not one of {', '.join(allowed)}{nearest(value, allowed)}")

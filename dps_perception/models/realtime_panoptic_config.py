"""What a Real-Time Panoptic network is made of, and the named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from .config import ThingsConfig

STRIDES = {3: 8, 4: 16, 5: 32, 6: 64, 7: 128}
"""Stride of each pyramid level."""


@dataclass(frozen=True)
class RealtimePanopticConfig(ThingsConfig):
    """Sizes and switches of Real-Time Panoptic (paper, Section 4 and Table 3).

    `channels` is the width of the pyramid and the localisation tower; the paper's norm is "group".

    Attributes:
        semantic_channels: width of the semantic tower.
        two_towers: a tower of its own for semantics; False reads everything from one.
        levelness: predict which level's box counts at each pixel; False takes the best of all.
        depth: a dense depth map from the semantic features (ours; the paper has no depth).
    """

    family: ClassVar[str] = "realtime_panoptic"
    LIMITS: ClassVar[Mapping[str, int]] = {**ThingsConfig.LIMITS, "semantic_channels": 4096}
    WIDTHS: ClassVar[tuple[str, ...]] = (*ThingsConfig.WIDTHS, "semantic_channels")

    semantic_channels: int = 128
    two_towers: bool = True
    levelness: bool = True
    depth: bool = False

    @property
    def has_depth(self) -> bool:
        return self.depth

    def without_depth(self) -> RealtimePanopticConfig:
        return replace(self, depth=False)


PRESETS: dict[str, RealtimePanopticConfig] = {
    "realtime_panoptic_r50": RealtimePanopticConfig(),
    # For robots and CPUs: norms that fold into the convolutions, and depth, which the node's users ask for.
    "realtime_panoptic_r18": RealtimePanopticConfig(
        backbone="resnet18", channels=128, semantic_channels=96, norm="batch", depth=True
    ),
}

"""What a PanopticDepth network is made of, and the named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from .config import ThingsConfig

DENSE, INSTANCE = "dense", "instance"
DEPTHS = ("", DENSE, INSTANCE)
NORMALISATIONS = ("", "T1", "T2")


@dataclass(frozen=True)
class PanopticDepthConfig(ThingsConfig):
    """Sizes and switches of PanopticDepth (paper, Section 3; variants A to F are those of Table 3).

    `channels` is the width of the pyramid and all heads, `max_depth_m` d_max of Eq. 4 and 5; the paper's norm is
    "group".

    Attributes:
        deformable: modulated deformable convolutions in the position head and the encoders (paper); False takes plain
            ones, for runtimes without.
        depth: "instance" (variants B to F), "dense" (variant A: one map for the whole image), or "" for none.
        depth_normalisation: "T2" (Eq. 5; variants D, F), "T1" (Eq. 4; C, E) or "" (Eq. 3 alone; B).
        depth_channels: width of the depth embedding for instances.
        kernel_fusion: adaptive kernel fusion (Eq. 1).
        similarity: least cosine between kernels of one class that become one (0.97 on Cityscapes, 0.9 on COCO).
    """

    family: ClassVar[str] = "panopticdepth"
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **ThingsConfig.CHOICES, "depth": DEPTHS, "depth_normalisation": NORMALISATIONS,
    }  # fmt: skip
    LIMITS: ClassVar[Mapping[str, int]] = {**ThingsConfig.LIMITS, "depth_channels": 1024, "similarity": 1}

    deformable: bool = True
    depth: str = INSTANCE
    depth_normalisation: str = "T2"
    depth_channels: int = 16
    kernel_fusion: bool = True
    similarity: float = 0.97

    @property
    def has_depth(self) -> bool:
        return bool(self.depth)

    def without_depth(self) -> PanopticDepthConfig:
        return replace(self, depth="")


PRESETS: dict[str, PanopticDepthConfig] = {
    "panopticdepth_r50": PanopticDepthConfig(),
    # For robots and CPUs: nothing that ONNX runtimes lack, and norms that fold into the convolutions.
    "panopticdepth_r18": PanopticDepthConfig(backbone="resnet18", channels=96, norm="batch", deformable=False),
}

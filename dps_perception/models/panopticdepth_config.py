"""What a PanopticDepth network is made of, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, nearest
from .config import BACKBONES
from .layers import NORMS

DENSE, INSTANCE = "dense", "instance"
DEPTHS = ("", DENSE, INSTANCE)
NORMALISATIONS = ("", "T1", "T2")


@dataclass(frozen=True)
class PanopticDepthConfig:
    """Sizes and switches of PanopticDepth (paper, Section 3; variants A to F are those of Table 3).

    Attributes:
        backbone: one of resnet18, resnet50, swin_t, swin_b.
        channels: width of the pyramid and all heads.
        num_classes: size of the label space.
        thing_classes: class ids of the things, which have centres.
        norm: normalisation in the heads: "group" (paper), "batch" (folds into the convolutions) or "none".
        deformable: modulated deformable convolutions in the position head and the encoders (paper); False takes plain
            ones, for runtimes without.
        depth: "instance" (variants B to F), "dense" (variant A: one map for the whole image), or "" for none.
        depth_normalisation: "T2" (Eq. 5; variants D, F), "T1" (Eq. 4; C, E) or "" (Eq. 3 alone; B).
        depth_channels: width of the depth embedding; 1 where it is dense.
        kernel_fusion: adaptive kernel fusion (Eq. 1).
        similarity: least cosine between kernels of one class that become one (0.97 on Cityscapes, 0.9 on COCO).
        max_depth_m: d_max of Eq. 4 and 5, metres.
    """

    backbone: str = "resnet50"
    channels: int = 256
    num_classes: int = 19
    thing_classes: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)
    norm: str = "group"
    deformable: bool = True
    depth: str = INSTANCE
    depth_normalisation: str = "T2"
    depth_channels: int = 16
    kernel_fusion: bool = True
    similarity: float = 0.97
    max_depth_m: float = 88.0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("backbone", self.backbone, BACKBONES),
            ("norm", self.norm, NORMS),
            ("depth", self.depth, DEPTHS),
            ("depth_normalisation", self.depth_normalisation, NORMALISATIONS),
        ):
            if value not in allowed:
                valid = ", ".join(choice or "''" for choice in allowed)
                raise ConfigError(f"{name} '{value}' is not one of {valid}{nearest(value, allowed)}")

"""What an EfficientDPS network is made of, and the named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import ConfigError, nearest

BACKBONES = ("resnet18", "resnet50", "swin_t", "swin_b")
NORMS = ("none", "batch")
LIMITS = {"channels": 4096, "num_classes": 255, "num_queries": 10_000, "num_groups": 1000, "max_depth_m": 10_000}
"""A damaged or hostile file must not ask for all memory; panoptic ids hold 255 classes."""


@dataclass(frozen=True)
class EfficientDPSConfig:
    """Sizes and switches of EfficientDPS (paper, Section III).

    Attributes:
        backbone: one of resnet18, resnet50, swin_t, swin_b.
        channels: width C of neck and heads (the paper's C, Cs and Cd).
        num_classes: size of the label space.
        num_queries: N, queries in a group.
        num_groups: G, groups of query activation maps held (GQR, Table IV); inference keeps the first.
        norm: normalisation in neck and heads: "none" (paper) or "batch", which from-scratch training needs and which
            folds into the convolutions at inference.
        depth: False builds the panoptic-only model (Table I).
        query_wise_depth: QDE of Table V; False gives one depth map for the whole image.
        task_decoupled: TDN of Table V; False reads the depth queries from the semantic query map.
        backup_depth: a global depth query that serves pixels no kept query covers (not in the paper).
        auxiliary_semantic: a training-only dense classifier on the semantic query map (not in the paper).
        max_depth_m: D_max of Eq. 3, metres.
    """

    backbone: str = "resnet50"
    channels: int = 256
    num_classes: int = 19
    num_queries: int = 100
    num_groups: int = 8
    norm: str = "none"
    depth: bool = True
    query_wise_depth: bool = True
    task_decoupled: bool = True
    backup_depth: bool = False
    auxiliary_semantic: bool = False
    max_depth_m: float = 88.0

    def __post_init__(self) -> None:
        for name, value, allowed in (("backbone", self.backbone, BACKBONES), ("norm", self.norm, NORMS)):
            if value not in allowed:
                raise ConfigError(f"{name} '{value}' is not one of {', '.join(allowed)}{nearest(value, allowed)}")
        for name, most in LIMITS.items():
            if not 0 < getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive, and at most {most}")
            if name != "max_depth_m" and not isinstance(getattr(self, name), int):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be a whole number")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EfficientDPSConfig:
        valid = [f.name for f in fields(cls)]
        for key in data:
            if key not in valid:
                raise ConfigError(f"unknown model setting '{key}'{nearest(key, valid)} Valid: {', '.join(valid)}")
        return cls(**data)


PRESETS: dict[str, EfficientDPSConfig] = {
    "efficientdps_r50": EfficientDPSConfig(),
    "efficientdps_swin_t": EfficientDPSConfig(backbone="swin_t"),
    "efficientdps_swin_b": EfficientDPSConfig(backbone="swin_b"),
    # For robots and CPUs: trained from scratch, hence the norm; the two options cost next to nothing.
    "efficientdps_r18": EfficientDPSConfig(
        backbone="resnet18", channels=128, norm="batch", backup_depth=True, auxiliary_semantic=True
    ),
}


def preset(name: str, **changes: Any) -> EfficientDPSConfig:
    """The named preset with some settings changed.

    Raises:
        ConfigError: no such preset or setting.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'{nearest(name, PRESETS)} Valid: {', '.join(PRESETS)}")
    try:
        return replace(PRESETS[name], **changes)
    except TypeError as error:
        raise ConfigError(f"preset '{name}': {error}") from error

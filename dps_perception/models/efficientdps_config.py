"""What an EfficientDPS network is made of, and the named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from .config import NetworkConfig


@dataclass(frozen=True)
class EfficientDPSConfig(NetworkConfig):
    """Sizes and switches of EfficientDPS (paper, Section III).

    `channels` is the width C of neck and heads (the paper's C, Cs and Cd), `max_depth_m` D_max of Eq. 3. From-scratch
    training needs the norm "batch", which the paper does without.

    Attributes:
        num_queries: N, queries in a group.
        num_groups: G, groups of query activation maps held (GQR, Table IV); inference keeps the first.
        depth: False builds the panoptic-only model (Table I).
        query_wise_depth: QDE of Table V; False gives one depth map for the whole image.
        task_decoupled: TDN of Table V; False reads the depth queries from the semantic query map.
        backup_depth: a global depth query that serves pixels no kept query covers (not in the paper).
        auxiliary_semantic: a training-only dense classifier on the semantic query map (not in the paper).
    """

    family: ClassVar[str] = "efficientdps"
    LIMITS: ClassVar[Mapping[str, int]] = {**NetworkConfig.LIMITS, "num_queries": 10_000, "num_groups": 1000}

    num_queries: int = 100
    num_groups: int = 8
    norm: str = "none"
    depth: bool = True
    query_wise_depth: bool = True
    task_decoupled: bool = True
    backup_depth: bool = False
    auxiliary_semantic: bool = False

    @property
    def has_depth(self) -> bool:
        return self.depth

    def without_depth(self) -> EfficientDPSConfig:
        return replace(self, depth=False, backup_depth=False)

    def for_inference(self) -> EfficientDPSConfig:
        return replace(self, num_groups=1, auxiliary_semantic=False)


PRESETS: dict[str, EfficientDPSConfig] = {
    "efficientdps_r50": EfficientDPSConfig(),
    "efficientdps_swin_t": EfficientDPSConfig(backbone="swin_t"),
    "efficientdps_swin_b": EfficientDPSConfig(backbone="swin_b"),
    # For robots and CPUs: trained from scratch, hence the norm; the two options cost next to nothing.
    "efficientdps_r18": EfficientDPSConfig(
        backbone="resnet18", channels=128, norm="batch", backup_depth=True, auxiliary_semantic=True
    ),
}

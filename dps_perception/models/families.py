"""The families of networks: what a config of each is built into, and what its tensors become.

Everything outside this room asks here by a config's `family`; a new family is a new row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError, nearest
from ..labels import LabelSpace
from ..types import OutputGrid, Prediction
from . import (
    efficientdps_config,
    efficientdps_fusion,
    panopticdepth_config,
    panopticdepth_fusion,
    realtime_panoptic_config,
    realtime_panoptic_fusion,
)
from .config import NetworkConfig
from .efficientdps import EfficientDPS
from .network import Network
from .panopticdepth import PanopticDepth
from .realtime_panoptic import RealtimePanoptic
from .segments import FusionThresholds


class Fuse(Protocol):
    """Named tensors of one image (batch size 1) -> a prediction on the output grid.

    `depth_scale` is the factor on the depth for a camera whose focal length differs from the training camera's.
    """

    def __call__(
        self,
        tensors: Mapping[str, Tensor],
        config: Any,
        label_space: LabelSpace,
        thresholds: FusionThresholds,
        grid: OutputGrid,
        depth_scale: float = 1.0,
    ) -> Prediction: ...


@dataclass(frozen=True)
class Family:
    """A published system.

    Attributes:
        title: as the paper calls it.
        network: config -> network.
        fuse: see `Fuse`.
        presets: by name, the paper's first.
        class_parts: beginnings of the names of parameters that tell classes apart.
    """

    title: str
    network: Callable[[Any], Network]
    fuse: Fuse
    presets: Mapping[str, NetworkConfig]
    class_parts: tuple[str, ...]

    @property
    def config(self) -> type[NetworkConfig]:
        """Type of its configs."""
        return type(next(iter(self.presets.values())))


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "efficientdps": Family(
            "EfficientDPS",
            EfficientDPS,
            efficientdps_fusion.fuse,
            efficientdps_config.PRESETS,
            ("class_head.4.", "auxiliary."),
        ),
        "panopticdepth": Family(
            "PanopticDepth", PanopticDepth, panopticdepth_fusion.fuse, panopticdepth_config.PRESETS, ("positions.",)
        ),
        "realtime_panoptic": Family(
            "Real-Time Panoptic",
            RealtimePanoptic,
            realtime_panoptic_fusion.fuse,
            realtime_panoptic_config.PRESETS,
            ("box_classes.", "semantic."),
        ),
    }
)
PRESETS: Mapping[str, NetworkConfig] = MappingProxyType(
    {name: config for family in FAMILIES.values() for name, config in family.presets.items()}
)


def family_of(config: NetworkConfig) -> Family:
    """The family that a config belongs to."""
    return FAMILIES[config.family]


def build(config: NetworkConfig) -> Network:
    """A freshly initialised network."""
    return family_of(config).network(config)


def preset(name: str, **changes: Any) -> NetworkConfig:
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


def warm_up(config: NetworkConfig, label_space: LabelSpace, device: torch.device) -> None:
    """Compile fusion's kernels, or load them from disk, so that the first image need not wait for it.

    The tensors say the same everywhere. Kernels are compiled for kinds of arrays, also where these are empty.
    """
    size = 32
    with torch.device("meta"):
        shapes = build(config.for_inference()).eval()(torch.empty((1, size, size, 3), dtype=torch.uint8))
    tensors = {name: torch.full(tensor.shape, 9.0, device=device) for name, tensor in shapes.items()}
    grid = OutputGrid(size, size, 1.0, 1.0)
    family_of(config).fuse(tensors, config, label_space, FusionThresholds(), grid)

"""What each family learns by: its criterion, the settings of its losses, and what of a view is a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from ..errors import ConfigError
from ..models.config import NetworkConfig
from . import criterion, panopticdepth_criterion, realtime_panoptic_criterion
from .config import TrainConfig
from .targets import Targets


class Criterion(Protocol):
    """Losses of a batch; `lap` is called with "matching" once that is done (for a clock)."""

    lap: Callable[[str], None]

    def __call__(self, outputs: Mapping[str, Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Weighted loss terms by name, of the network's outputs for as many images as there are targets; their sum is
        the objective."""
        ...


@dataclass(frozen=True)
class Objective:
    """How a family is trained.

    Attributes:
        criterion: (config of the network, its losses) -> the objective.
        losses: name of the setting of `TrainConfig` that holds its loss weights.
        most_segments: (config of the network) -> segments of a view that are targets at most, the largest.
        kept: (config of the network, its losses, cells of stride 4) -> float32 numbers of an image that the losses keep
            for the backward pass, roughly.
    """

    criterion: Callable[[Any, Any], Criterion]
    losses: str
    most_segments: Callable[[Any], int]
    kept: Callable[[Any, Any, int], int]


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "efficientdps": Objective(
            criterion.Criterion, "loss", lambda config: int(config.num_queries), criterion.kept_values
        ),
        "panopticdepth": Objective(
            panopticdepth_criterion.PanopticDepthCriterion,
            "panopticdepth_loss",
            lambda config: panopticdepth_criterion.MOST_SEGMENTS,
            panopticdepth_criterion.kept_values,
        ),
        "realtime_panoptic": Objective(
            realtime_panoptic_criterion.RealtimePanopticCriterion,
            "realtime_panoptic_loss",
            lambda config: realtime_panoptic_criterion.MOST_SEGMENTS,
            realtime_panoptic_criterion.kept_values,
        ),
    }
)


def objective_of(config: NetworkConfig) -> Objective:
    """Of the family that a network's config belongs to."""
    return OBJECTIVES[config.family]


def losses_of(run: TrainConfig, config: NetworkConfig) -> Any:
    """The loss weights of a run for its network.

    Raises:
        ConfigError: those of another family were changed, which would go unheeded.
    """
    name = objective_of(config).losses
    for other in (objective.losses for objective in OBJECTIVES.values() if objective.losses != name):
        given = getattr(run, other)
        changed = [f.name for f in fields(given) if getattr(given, f.name) != f.default]
        if changed:
            raise ConfigError(
                f"{other}.{changed[0]} is of another family than preset '{run.model.preset}' ({config.family}), whose "
                f"losses are set by {name}.*"
            )
    return getattr(run, name)

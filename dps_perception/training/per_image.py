"""Objectives whose terms are worked out image by image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..models.layers import full_precision
from .targets import Targets

Config = TypeVar("Config")
Weights = TypeVar("Weights")


class PerImageCriterion(ABC, Generic[Config, Weights]):
    """Losses of a batch: each term is the mean over the images that have it, times its weight.

    `lap` is for a clock and not called: nothing is matched.

    Args:
        config: of the network.
        weights: an attribute for each term.
    """

    def __init__(self, config: Config, weights: Weights) -> None:
        self.config, self.weights = config, weights
        self.lap: Callable[[str], None] = lambda stage: None

    def __call__(self, outputs: Mapping[str, Tensor], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Weighted loss terms by name; their sum is the objective.

        Args:
            outputs: of the network, B images.
            targets: B of them.

        Returns:
            The terms, and "idle", which is zero: it gives every output a gradient, as several processes need.
        """
        found: dict[str, list[Tensor]] = {}
        with full_precision(next(iter(outputs.values())).device):
            for b, target in enumerate(targets):
                own = {name: tensor[b : b + 1].float() for name, tensor in outputs.items()}
                for name, value in self._image(own, target).items():
                    found.setdefault(name, []).append(value)
        idle = torch.stack([tensor.float().sum() * 0 for tensor in outputs.values()]).sum()
        terms = {name: getattr(self.weights, name) * torch.stack(values).mean() for name, values in found.items()}
        return terms | {"idle": idle}

    @abstractmethod
    def _image(self, outputs: Mapping[str, Tensor], target: Targets) -> dict[str, Tensor]:
        """Terms of one image, unweighted, of its float32 outputs (batch size 1), without autocast."""

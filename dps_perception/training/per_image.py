"""Objectives whose terms are worked out image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.layers import full_precision
from .targets import Targets

Terms = Callable[[Mapping[str, Tensor], Targets], dict[str, Tensor]]


def mean_over_images(
    terms: Terms, outputs: Mapping[str, Tensor], targets: Sequence[Targets], weights: Any
) -> dict[str, Tensor]:
    """Weighted loss terms of a batch: each the mean over the images that have it.

    Args:
        terms: float32 named tensors of one image (batch size 1) and its targets -> terms by name, without autocast.
        outputs: of the network, B images.
        targets: B of them.
        weights: an attribute for each term.

    Returns:
        The terms, and "idle", which is zero: it gives every output a gradient, as several processes need.
    """
    found: dict[str, list[Tensor]] = {}
    with full_precision(next(iter(outputs.values())).device):
        for b, target in enumerate(targets):
            own = {name: tensor[b : b + 1].float() for name, tensor in outputs.items()}
            for name, value in terms(own, target).items():
                found.setdefault(name, []).append(value)
    idle = torch.stack([tensor.float().sum() * 0 for tensor in outputs.values()]).sum()
    return {name: getattr(weights, name) * torch.stack(values).mean() for name, values in found.items()} | {
        "idle": idle
    }

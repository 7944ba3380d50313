"""Parameters and multiply-adds, counted without computing anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..errors import ConfigError
from ..models.config import SIZE_MULTIPLE, NetworkConfig
from ..models.families import build, preset


def count(config: NetworkConfig, size_hw: tuple[int, int]) -> dict[str, int]:
    """Parameters and multiply-adds of the inference network for one image of `size_hw`.

    Raises:
        ConfigError: the size is not a multiple of 32.
    """
    if any(n <= 0 or n % SIZE_MULTIPLE for n in size_hw):
        raise ConfigError(f"size {size_hw[0]}x{size_hw[1]}: both must be positive multiples of {SIZE_MULTIPLE}")
    with torch.device("meta"):
        network = build(config.for_inference()).eval()
        image = torch.empty((1, *size_hw, 3), dtype=torch.uint8)
    return {"params": parameters(network), "macs": multiply_adds(network, image)}


def multiply_adds_of(config: NetworkConfig, size_hw: tuple[int, int]) -> int:
    """The multiply-adds of `count`."""
    return count(config, size_hw)["macs"]


def parameters(network: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network: nn.Module, image: torch.Tensor) -> int:
    """Multiply-adds of matrix products, convolutions and attention, by PyTorch's operator counter.

    On the meta device nothing is computed.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() // 2


def count_preset(name: str, size: tuple[int, int], panoptic_only: bool) -> dict[str, Any]:
    """Count a preset and print it; ready for JSON."""
    config = preset(name).without_depth() if panoptic_only else preset(name)
    counted = count(config, size)
    what = f"{name}{' without depth' if panoptic_only else ''} at {size[0]}x{size[1]}"
    print(f"{what}: {counted['params'] / 1e6:.2f} M parameters, {counted['macs'] / 1e9:.1f} G multiply-adds")
    return {"preset": name, "size": list(size), "panoptic_only": panoptic_only, **counted}

"""An estimate of the memory that training needs, before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ..evaluation.scores import text_table
from ..models.config import NetworkConfig
from ..models.families import build
from .objectives import objective_of

_GIB = 1024**3


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device.

    Attributes:
        weights: parameters and buffers, with those of the averaged network.
        gradients: of the parameters that learn.
        optimizer: AdamW's two moments.
        activations: what the forward pass keeps for the backward pass.
        losses: what the losses keep, and the gradients of the outputs.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    losses: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.losses

    def table(self, available: int | None) -> str:
        """For the terminal; with a warning where it is more than there is."""
        rows = [[name, f"{size / _GIB:.2f} GiB"] for name, size in [*vars(self).items(), ("total", self.total)]]
        has = "unknown" if available is None else f"{available / _GIB:.2f} GiB"
        text = text_table(["estimated memory", "size"], [*rows, ["available", has]])
        if available is not None and self.total > available:
            text += (
                "\nwarning: this is more than there is. Lower optimizer.batch_size (and raise optimizer.accumulate), "
                "data.input_size, or, of EfficientDPS, num_groups in model.changes or loss.points"
            )
        return text


def estimate(
    config: NetworkConfig,
    weights: Any,
    batch_size: int,
    input_size: tuple[int, int],
    *,
    half: bool,
    averaged: bool,
) -> MemoryEstimate:
    """Run the forward pass without memory or arithmetic and count what it keeps for the backward pass.

    What the device's libraries take for themselves (kernels' work space, fragmentation) is not in it.

    Args:
        config: of the network.
        weights: of the losses of its family.
        batch_size: images on each device.
        input_size: (height, width).
        half: mixed precision with bfloat16.
        averaged: EMA weights are kept.
    """
    height, width = input_size
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with FakeTensorMode():
        network = build(config).train()
        images = torch.empty((batch_size, height, width, 3), dtype=torch.uint8)
        with torch.autocast("cpu", torch.bfloat16, enabled=half), saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = network(images)
        parameters = sum(p.untyped_storage().nbytes() for p in network.parameters())
        buffers = sum(b.untyped_storage().nbytes() for b in network.buffers())
        own = {p.untyped_storage()._cdata for p in network.parameters()}
        activations = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
        output_bytes = sum(4 * value.numel() for value in outputs.values())
    cells = (height // 4) * (width // 4)
    losses = output_bytes + 4 * batch_size * objective_of(config).kept(config, weights, cells)
    return MemoryEstimate(
        (parameters + buffers) * (2 if averaged else 1), parameters, 2 * parameters, activations, losses
    )


def available_bytes(device: torch.device) -> int | None:
    """Memory that the device has free; of a CPU what Linux calls available, None elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    table = Path("/proc/meminfo")
    if not table.is_file():
        return None
    rows = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
    return int(rows["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in rows else None

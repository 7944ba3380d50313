"""Eager PyTorch: the reference backend."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from ..errors import ConfigError, ModelLoadError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """Runs a network on one device: batch norms folded, channels last, automatic mixed precision below fp32.

    Raises:
        ConfigError: no such device or precision here.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: str = "auto", precision: str = "auto") -> None:
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.network: nn.Module | None = (
            fold_batch_norms(network.eval()).to(self.device).to(memory_format=torch.channels_last)
        )

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Named tensors of a batch of images (B, H, W, 3) uint8; they stay on the device.

        Raises:
            ModelLoadError: the backend was closed.
        """
        if self.network is None:
            raise ModelLoadError("the torch backend is closed; load the weights again")
        batch = torch.from_numpy(images).to(self.device)
        mixed = self.precision != "fp32"
        with torch.autocast(self.device.type, PRECISIONS[self.precision] if mixed else None, enabled=mixed):
            outputs: dict[str, Tensor] = self.network(batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # so that the caller's clock sees the whole run
        return outputs

    def device_bytes(self) -> int:
        """Device memory that PyTorch holds; 0 on the CPU."""
        return torch.cuda.memory_reserved(self.device) if self.device.type == "cuda" else 0

    def close(self) -> None:
        """Drop the network and hand its memory back."""
        self.network = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def pick_device(device: str) -> torch.device:
    """The torch device of "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: unknown, or no such GPU.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device '{device}' is not one of auto, cpu, cuda, cuda:N") from error
    if picked.type not in ("cpu", "cuda"):
        raise ConfigError(f"device '{device}' is not one of auto, cpu, cuda, cuda:N")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device '{device}': PyTorch sees {torch.cuda.device_count()} GPUs; use device auto or cpu")
    return torch.device("cuda:0") if device == "cuda" else picked


def pick_precision(precision: str, device: torch.device) -> str:
    """ "auto" -> fp16 on a GPU, bf16 on a CPU that multiplies in it, else fp32; anything else is checked.

    Raises:
        ConfigError: unknown precision.
    """
    if precision == "auto":
        if device.type == "cuda":
            return "fp16"
        return "bf16" if _cpu_multiplies_bf16() else "fp32"
    if precision not in PRECISIONS:
        raise ConfigError(f"precision '{precision}' is not one of auto, {', '.join(PRECISIONS)}")
    return precision


def _cpu_multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, where the two stand side by side; in place."""
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return network

"""Devices and precisions by name."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ...errors import ConfigError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        raise ConfigError(
            f"device '{device}': PyTorch sees {torch.cuda.device_count()} GPUs{_why()}; use device auto or cpu"
        )
    return torch.device("cuda:0") if device == "cuda" else picked


def _why() -> str:
    """PyTorch's reason for seeing no GPU: none there, or a driver that is too old."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return f" ({str(error).splitlines()[0].split('. ')[0].rstrip('.')})"
    return ""


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one, so that streams, graphs and memory are its own; nothing to do for the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def no_gpu() -> str:
    """ "" where there is a GPU, otherwise why PyTorch sees none."""
    return "" if torch.cuda.is_available() else f"no usable NVIDIA GPU{_why()}"


def fastest_precision(device: torch.device) -> str:
    """fp16 on a GPU, bf16 on a CPU that multiplies in it, else fp32."""
    if device.type == "cuda":
        return "fp16"
    return "bf16" if cpu_multiplies_bf16() else "fp32"


def pick_precision(precision: str, device: torch.device) -> str:
    """PyTorch's precision: "auto" is `fastest_precision`; anything else is checked.

    Raises:
        ConfigError: unknown precision.
    """
    return choose(precision, fastest_precision(device), tuple(PRECISIONS), "torch")


def choose(precision: str, automatic: str, allowed: tuple[str, ...], backend: str) -> str:
    """`precision`, or `automatic` for "auto".

    Raises:
        ConfigError: not among `allowed`.
    """
    if precision == "auto":
        return automatic
    if precision not in allowed:
        raise ConfigError(f"precision '{precision}' is not one of auto, {', '.join(allowed)} (backend {backend})")
    return precision


def cpu_multiplies_bf16() -> bool:
    """Whether the processor has bf16 dot products."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

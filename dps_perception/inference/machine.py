"""What the numbers were measured on, so that two runs can be told apart."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

from .. import __version__

PACKAGES = ("numpy", "numba", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13-bindings",
            "transformers", "triton")  # fmt: skip


def hardware() -> dict[str, Any]:
    """Processor, GPU, threads and versions; `load` above the number of threads in use: others were busy there too."""
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of this package and of what computes in it, where installed."""
    found = {"dps_perception": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found


def described(machine: Mapping[str, Any]) -> str:
    """In one line."""
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two machines, one line for each; load is named where one of them was busy with others."""
    lines = [
        f"{key}: {old.get(key, 'unknown')} then, {new.get(key, 'unknown')} now"
        for key in [*old, *(k for k in new if k not in old)]
        if key != "load" and old.get(key) != new.get(key)
    ]
    for when, machine in (("then", old), ("now", new)):
        if float(machine.get("load", 0)) > 1.25 * float(machine.get("threads", 1)):
            lines.append(f"load {machine['load']} on {machine['threads']} threads {when}: others were busy there")
    return lines

"""Which TensorRT is there: the full one, or TensorRT-RTX, whose API is the same."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ...errors import BackendError, ConfigError, nearest

MODULES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings"}
"""Runtime -> module, in the order of preference."""
OLDEST = 10
"""Of the full TensorRT: from this major version on networks are strongly typed and take bf16."""
INSTALL = (
    "pip install tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs (RTX cards), "
    "or tensorrt from NVIDIA: apt install python3-libnvinfer (JetPack), pip install tensorrt"
)


@dataclass(frozen=True)
class TensorRT:
    """A TensorRT that can be imported: `module` is it, `name` one of `MODULES`."""

    module: Any
    name: str
    version: str


def find_tensorrt(name: str = "") -> TensorRT:
    """The TensorRT of a name, or the first there is.

    Raises:
        ConfigError: no such name.
        BackendError: not installed; says what to install.
    """
    if name and name not in MODULES:
        raise ConfigError(
            f"mode '{name}' of backend tensorrt is not one of {', '.join(MODULES)}{nearest(name, MODULES)}"
        )
    reasons = []
    for one in [name] if name else MODULES:
        try:
            module = importlib.import_module(MODULES[one])
        except (ImportError, OSError) as error:  # OSError: its libraries are missing
            reasons.append(f"{one}: {error}")
            continue
        version = str(module.__version__)
        if one != "tensorrt" or int(version.split(".")[0]) >= OLDEST:
            return TensorRT(module, one, version)
        reasons.append(f"tensorrt {version} is too old, {OLDEST} or newer is needed")
    raise BackendError(f"no TensorRT ({'; '.join(reasons)}): {INSTALL}")


def capabilities(runtime: TensorRT) -> list[str]:
    """Compute capabilities that engines can be built for ahead of time, such as "8.6"; none for the full TensorRT."""
    enum = getattr(runtime.module, "ComputeCapability", None)
    if runtime.name != "tensorrt_rtx" or enum is None:
        return []
    digits = sorted(int(name[2:]) for name in enum.__members__ if name.startswith("SM"))
    return [f"{number // 10}.{number % 10}" for number in digits]


def own_gpu(runtime: TensorRT, device: int = 0) -> str:
    """What engines for this machine's GPU are built for; "" without a GPU.

    TensorRT-RTX: the compute capability, such as "8.6". The full TensorRT measures kernels while it builds, so its
    engines are for one model of GPU: "8.6 NVIDIA RTX A5000".
    """
    import torch

    if not torch.cuda.is_available():
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    capability = f"{major}.{minor}"
    return capability if capabilities(runtime) else f"{capability} {torch.cuda.get_device_name(device)}"


def unsupported(runtime: TensorRT, gpu: str) -> str:
    """Why this runtime can't build for a GPU; "" where it can."""
    known = capabilities(runtime)
    if not known or gpu in known:
        return ""
    return (
        f"compute capability '{gpu}' is not one that {runtime.name} {runtime.version} builds for: {', '.join(known)}; "
        "other GPUs (Hopper, Jetson) need the full TensorRT"
    )

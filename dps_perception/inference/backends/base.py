"""The interface of all backends, and what a backend's errors have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BackendError

Progress = Callable[[str], None]
"""Called with a line of text while something slow goes on."""


class Backend(Protocol):
    """Runs the network part of a model and knows nothing of panoptic.

    Attributes:
        name: "torch", "onnxruntime", "openvino" or "tensorrt".
        device: where the tensors of `run` lie.
        precision: "fp32", "bf16", "fp16" or "int8".
        max_batch: how many images one run takes; 1 for a file exported for single images.
    """

    name: str
    device: torch.device
    precision: str
    max_batch: int

    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Named tensors of images (B, H, W, 3) uint8, see the family's network; valid until the next `run`.

        Raises:
            BackendError: the backend was closed, or the device is out of memory.
        """
        ...

    def warm_up(self) -> None:
        """Run on a blank image, so that the first real one is not slower than the rest."""
        ...

    def device_bytes(self) -> int:
        """Device memory held, in bytes; 0 on the CPU."""
        ...

    def close(self) -> None:
        """Free network and device memory; closing twice does nothing."""
        ...

    def describe(self) -> dict[str, str]:
        """What runs here, for logs and diagnostics: backend, version, device, precision, mode."""
        ...


MANY_IMAGES = 16
"""`Backend.max_batch` of what takes any number; nothing asks for more."""


def blank(input_size: tuple[int, int]) -> NDArray[np.uint8]:
    """A black image for warming up, (1, H, W, 3)."""
    return np.zeros((1, *input_size, 3), np.uint8)


def closed(name: str) -> BackendError:
    """The error of a backend that is used after `close`."""
    return BackendError(f"the {name} backend is closed; load the model again")


@contextlib.contextmanager
def runtime_errors(name: str, device: torch.device | str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn a runtime's own errors into one line.

    Args:
        name: of the backend.
        device: on which it runs.
        kinds: further exception types of that runtime.

    Raises:
        BackendError: out of memory, or what the runtime says.
    """
    caught: tuple[type[Exception], ...] = (RuntimeError, *kinds)
    try:
        yield
    except caught as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        cure = ""
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
            cure = "; use a smaller input size, precision fp16, device cpu, or end other programs on this device"
        elif "driver" in str(error).lower():
            cure = "; update the NVIDIA driver, or use device cpu"
        raise BackendError(f"backend {name} on {device}: {reason}{cure}") from error

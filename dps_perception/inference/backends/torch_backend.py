"""PyTorch: the reference backend; eager, compiled, or replayed as a CUDA graph."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from ...errors import BackendError, ConfigError
from .base import MANY_IMAGES, blank, closed, runtime_errors
from .devices import PRECISIONS, no_gpu, on_device, pick_device, pick_precision


class TorchBackend:
    """Runs a network on one device: batch norms folded, channels last, automatic mixed precision below fp32.

    Args:
        network: of a family, in evaluation mode; it is changed.
        device, precision: see `Predictor.load`.
        input_size: (height, width), for warming up.
        mode: "eager"; "compile" (`torch.compile`: the first run takes a minute and needs a C++ compiler);
            "cuda_graphs" (one launch for the whole network, GPU only).

    Raises:
        ConfigError: no such device or precision, or a mode that needs a GPU.
        BackendError: what the mode needs is missing, or the device is out of memory.
    """

    name = "torch"

    def __init__(
        self,
        network: nn.Module,
        device: str = "auto",
        precision: str = "auto",
        input_size: tuple[int, int] = (64, 64),
        mode: str = "",
    ) -> None:
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.mode = mode or "eager"
        _require_for(self.mode, self.device)
        self._input_size = input_size
        self.max_batch = 1 if self.mode == "compile" else MANY_IMAGES  # each batch size would be compiled anew
        with runtime_errors(self.name, self.device):
            self.network: nn.Module | None = (
                fold_batch_norms(network.eval()).to(self.device).to(memory_format=torch.channels_last)
            )
        self._call: Callable[..., dict[str, Tensor]] | None = self.network
        if self.mode == "compile":
            self._call = torch.compile(self.network, dynamic=False)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, dict[str, Tensor]]] = {}

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if self.network is None:
            raise closed(self.name)
        with runtime_errors(self.name, self.device), on_device(self.device):
            batch = torch.from_numpy(images).to(self.device)
            outputs = self._replay(batch) if self.mode == "cuda_graphs" else self._forward(batch)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # so that the caller's clock sees the whole run
        return outputs

    def _forward(self, batch: Tensor) -> dict[str, Tensor]:
        assert self._call is not None
        mixed = self.precision != "fp32"
        # A captured graph must hold its own casts, not read a cache that is emptied afterwards.
        cached = self.mode != "cuda_graphs"
        dtype = PRECISIONS[self.precision] if mixed else None
        with torch.autocast(self.device.type, dtype, enabled=mixed, cache_enabled=cached):
            return self._call(batch)

    def _replay(self, batch: Tensor) -> dict[str, Tensor]:
        if len(batch) not in self._graphs:
            self._graphs[len(batch)] = self._capture(batch.clone())
        graph, place, outputs = self._graphs[len(batch)]
        place.copy_(batch)
        graph.replay()
        return outputs

    def _capture(self, place: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, dict[str, Tensor]]:
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):  # libraries choose their kernels and make room before the capture
            for _ in range(3):
                self._forward(place)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Thread local: a model that is captured beside a running one must not forbid that one to allocate memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self._forward(place)
        return graph, place, outputs

    def warm_up(self) -> None:
        """See `Backend.warm_up`."""
        self.run(blank(self._input_size))

    def device_bytes(self) -> int:
        """Device memory that PyTorch holds; 0 on the CPU."""
        return torch.cuda.memory_reserved(self.device) if self.device.type == "cuda" else 0

    def close(self) -> None:
        """Drop the network and hand its memory back."""
        self.network = self._call = None
        self._graphs.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def describe(self) -> dict[str, str]:
        """See `Backend.describe`."""
        about = {"backend": self.name, "version": torch.__version__, "device": str(self.device)}
        return {**about, "precision": self.precision, "mode": self.mode}


def _require_for(mode: str, device: torch.device) -> None:
    if mode == "cuda_graphs" and device.type != "cuda":
        raise ConfigError(f"mode cuda_graphs needs a GPU, the device is {device}: {no_gpu() or 'give device cuda'}")
    wanted = os.environ.get("CXX", "")
    if mode == "compile" and not any(map(shutil.which, [wanted] if wanted else ["g++", "clang++", "c++"])):
        raise BackendError("mode compile of backend torch needs a C++ compiler: apt install g++, or use mode eager")


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, where the two stand side by side; in place."""
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return network

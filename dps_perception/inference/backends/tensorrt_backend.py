"""TensorRT and TensorRT-RTX through one code path. torch owns the stream, inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BackendError, ModelLoadError
from .base import blank, closed, runtime_errors
from .devices import no_gpu, pick_device
from .files import read_engine
from .tensorrt_runtime import TensorRT, own_gpu


class TensorRTBackend:
    """Runs an engine file on a GPU.

    Args:
        engine: a file of `dps_export --engine`, or from the cache.
        runtime: of the version that built it.
        device: "auto", "cuda" or "cuda:N".

    Raises:
        ConfigError: no such GPU.
        BackendError: there is no GPU, or too little memory on it.
        ModelLoadError: the engine is damaged, refused by the runtime, or for another runtime or GPU.
    """

    name = "tensorrt"

    def __init__(self, engine: Path, runtime: TensorRT, device: str = "auto") -> None:
        if problem := no_gpu():
            raise BackendError(f"backend tensorrt: {problem}; use another backend, or build ahead: dps_export --engine")
        self.device = pick_device(device)
        file = read_engine(engine)
        require_fit(engine, file.metadata, runtime, own_gpu(runtime, self.device.index or 0))
        self.precision = str(file.metadata["export"]["precision"])
        size = file.metadata["export"]["size"]
        self._input_size = (int(size[0]), int(size[1]))
        self._runtime = runtime
        trt = runtime.module
        self._dtypes = {
            trt.DataType.FLOAT: torch.float32,
            trt.DataType.HALF: torch.float16,
            trt.DataType.BF16: torch.bfloat16,
        }
        with runtime_errors(self.name, self.device), torch.cuda.device(self.device):
            self._stream = torch.cuda.Stream(self.device)
            self._logger = trt.Logger(trt.Logger.ERROR)
            self._engine: Any = trt.Runtime(self._logger).deserialize_cuda_engine(file.plan)
            if self._engine is None:
                raise ModelLoadError(f"{runtime.name} {runtime.version} refuses {engine}; build it again")
            self._context: Any = self._engine.create_execution_context()
            if self._context is None:
                raise RuntimeError("out of memory for the engine's context")
        self.max_batch = int(self._engine.get_tensor_profile_shape("image", 0)[2][0])
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._outputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]

    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if self._context is None:
            raise closed(self.name)
        with runtime_errors(self.name, self.device), torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            batch = torch.from_numpy(images).to(self.device)
            if not self._context.set_input_shape("image", tuple(batch.shape)):
                raise RuntimeError(f"the engine takes no images of shape {tuple(batch.shape)}")
            self._context.set_tensor_address("image", batch.data_ptr())
            outputs = {}
            for name in self._outputs:
                shape = tuple(self._context.get_tensor_shape(name))
                dtype = self._dtypes[self._engine.get_tensor_dtype(name)]
                outputs[name] = torch.empty(shape, dtype=dtype, device=self.device)
                self._context.set_tensor_address(name, outputs[name].data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise RuntimeError("the engine could not be started")
            self._stream.synchronize()  # before another stream reads the outputs, and for the caller's clock
        return outputs

    def warm_up(self) -> None:
        """See `Backend.warm_up`."""
        self.run(blank(self._input_size))

    def device_bytes(self) -> int:
        """Memory of torch, that of the outputs included, and the engine's scratch; its weights are not known."""
        scratch = int(self._engine.device_memory_size_v2) if self._engine is not None else 0
        return torch.cuda.memory_reserved(self.device) + scratch

    def close(self) -> None:
        """Free context and engine, in this order."""
        self._context = None
        self._engine = None
        torch.cuda.empty_cache()

    def describe(self) -> dict[str, str]:
        """See `Backend.describe`."""
        about = {"backend": self.name, "version": self._runtime.version, "device": str(self.device)}
        return {**about, "precision": self.precision, "mode": self._runtime.name}


def require_fit(path: Path, metadata: dict[str, Any], runtime: TensorRT, gpu: str) -> None:
    """Check that an engine was built for this runtime and GPU.

    Raises:
        ModelLoadError: naming both sides.
    """
    key = metadata.get("key", {})
    built = (key.get("runtime"), key.get("version"), key.get("gpu"))
    if built != (runtime.name, runtime.version, gpu):
        raise ModelLoadError(
            f"{path} was built by {built[0]} {built[1]} for GPU {built[2]}; here is {runtime.name} "
            f"{runtime.version} with GPU {gpu or '(none)'}. Build it again: dps_export --engine"
        )

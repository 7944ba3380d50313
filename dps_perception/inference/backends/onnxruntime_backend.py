"""ONNX Runtime: CPU, CUDA and TensorRT execution providers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BackendError
from .base import MANY_IMAGES, blank, closed, runtime_errors
from .devices import on_device, pick_device

PROVIDERS = {"standard": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


class OnnxRuntimeBackend:
    """Runs an ONNX file; on a GPU the tensors never leave it (I/O binding to memory and stream of torch).

    Args:
        onnx: a file of `dps_export`.
        device: see `Predictor.load`.
        precision: that of the file.
        input_size: (height, width) of the file.
        mode: on a GPU, "standard" (CUDA provider) or "tensorrt" (TensorRT provider).

    Raises:
        ConfigError: no such device.
        BackendError: this onnxruntime lacks the provider, or can't read the file.
    """

    name = "onnxruntime"

    def __init__(self, onnx: Path, device: str, precision: str, input_size: tuple[int, int], mode: str = "") -> None:
        import onnxruntime as ort

        self.mode = mode or "standard"
        self.device, self.precision, self._input_size = pick_device(device), precision, input_size
        self._version = ort.__version__
        self._errors = _errors()
        providers = self._providers(ort.get_available_providers(), asked_for_gpu=device.startswith("cuda"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        with runtime_errors(self.name, self.device, *self._errors):
            self._session: Any = ort.InferenceSession(str(onnx), options, providers=providers)
        self.max_batch = 1 if self._session.get_inputs()[0].shape[0] == 1 else MANY_IMAGES
        self.provider: str = self._session.get_providers()[0]
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if self.provider != wanted:  # onnxruntime itself goes on with the CPU
            raise BackendError(
                f"onnxruntime could not start its {wanted}; install the CUDA version that onnxruntime-gpu "
                f"{self._version} is made for, or use device cpu"
            )
        self._outputs = [(o.name, o.shape, DTYPES[o.type]) for o in self._session.get_outputs()]

    def _providers(self, available: list[str], asked_for_gpu: bool) -> list[Any]:
        gpu = PROVIDERS[self.mode]
        if self.device.type == "cuda" and gpu in available:
            self._stream = torch.cuda.Stream(self.device)
            options = {"device_id": str(self.device.index or 0), "user_compute_stream": str(self._stream.cuda_stream)}
            return [(gpu, options), "CPUExecutionProvider"]
        if asked_for_gpu or self.mode == "tensorrt":
            raise BackendError(
                f"this onnxruntime ({self._version}) has no {gpu} or there is no GPU, it has {', '.join(available)}: "
                "pip install onnxruntime-gpu in place of onnxruntime, or use device cpu"
            )
        self.device = torch.device("cpu")  # device auto
        return ["CPUExecutionProvider"]

    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if self._session is None:
            raise closed(self.name)
        with runtime_errors(self.name, self.device, *self._errors):
            if self.device.type == "cuda":
                return self._run_bound(images)
            arrays = self._session.run(None, {"image": images})
        return {name: torch.from_numpy(array) for (name, _, _), array in zip(self._outputs, arrays, strict=True)}

    def _run_bound(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        index = self.device.index or 0
        binding = self._session.io_binding()
        with on_device(self.device), torch.cuda.stream(self._stream):  # the one that the session works on
            batch = torch.from_numpy(images).to(self.device)
            binding.bind_input("image", "cuda", index, np.uint8, tuple(batch.shape), batch.data_ptr())
            outputs = {}
            for name, shape, dtype in self._outputs:
                outputs[name] = torch.empty((len(batch), *shape[1:]), dtype=dtype, device=self.device)
                kind = np.float16 if dtype == torch.float16 else np.float32
                binding.bind_output(name, "cuda", index, kind, tuple(outputs[name].shape), outputs[name].data_ptr())
            self._session.run_with_iobinding(binding)
            self._stream.synchronize()  # before another stream reads the outputs, and for the caller's clock
        return outputs

    def warm_up(self) -> None:
        """See `Backend.warm_up`."""
        self.run(blank(self._input_size))

    def device_bytes(self) -> int:
        """Memory of torch, that of the outputs included; what onnxruntime holds itself is not known."""
        return torch.cuda.memory_reserved(self.device) if self.device.type == "cuda" else 0

    def close(self) -> None:
        """Drop the session."""
        self._session = None

    def describe(self) -> dict[str, str]:
        """See `Backend.describe`."""
        about = {"backend": self.name, "version": self._version, "device": str(self.device)}
        return {**about, "precision": self.precision, "mode": self.provider}


def _errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = [getattr(state, name) for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf")]
    kinds += [getattr(state, name) for name in ("NoSuchFile", "NotImplemented", "RuntimeException", "EPFail")]
    return tuple(kinds)

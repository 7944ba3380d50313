"""OpenVINO on the CPU: fp32, or bf16 where the processor multiplies in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import MANY_IMAGES, blank, closed, runtime_errors

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Precision -> arithmetic of what is not quantised."""


class OpenVinoBackend:
    """Runs an ONNX file for the lowest latency of one image; inputs and outputs are shared, not copied.

    Args:
        onnx: an fp32 or int8 file of `dps_export`.
        precision: "fp32", "bf16" (of an fp32 file) or "int8".
        input_size: (height, width) of the file.

    Raises:
        BackendError: OpenVINO can't read the file.
    """

    name = "openvino"

    def __init__(self, onnx: Path, precision: str, input_size: tuple[int, int]) -> None:
        import openvino as ov

        self.device, self.precision, self._input_size = torch.device("cpu"), precision, input_size
        self._version = str(ov.__version__)
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        with runtime_errors(self.name, self.device):
            compiled = ov.Core().compile_model(str(onnx), "CPU", config)
        self.max_batch = MANY_IMAGES if compiled.input(0).partial_shape[0].is_dynamic else 1
        self._names = [output.any_name for output in compiled.outputs]
        self._request: Any = compiled.create_infer_request()

    def run(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if self._request is None:
            raise closed(self.name)
        with runtime_errors(self.name, self.device):
            result = self._request.infer({"image": images}, share_inputs=True, share_outputs=True)
        return {name: torch.from_numpy(result[index]) for index, name in enumerate(self._names)}

    def warm_up(self) -> None:
        """See `Backend.warm_up`."""
        self.run(blank(self._input_size))

    def device_bytes(self) -> int:
        """0: it runs on the CPU."""
        return 0

    def close(self) -> None:
        """Drop the compiled network."""
        self._request = None

    def describe(self) -> dict[str, str]:
        """See `Backend.describe`."""
        about = {"backend": self.name, "version": self._version, "device": "cpu"}
        return {**about, "precision": self.precision, "mode": "latency"}

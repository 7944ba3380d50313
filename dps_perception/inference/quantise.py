"""INT8: static quantisation of the convolutions by ONNX Runtime, with ranges measured on images of the user's world."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.resize import letterbox
from ..errors import BackendError, ModelLoadError
from ..types import Sample
from .backends.files import onnx_metadata
from .backends.model_file import WEIGHTS, open_model
from .backends.prepare import onnx_for
from .backends.registry import availability
from .comparison import REFERENCE, Candidate, Row, compare
from .export import quiet, save_onnx
from .sources import open_source

COMPARED = 8
"""Images on which the result is compared; they come after those of the calibration."""


def quantise(
    weights: str, output: Path, size: tuple[int, int] | None, dataset: str, split: str, images: int
) -> list[Row]:
    """Write an INT8 ONNX file, and compare it with fp32: its speed, agreement, and DPQ where there are labels.

    Only convolutions are quantised: class and mask kernels are small, and their errors would reach every pixel.

    Args:
        weights: a weights file, see `Predictor.load`.
        output: ONNX file.
        size: network input (height, width); None takes the weights' own.
        dataset, split: see `open_source`.
        images: to measure the ranges on.

    Returns:
        Rows of fp32 and INT8 in each backend that has both; none where the data has no images left to compare on.

    Raises:
        ModelLoadError: `weights` is exported already.
        BackendError: onnx or onnxruntime is missing.
        DatasetError: no such data.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise BackendError(f"quantising needs onnx and onnxruntime ({error}): pip install onnx onnxruntime") from error
    model = open_model(weights)
    if model.kind != WEIGHTS:
        raise ModelLoadError(f"{model.path} is exported already; give the .safetensors it was made from")
    input_size = model.input_size(size)
    source = open_source(dataset, split=split, limit=images + COMPARED)
    samples = iter(source)
    fp32 = onnx_for(model, input_size, "fp32", None, print)
    reader = _Reader(itertools.islice(samples, images), input_size, min(images, len(source)))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "int8.onnx"
        with quiet():
            quantize_static(
                fp32, raw, reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        proto = onnx.load(raw)
    metadata = onnx_metadata(fp32)
    metadata["export"] = {**metadata["export"], "precision": "int8", "calibration": source.name, "images": reader.read}
    metadata["key"] = {**metadata["key"], "precision": "int8"}
    save_onnx(onnx, proto, metadata, output)
    left = list(samples)
    if not left:
        return []
    able = [name for name in ("onnxruntime", "openvino") if not availability()[name]]
    files = {"fp32": weights, "int8": str(output)}
    wanted = [Candidate(files[precision], name, precision) for name in able for precision in files]
    return compare([Candidate(weights, *REFERENCE), *wanted], left, device="cpu", input_size=input_size)


class _Reader:
    """Feeds images to the calibration, fitted to the network's input as the Predictor does it."""

    def __init__(self, samples: Iterator[Sample], size: tuple[int, int], number: int) -> None:
        self._samples = iter(tqdm(samples, total=number, unit="image", desc="calibration", disable=None))
        self._size = size
        self.read = 0

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        sample = next(self._samples, None)
        if sample is None:
            return None
        self.read += 1
        return {"image": letterbox(sample.image, *self._size)[0][None]}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.get_next, None)

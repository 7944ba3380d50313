"""Weights -> one ONNX file that alone can serve the Predictor: the camera's image in, named tensors out."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import __version__
from ..data.layout import read_image
from ..data.resize import letterbox
from ..errors import BackendError, ConfigError
from ..files import replacing
from ..models.config import SIZE_MULTIPLE
from ..models.weights import METADATA_KEY, ModelInfo, metadata_of
from .backends.devices import PRECISIONS, choose
from .backends.model_file import WEIGHTS, ModelFile
from .backends.prepare import onnx_key
from .backends.torch_backend import fold_batch_norms

OPSET = 20
OPSET_BF16 = 22
"""The first in which convolutions and pooling take bf16."""


@dataclass(frozen=True)
class ExportOptions:
    """What an export is for.

    Attributes:
        size: network input (height, width), multiples of 32.
        precision: "fp32", "fp16" or "bf16": type of weights, computation and outputs.
        dynamic_batch: leave the batch size open; otherwise it is one.
    """

    size: tuple[int, int]
    precision: str = "fp32"
    dynamic_batch: bool = False

    def __post_init__(self) -> None:
        choose(self.precision, "fp32", tuple(PRECISIONS), "onnx")
        if any(n <= 0 or n % SIZE_MULTIPLE for n in self.size):
            raise ConfigError(f"size {self.size[0]}x{self.size[1]}: both must be multiples of {SIZE_MULTIPLE}")


def export_onnx(network: nn.Module, info: ModelInfo, options: ExportOptions, output: Path) -> None:
    """Export a network; it is folded and converted in place.

    Args:
        network: of a family, in evaluation mode, on the CPU.
        info: goes into the file's metadata.
        options: see there.
        output: ONNX file, written beside and renamed after onnx's checker has passed it.

    Raises:
        BackendError: onnx or onnxscript is missing, or the exported graph is not valid.
    """
    onnx = _require_onnx()
    network = fold_batch_norms(network.eval()).to(PRECISIONS[options.precision])
    # A batch of one would be taken for a constant.
    image = torch.zeros((2 if options.dynamic_batch else 1, *options.size, 3), dtype=torch.uint8)
    with torch.no_grad():
        names = list(network(image))
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network, (image,), dynamo=True, input_names=["image"], output_names=names, verbose=False,
            opset_version=OPSET_BF16 if options.precision == "bf16" else OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},) if options.dynamic_batch else None,
        )  # fmt: skip
    assert program is not None
    proto: Any = program.model_proto
    key = onnx_key(ModelFile(output, WEIGHTS, {}, info), options.size, options.precision)
    about = {
        **metadata_of(info),
        "weights_sha256": info.weights_sha256,
        "export": {
            "size": list(options.size), "precision": options.precision, "dynamic_batch": options.dynamic_batch,
            "outputs": names, "dps_perception": __version__, "torch": torch.__version__,
        },
        "key": key.as_metadata(),
    }  # fmt: skip
    save_onnx(onnx, proto, about, output)


def save_onnx(onnx: Any, proto: Any, metadata: Mapping[str, Any], output: Path) -> None:
    """Put our metadata into a model, check it and write it.

    Raises:
        BackendError: onnx's checker refuses it.
    """
    kept = [(entry.key, entry.value) for entry in proto.metadata_props if entry.key != METADATA_KEY]
    onnx.helper.set_model_props(proto, {**dict(kept), METADATA_KEY: json.dumps(metadata)})
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BackendError(f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}") from error
    with replacing(output) as beside:
        beside.write_bytes(proto.SerializeToString())


def _require_onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BackendError(f"exporting needs onnx and onnxscript ({error}): pip install onnx onnxscript") from error
    return onnx


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's and quantiser's remarks about their own insides from the user."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def differences(expected: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Largest absolute difference of each named tensor, and the same as a share of its largest value."""
    found = {}
    for name, tensor in expected.items():
        a, b = tensor.float().cpu(), seen[name].float().cpu()
        largest = float((a - b).abs().max())
        found[name] = (largest, largest / max(float(a.abs().max()), 1e-12))
    return found


def random_image(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """(1, H, W, 3) of noise."""
    return np.random.default_rng(seed).integers(0, 256, (1, *size, 3), dtype=np.uint8)


def street_image(size: tuple[int, int]) -> NDArray[np.uint8]:
    """(1, H, W, 3): a held-out scene of the street world."""
    from ..data.street import single_image
    from ..data.street.seeds import TEST

    return single_image(TEST[0], *size).image[None]


def photograph(size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """(1, H, W, 3): a motorcycle in a workshop, which comes with scikit-image; None without that package."""
    spec = importlib.util.find_spec("skimage")
    picture = Path(spec.origin).parent / "data" / "motorcycle_left.png" if spec and spec.origin else None
    return None if picture is None or not picture.exists() else letterbox(read_image(picture), *size)[0][None]

"""What `weights` may name: a weights file, an ONNX file or an engine, the latter two made by `dps_export`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import ConfigError, ModelLoadError
from ...models.weights import ModelInfo, find_weights, info_of, read_info
from .files import engine_metadata, onnx_metadata

WEIGHTS, ONNX, ENGINE = "weights", "onnx", "engine"
_READERS = {".onnx": (ONNX, onnx_metadata), ".engine": (ENGINE, engine_metadata)}


@dataclass(frozen=True)
class ModelFile:
    """A model on disk.

    Attributes:
        path: of the file.
        kind: "weights", "onnx" or "engine".
        info: what it says about the network; `weights_sha256` is that of the weights it was made from.
        metadata: of an exported file, all of it; empty for weights.
    """

    path: Path
    kind: str
    info: ModelInfo
    metadata: dict[str, Any]

    @property
    def precision(self) -> str:
        """Arithmetic of an exported file; "" for weights, which run in any."""
        return str(self.metadata.get("export", {}).get("precision", ""))

    def input_size(self, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) the network runs at: `wanted`, else the file's own.

        Raises:
            ConfigError: an exported file has another size than wanted.
        """
        if self.kind == WEIGHTS:
            return wanted or self.info.input_size
        size = self.metadata["export"]["size"]
        own = (int(size[0]), int(size[1]))
        if wanted not in (None, own):
            assert wanted is not None
            raise ConfigError(
                f"{self.path} was exported for input size {own[0]}x{own[1]}, not {wanted[0]}x{wanted[1]}; "
                f"export it again with --size {wanted[0]}x{wanted[1]}, or leave the input size open"
            )
        return own


def open_model(weights: str | Path = "") -> ModelFile:
    """Find and read a model file; "" is the shipped weights.

    Raises:
        ModelLoadError: missing, damaged, or not ours.
    """
    path = find_weights(weights)
    if path.suffix not in _READERS:
        return ModelFile(path, WEIGHTS, read_info(path), {})
    kind, reader = _READERS[path.suffix]
    metadata = reader(path)
    try:
        size, sha256 = metadata["export"]["size"], str(metadata["weights_sha256"])
        if len(size) != 2 or not metadata["export"]["precision"]:
            raise ValueError(f"size {size}")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"{path} has damaged metadata: {error!r}; export it again with dps_export") from error
    return ModelFile(path, kind, replace(info_of(path, metadata), weights_sha256=sha256), metadata)

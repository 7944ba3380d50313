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
class FileKind:
    """What can be known of a model file in a moment.

    Attributes:
        path: of the file.
        kind: "weights", "onnx" or "engine".
        metadata: of an exported file, all of it; empty for weights.
    """

    path: Path
    kind: str
    metadata: dict[str, Any]

    @property
    def precision(self) -> str:
        """Arithmetic of an exported file; "" for weights, which run in any."""
        return str(self.metadata.get("export", {}).get("precision", ""))


@dataclass(frozen=True)
class ModelFile(FileKind):
    """A model on disk; `info` is what it says about the network, with the hash of the weights it was made from."""

    info: ModelInfo

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


def peek(weights: str | Path = "") -> FileKind:
    """Find a model file and see what it is, without reading weights; "" is the shipped weights.

    Raises:
        ModelLoadError: missing, or a damaged or foreign exported file.
    """
    path = find_weights(weights)
    if path.suffix not in _READERS:
        return FileKind(path, WEIGHTS, {})
    kind, reader = _READERS[path.suffix]
    metadata = reader(path)
    try:
        size = metadata["export"]["size"]
        if len(size) != 2 or not metadata["export"]["precision"] or not metadata["weights_sha256"]:
            raise ValueError(f"size {size}")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"{path} has damaged metadata: {error!r}; export it again with dps_export") from error
    return FileKind(path, kind, metadata)


def open_model(weights: str | Path = "") -> ModelFile:
    """Find and read a model file; "" is the shipped weights.

    Raises:
        ModelLoadError: missing, damaged, or not ours.
    """
    file = peek(weights)
    if file.kind == WEIGHTS:
        info = read_info(file.path)
    else:
        info = replace(info_of(file.path, file.metadata), weights_sha256=str(file.metadata["weights_sha256"]))
    return ModelFile(file.path, file.kind, file.metadata, info)

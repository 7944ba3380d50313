"""What a runtime needs before it can run a model: the ONNX file and the engine, from the cache or built into it."""

from __future__ import annotations

from pathlib import Path

import torch

from ...errors import ConfigError
from .base import Progress
from .engine_cache import Key, cache_folder, cached, problem_with, run_build
from .files import engine_metadata, onnx_metadata, read_engine
from .model_file import ENGINE, WEIGHTS, ModelFile
from .tensorrt_build import build_apart
from .tensorrt_runtime import TensorRT

EXPORTER = "onnx"
EXPORT_FORMAT = "1"
"""Counted up when the exported graph changes, so that older files in a cache are made again."""


def onnx_key(model: ModelFile, size: tuple[int, int], precision: str) -> Key:
    """Key of the ONNX file of a weights file."""
    return Key(model.info.weights_sha256, size, precision, EXPORTER, f"{EXPORT_FORMAT}-torch{torch.__version__}")


def onnx_for(
    model: ModelFile, size: tuple[int, int], precision: str, cache: Path | str | None, progress: Progress | None
) -> Path:
    """The ONNX file of a model; a weights file is exported into the cache by another process.

    Raises:
        ConfigError: an exported file has another precision than asked for, or the cache can't be written to.
        BackendError: the export failed.
    """
    if model.kind != WEIGHTS:
        if model.precision != precision:
            raise ConfigError(f"{model.path} was exported as {model.precision}, not {precision}; export it again")
        return model.path
    key = onnx_key(model, size, precision)
    path = cache_folder(cache) / key.file_name(".onnx")

    def build(path: Path) -> None:
        arguments = [str(model.path), "--size", f"{size[0]}x{size[1]}", "--precision", precision]
        what = f"exporting {model.path.name} at {size[0]}x{size[1]} as {precision}"
        arguments += ["--output", str(path), "--no-compare"]
        run_build(what, "dps_perception.inference.export_cli", arguments, progress)

    return cached(path, problem_with(key, onnx_metadata), build, progress)


def engine_for(
    model: ModelFile,
    size: tuple[int, int],
    precision: str,
    runtime: TensorRT,
    gpu: str,
    cache: Path | str | None,
    progress: Progress | None,
) -> Path:
    """The TensorRT engine of a model for a GPU (see `own_gpu`); built into the cache by another process.

    Raises:
        ConfigError: the cache can't be written to.
        BackendError: export or build failed.
    """
    if model.kind == ENGINE:
        return model.path
    key = Key(model.info.weights_sha256, size, precision, runtime.name, runtime.version, gpu)
    path = cache_folder(cache) / key.file_name(".engine")

    def build(path: Path) -> None:
        build_apart(onnx_for(model, size, precision, cache, progress), path, runtime, gpu, progress)

    def readable(path: Path) -> dict[str, object]:
        read_engine(path)  # the whole of it: its hash is checked
        return engine_metadata(path)

    return cached(path, problem_with(key, readable), build, progress)

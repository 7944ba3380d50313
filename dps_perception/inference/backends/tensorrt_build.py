"""ONNX file -> TensorRT engine file, in a process of its own: `python -m ...tensorrt_build ONNX ENGINE`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import cli
from ...errors import BackendError, ConfigError
from .base import Progress
from .engine_cache import Key, run_build
from .files import EngineFile, onnx_metadata, write_engine
from .tensorrt_runtime import TensorRT, capabilities, find_tensorrt, own_gpu, unsupported

MAX_BATCH = 8  # of engines made from files with an open batch size


def build_engine(onnx: Path, output: Path, runtime: TensorRT, gpu: str) -> None:
    """Build an engine and write it with the metadata of its ONNX file.

    Args:
        onnx: a file of `dps_export`; its precision is the engine's (the network is strongly typed).
        output: engine file.
        runtime: that builds and later runs it; an engine fits exactly this version.
        gpu: it is for, see `own_gpu`; the full TensorRT only builds for that of this machine.

    Raises:
        BackendError: the runtime can't parse the file or build the engine; with its own words.
        ConfigError: it can't build for this GPU.
        ModelLoadError: the ONNX file is damaged or not ours.
    """
    metadata = onnx_metadata(onnx)
    trt, words = runtime.module, _words(runtime)
    builder = trt.Builder(words)
    if builder is None:
        raise BackendError(f"{runtime.name} {runtime.version} does not start: {words.last}")
    network = parse_onnx(onnx, builder, runtime, words)
    config = builder.create_builder_config()
    _aim(config, runtime, gpu)
    if (shape := tuple(network.get_input(0).shape))[0] == -1:
        profile = builder.create_optimization_profile()
        profile.set_shape("image", (1, *shape[1:]), (1, *shape[1:]), (MAX_BATCH, *shape[1:]))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(f"{runtime.name} {runtime.version} could not build {onnx.name}: {words.last}")
    export = metadata["export"]
    size = (int(export["size"][0]), int(export["size"][1]))
    sha256 = str(metadata["weights_sha256"])
    key = Key(sha256, size, str(export["precision"]), runtime.name, runtime.version, gpu)
    write_engine(output, EngineFile({**metadata, "key": key.as_metadata()}, bytes(plan)))


def parse_onnx(onnx: Path, builder: Any, runtime: TensorRT, words: Any) -> Any:
    """The strongly typed network of an ONNX file.

    Raises:
        BackendError: it can't be parsed; names the first operator that is to blame.
    """
    flags = runtime.module.NetworkDefinitionCreationFlag
    typed = flags.__members__.get("STRONGLY_TYPED")
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = runtime.module.OnnxParser(network, words)
    if not parser.parse(onnx.read_bytes()):
        error = parser.get_error(0) if parser.num_errors else None
        reason = f"node {error.node()}: {error.desc()}" if error else words.last
        raise BackendError(f"{runtime.name} {runtime.version} can't parse {onnx.name}: {reason}")
    return network


def _aim(config: Any, runtime: TensorRT, gpu: str) -> None:
    if not capabilities(runtime):
        own = own_gpu(runtime)
        if not own or gpu != own:
            raise ConfigError(
                f"{runtime.name} builds for the GPU of this machine only ({own or 'there is none'}), not for '{gpu}'; "
                "build on the target, or use TensorRT-RTX"
            )
        return
    if problem := unsupported(runtime, gpu):
        raise ConfigError(problem)
    config.num_compute_capabilities = 1
    enum = runtime.module.ComputeCapability
    config.set_compute_capability(enum.__members__[f"SM{gpu.replace('.', '')}"], 0)


def _words(runtime: TensorRT) -> Any:
    """A logger that keeps the last error for our own message."""

    class Words(runtime.module.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            runtime.module.ILogger.__init__(self)
            self.last = "it gives no reason"

        def log(self, severity: Any, text: str) -> None:
            if severity <= runtime.module.ILogger.Severity.ERROR:
                self.last = text.strip().splitlines()[0]

    return Words()


def build_apart(onnx: Path, output: Path, runtime: TensorRT, gpu: str, progress: Progress | None = None) -> None:
    """`build_engine` in another process.

    Raises:
        BackendError: it failed.
    """
    what = f"building the {runtime.name} engine of {onnx.name} for GPU {gpu}"
    run_build(what, __name__, [str(onnx), str(output), "--runtime", runtime.name, "--gpu", gpu], progress)


def command(argv: Sequence[str] | None) -> None:
    """Build one engine."""
    parser = argparse.ArgumentParser(prog="tensorrt_build", description=__doc__)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--runtime", default="", help="tensorrt or tensorrt_rtx (default: the first there is)")
    parser.add_argument("--gpu", default="", help="compute capability such as 8.6 (default: this machine's)")
    args = parser.parse_args(argv)
    runtime = find_tensorrt(args.runtime)
    build_engine(args.onnx, args.engine, runtime, args.gpu or own_gpu(runtime))
    sys.stdout.flush()
    sys.stderr.flush()
    if argv is None:
        os._exit(0)  # the runtime's own clean-up can crash where there is no driver


def main() -> int:
    """Entry point of the building process."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""All backends by name: which can run here, and opening one, with what it needs exported and built first."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from pathlib import Path

from ...errors import BackendError, ConfigError, ModelLoadError, nearest
from ...models.weights import load_weights
from .base import Backend, Progress
from .devices import cpu_multiplies_bf16, no_gpu, pick_device
from .model_file import ENGINE, ONNX, WEIGHTS, FileKind, ModelFile
from .prepare import engine_for, onnx_for
from .tensorrt_runtime import INSTALL, TensorRT, find_tensorrt, own_gpu, unsupported
from .tensorrt_runtime import MODULES as TENSORRT_MODULES

BACKENDS = ("torch", "onnxruntime", "openvino", "tensorrt")
AUTO = "auto"
MODES = {
    "torch": ("eager", "compile", "cuda_graphs"),
    "onnxruntime": ("standard", "tensorrt"),
    "openvino": ("latency",),
    "tensorrt": tuple(TENSORRT_MODULES),
}
_RUNS = {"torch": (WEIGHTS,), "onnxruntime": (WEIGHTS, ONNX), "openvino": (WEIGHTS, ONNX)}
_RUNS["tensorrt"] = (WEIGHTS, ONNX, ENGINE)
_LOG = logging.getLogger(__name__)
_PACKAGES = {"onnxruntime": "onnxruntime (or onnxruntime-gpu)", "openvino": "openvino"}


def availability() -> dict[str, str]:
    """For each backend "" where it can run here, otherwise the reason with the package to install."""
    return {name: _missing(name) for name in BACKENDS}


def _missing(name: str) -> str:
    if name == "torch":
        return ""
    if name == "tensorrt":
        if not any(map(importlib.util.find_spec, TENSORRT_MODULES.values())):
            return f"no TensorRT: {INSTALL}"
        if problem := no_gpu():  # and so many megabytes that need not be loaded
            return problem
        try:
            runtime = find_tensorrt()
        except BackendError as error:
            return str(error)
        return unsupported(runtime, own_gpu(runtime))
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        return f"{error}: pip install {_PACKAGES[name]}"
    return ""


def require(name: str) -> None:
    """Check that a backend is known and can run here.

    Raises:
        ConfigError: unknown.
        BackendError: it can't; names the package and the backends that can.
    """
    if name not in BACKENDS:
        valid = (*BACKENDS, AUTO)
        raise ConfigError(f"backend '{name}' is not one of {', '.join(valid)}{nearest(name, valid)}")
    if reason := _missing(name):
        able = ", ".join(other for other, missing in availability().items() if not missing)
        raise BackendError(f"backend {name} is not available: {reason}. Available here: {able}")


def precisions(name: str, model: FileKind, device: str) -> tuple[str, ...]:
    """Precisions in which a backend can run a model on a device, the usual one ("auto") first.

    Raises:
        ConfigError: no such device.
    """
    gpu = pick_device(device).type == "cuda"
    if model.kind == ENGINE or (model.kind == ONNX and (name != "openvino" or model.precision != "fp32")):
        return (model.precision,)
    if name == "torch":
        on_cpu = ("bf16", "fp32", "fp16") if cpu_multiplies_bf16() else ("fp32", "bf16", "fp16")
        return ("fp16", "fp32", "bf16") if gpu else on_cpu
    if name == "openvino":  # without bf16 in the processor it would quietly take fp32
        return ("bf16", "fp32") if cpu_multiplies_bf16() else ("fp32",)
    if name == "onnxruntime":
        return ("fp16", "fp32") if gpu and onnxruntime_has_gpu() else ("fp32", "fp16")
    return ("fp16", "fp32", "bf16")


def onnxruntime_has_gpu() -> bool:
    """Whether the installed onnxruntime is one with CUDA."""
    return "CUDAExecutionProvider" in importlib.import_module("onnxruntime").get_available_providers()


def check(name: str, model: FileKind, device: str, precision: str, mode: str = "") -> None:
    """Check at once what can be checked before anything is loaded.

    Raises:
        ConfigError: an unknown backend, device, precision or mode; the message lists the valid ones.
        BackendError: the backend is not available.
        ModelLoadError: it does not run such files.
    """
    require(name)
    if model.kind not in _RUNS[name]:
        able = ", ".join(other for other, kinds in _RUNS.items() if model.kind in kinds)
        raise ModelLoadError(f"backend {name} can't run {model.path}; give its .safetensors, or use backend {able}")
    if name == "openvino" and device not in (AUTO, "cpu"):
        raise ConfigError(f"device '{device}': backend openvino runs on the CPU; use device auto or cpu")
    if name == "tensorrt" and device == "cpu":
        raise ConfigError(f"device '{device}': backend tensorrt needs a GPU; use device auto or cuda")
    allowed = precisions(name, model, device)
    if precision not in (AUTO, *allowed):
        raise ConfigError(
            f"precision '{precision}': backend {name} runs {model.path.name} here in auto, {', '.join(allowed)}"
        )
    if mode and mode not in MODES[name]:
        raise ConfigError(f"mode '{mode}' of backend {name} is not one of {', '.join(MODES[name])}")


def open_backend(
    name: str,
    model: ModelFile,
    *,
    device: str = "auto",
    precision: str = "auto",
    input_size: tuple[int, int] | None = None,
    mode: str = "",
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Open a backend; it is not warmed up yet.

    Args:
        name: one of `BACKENDS`.
        model: what to run.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" or one of `precisions`.
        input_size: (height, width); None takes the model's own.
        mode: one of the backend's `MODES`; "" is the first (of what is installed).
        cache: folder for exported and built files, see `engine_cache.cache_folder`.
        progress: told what slow builds do.

    Raises:
        ConfigError: an unknown backend, device, precision or mode, or a size that an exported file lacks.
        BackendError: the runtime is missing, out of memory, or can't build what it needs.
        ModelLoadError: the file is damaged, or nothing this backend runs.
    """
    check(name, model, device, precision, mode)
    if precision == AUTO:
        precision = precisions(name, model, device)[0]
    size = model.input_size(input_size)
    if name == "torch":
        from .torch_backend import TorchBackend

        return TorchBackend(load_weights(model.path)[0], device, precision, size, mode)
    if name == "tensorrt":
        return _open_tensorrt(model, size, precision, find_tensorrt(mode), device, cache, progress)
    # OpenVINO computes in bf16 from an fp32 graph.
    onnx = onnx_for(model, size, "fp32" if (name, precision) == ("openvino", "bf16") else precision, cache, progress)
    if name == "openvino":
        from .openvino_backend import OpenVinoBackend

        return OpenVinoBackend(onnx, precision, size)
    from .onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(onnx, device, precision, size, mode)


def _open_tensorrt(
    model: ModelFile,
    size: tuple[int, int],
    precision: str,
    runtime: TensorRT,
    device: str,
    cache: Path | str | None,
    progress: Progress | None,
) -> Backend:
    from .tensorrt_backend import TensorRTBackend

    def engine() -> Path:
        gpu = own_gpu(runtime, pick_device(device).index or 0)
        return engine_for(model, size, precision, runtime, gpu, cache, progress)

    path = engine()
    try:
        return TensorRTBackend(path, runtime, device)
    except ModelLoadError as error:
        if model.kind == ENGINE:
            raise
        (progress or _LOG.info)(f"{error}; it is built again")
        path.unlink(missing_ok=True)
    return TensorRTBackend(engine(), runtime, device)

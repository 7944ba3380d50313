"""The Predictor: an image of any size in, a `Prediction` on that image's pixel grid out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..camera import Intrinsics
from ..data.resize import letterbox
from ..errors import ConfigError, ImageError
from ..models.config import SIZE_MULTIPLE
from ..models.families import family_of, warm_up
from ..models.segments import FusionThresholds
from ..models.weights import ModelInfo
from ..types import OutputGrid, Prediction
from .backends.base import Backend, Progress
from .backends.model_file import open_model
from .backends.registry import AUTO, open_backend


@dataclass(frozen=True)
class Prepared:
    """An image on the network's grid, made by `Predictor.prepare` for that predictor alone.

    Attributes:
        padded: (h, w, 3) uint8 of the network's input size; it may share the image's memory.
        grid: where the image lies on it.
        depth_scale: factor on the depth for the camera's focal length.
        timings_ms: milliseconds of each stage so far; `fuse` hands them to the prediction.
    """

    padded: NDArray[np.uint8]
    grid: OutputGrid
    depth_scale: float
    timings_ms: dict[str, float] = field(default_factory=dict)


class Predictor:
    """Runs one weights file: prepare (letterbox) -> infer (backend) -> fuse.

    The three can be called apart, so that images are prepared on another thread. `infer` and the `fuse` of its tensors
    belong to one thread, which owns the device: the tensors are valid only until the next `infer`, and copying them so
    that both could go on at once (13 MB at 512x1024) would cost more than it brings, because fusion and network want
    the same cores, or the same GPU.

    Attributes:
        model: what the weights file says about itself.
        backend: runs the network.
        input_size: (height, width) of the network's input.
        thresholds: fusion thresholds; may be replaced between two frames.
    """

    def __init__(
        self,
        model: ModelInfo,
        backend: Backend,
        input_size: tuple[int, int],
        thresholds: FusionThresholds | None = None,
    ) -> None:
        _check_size(input_size)
        self.model, self.backend, self.input_size = model, backend, input_size
        self.thresholds = thresholds or FusionThresholds()
        self._fuse = family_of(model.config).fuse

    @classmethod
    def load(
        cls,
        weights: str | Path = "",
        *,
        backend: str = "torch",
        device: str = "auto",
        precision: str = "auto",
        input_size: tuple[int, int] | None = None,
        thresholds: FusionThresholds | None = None,
        mode: str = "",
        cache: Path | str | None = None,
        progress: Progress | None = None,
    ) -> Predictor:
        """Load a model.

        Args:
            weights: path of a weights, ONNX or engine file, name of shipped weights, or "" for the default ones.
            backend: "torch", "onnxruntime", "openvino", "tensorrt", or "auto": measure those that are available and
                keep the fastest whose output agrees with fp32 PyTorch (see `fastest`).
            device: "auto" (a GPU where there is one, else the CPU), "cpu", "cuda" or "cuda:N".
            precision: "auto" (what is fast and safe on the device), "fp32", "bf16" or "fp16".
            input_size: network input (height, width), multiples of 32; None takes what the weights were trained for
                or the file was exported for.
            thresholds: fusion thresholds; None takes the defaults.
            mode: see `backends.registry.open_backend`.
            cache: folder for exported and built files; None takes the user's.
            progress: told what slow builds and measurements do; None logs it.

        Raises:
            ModelLoadError: the weights can't be loaded.
            BackendError: the backend's runtime is missing, or could not build what it runs.
            ConfigError: backend, device, precision, mode or input size is not possible here.
        """
        model = open_model(weights)
        size = model.input_size(input_size)
        _check_size(size)
        if backend == AUTO:
            from .fastest import fastest

            opened = fastest(model, device, precision, size, cache, progress)
        else:
            opened = open_backend(
                backend, model, device=device, precision=precision, input_size=size, mode=mode, cache=cache,
                progress=progress,
            )  # fmt: skip
        return cls(model.info, opened, size, thresholds)

    @property
    def backend_name(self) -> str:
        return self.backend.name

    @property
    def precision(self) -> str:
        return self.backend.precision

    @property
    def device(self) -> str:
        return str(self.backend.device)

    def describe(self) -> dict[str, str]:
        """Model, backend and input size, for logs and diagnostics."""
        height, width = self.input_size
        return {
            "model": self.model.model_id,
            **self.backend.describe(),
            "input": f"{height}x{width}",
            "depth": "estimated" if self.model.config.has_depth else "none",
            "weights_sha256": self.model.weights_sha256,
        }

    def predict(self, rgb: NDArray[np.uint8], intrinsics: Intrinsics | None = None) -> Prediction:
        """Predict one image.

        Args:
            rgb: (H, W, 3) uint8.
            intrinsics: of this image. Depth is scaled by its focal length; None takes the training camera's ratio
                of focal length to width, so depth is then only as right as that guess.

        Raises:
            ImageError: not a non-empty (H, W, 3) uint8 array.
        """
        prepared = self.prepare(rgb, intrinsics)
        return self.fuse(self.infer(prepared), prepared)

    def prepare(self, rgb: NDArray[np.uint8], intrinsics: Intrinsics | None = None) -> Prepared:
        """Bring an image to the network's size; on any thread, arguments and errors as in `predict`."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise ImageError(f"image is {rgb.dtype} with shape {rgb.shape}; expected non-empty (H, W, 3) uint8 RGB")
        started = time.perf_counter()
        padded, scale_y, scale_x = letterbox(rgb, *self.input_size)
        depth_scale = self.input_size[1] / self.model.input_size[1]  # without calibration: the training camera's view
        if intrinsics is not None:
            depth_scale = self.model.depth_scale(intrinsics.fx * scale_x)
        grid = OutputGrid(rgb.shape[0], rgb.shape[1], scale_y, scale_x)
        return Prepared(padded, grid, depth_scale, {"preprocess": _ms_since(started)})

    def infer(self, prepared: Prepared) -> dict[str, Tensor]:
        """Run the network: its raw output, see the `forward` of its network; valid until the next `infer`.

        Raises:
            BackendError: the predictor was closed, or the device is out of memory.
        """
        return self.infer_together([prepared])[0]

    def infer_together(self, prepared: Sequence[Prepared]) -> list[dict[str, Tensor]]:
        """`infer` of several images in one run of the network, at most `backend.max_batch`.

        Each image's "inference" time is that of the whole run, which is what it waited for.

        Raises:
            BackendError: as `infer`.
        """
        started = time.perf_counter()
        images = prepared[0].padded[None] if len(prepared) == 1 else np.stack([each.padded for each in prepared])
        tensors = self.backend.run(images)
        for each in prepared:
            each.timings_ms["inference"] = _ms_since(started)
        return [{name: tensor[i : i + 1] for name, tensor in tensors.items()} for i in range(len(prepared))]

    def fuse(self, tensors: dict[str, Tensor], prepared: Prepared) -> Prediction:
        """Make the prediction of `infer`'s tensors; its arrays stay as they are when the next image is fused."""
        started = time.perf_counter()
        model = self.model
        prediction = self._fuse(
            tensors, model.config, model.label_space, self.thresholds, prepared.grid, prepared.depth_scale
        )
        prediction.timings_ms.update(prepared.timings_ms, fusion=_ms_since(started))
        return replace(prediction, has_depth=model.config.has_depth)

    def warm_up(self) -> None:
        """Run once on a blank image, so that the first real frame is not slower than the rest."""
        self.backend.warm_up()
        warm_up(self.model.config, self.model.label_space, self.backend.device)
        self.predict(np.zeros((*self.input_size, 3), np.uint8))

    def close(self) -> None:
        """Free the network and its device memory."""
        self.backend.close()


def _ms_since(started: float) -> float:
    return 1e3 * (time.perf_counter() - started)


def _check_size(input_size: tuple[int, int]) -> None:
    if any(n <= 0 or n % SIZE_MULTIPLE for n in input_size):
        raise ConfigError(f"input size {input_size[0]}x{input_size[1]}: both must be multiples of {SIZE_MULTIPLE}")

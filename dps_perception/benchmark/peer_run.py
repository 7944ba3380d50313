"""Times of the pair, network by network, in the runtime and precision of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import __version__
from ..errors import BackendError, ConfigError
from ..files import replacing
from ..inference.backends.base import Progress, runtime_errors
from ..inference.backends.devices import PRECISIONS, on_device
from ..inference.backends.engine_cache import cache_folder
from ..inference.backends.openvino_backend import HINTS
from ..inference.export import OPSET, quiet
from .peers import PUBLISHED_SIZES, Peer, PostProcessing, Sizes, depth_anything, mask2former
from .synthetic import Look
from .timing import Effort, Stopwatch, Timing, repeat

PAIR = "Mask2Former Swin-T + Depth Anything V2 Small"
PREPARE, POST = "resize", "post-processing"
RUNTIMES = {"torch": ("fp32", "bf16", "fp16"), "onnxruntime": ("fp32",), "openvino": ("fp32", "bf16")}

Call = Callable[[Tensor], Any]


class Pair:
    """Both networks at one size, timed in one runtime after another.

    Args:
        size_hw: of the input of ours; Depth Anything takes the nearest multiples of 14.
        image: (H, W, 3) uint8.
        look: of the prediction to post-process.
        device: where it runs.
        sizes: of the networks.
    """

    def __init__(
        self, size_hw: tuple[int, int], image: NDArray[np.uint8], look: Look, device: torch.device,
        sizes: Sizes = PUBLISHED_SIZES,
    ) -> None:  # fmt: skip
        self.peers = mask2former(size_hw, sizes), depth_anything(size_hw, sizes)
        self.device, self._image = device, image
        self._post = PostProcessing(*self.peers, (image.shape[0], image.shape[1]), look, device)
        self._folder = cache_folder() / "peers"
        self._models: dict[str, Any] = {}

    def measure(
        self, runtime: str, precision: str, effort: Effort, mode: str = "eager", progress: Progress = print
    ) -> list[Timing]:
        """Rows for resizing, each network, and post-processing.

        Raises:
            ConfigError: they don't run in this runtime and precision here.
            BackendError: a network can't be exported.
        """
        if precision not in RUNTIMES.get(runtime, ()) or (runtime != "torch" and self.device.type != "cpu"):
            raise ConfigError(f"the peers are not run in {runtime} {precision} on {self.device.type}")
        calls = [self._call(peer, runtime, precision, mode, progress) for peer in self.peers]

        def frame(watch: Stopwatch) -> None:
            for peer, call in zip(self.peers, calls, strict=True):
                pixels = watch.run(PREPARE, lambda peer=peer: peer.prepare(self._image))  # type: ignore[misc]
                watch.run(peer.name, lambda call=call, pixels=pixels: call(pixels))  # type: ignore[misc]
            watch.run(POST, self._post)

        with torch.inference_mode(), runtime_errors(f"{runtime} for the peers", self.device):
            timings = repeat(frame, effort, self.device).timings(self.subject(runtime, precision, mode))
        return timings

    def subject(self, runtime: str, precision: str, mode: str = "eager") -> str:
        """As tables and `--compare` know it."""
        (height, width), other = (peer.size_hw for peer in self.peers)
        size = f"{height}x{width} and {other[0]}x{other[1]}"
        return f"{PAIR} {size} {runtime if mode == 'eager' else f'{runtime} {mode}'} {precision}"

    def _call(self, peer: Peer, runtime: str, precision: str, mode: str, progress: Progress) -> Call:
        if runtime == "torch":
            return _torch_call(peer, precision, mode, self.device)
        with runtime_errors(f"{runtime} for {peer.name}", self.device):
            if runtime == "onnxruntime":
                return _onnxruntime_call(self._onnx(peer, progress))
            return _openvino_call(self._converted(peer, progress), precision)

    def _converted(self, peer: Peer, progress: Progress) -> Any:
        """For OpenVINO, by its own converter: it can't compile the ONNX graph of Mask2Former."""
        import openvino

        if peer.name not in self._models:
            progress(f"converting {peer.name} for OpenVINO at {peer.size_hw[0]}x{peer.size_hw[1]}")
            pixels = torch.zeros((1, 3, *peer.size_hw))
            with quiet(), torch.no_grad():
                model = openvino.convert_model(peer.network, example_input=pixels, input=list(pixels.shape))
            self._models[peer.name] = model
        return self._models[peer.name]

    def _onnx(self, peer: Peer, progress: Progress) -> Path:
        """The network exported, kept for the next time."""
        sizes = f"{peer.size_hw[0]}x{peer.size_hw[1]}_{sum(p.numel() for p in peer.network.parameters())}"
        path = self._folder / f"{peer.name}_{sizes}_{__version__}_torch{torch.__version__}.onnx".replace(" ", "-")
        if path.is_file():
            return path
        progress(f"exporting {peer.name} at {peer.size_hw[0]}x{peer.size_hw[1]}: takes minutes, once")
        pixels = torch.zeros((1, 3, *peer.size_hw))
        try:
            with quiet(), torch.no_grad(), contextlib.redirect_stdout(None):
                program = torch.onnx.export(
                    peer.network.cpu(), (pixels,), dynamo=True, opset_version=OPSET, verbose=False,
                    input_names=["pixels"],
                )  # fmt: skip
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            raise BackendError(f"{peer.name} can't be exported: {str(error).splitlines()[0]}") from error
        assert program is not None
        with replacing(path) as beside:
            beside.write_bytes(program.model_proto.SerializeToString())
        return path


def _torch_call(peer: Peer, precision: str, mode: str, device: torch.device) -> Call:
    peer.network.to(device)
    network: Any = torch.compile(peer.network, dynamic=False) if mode == "compile" else peer.network
    mixed = precision != "fp32"
    dtype = PRECISIONS[precision] if mixed else None

    def call(pixels: Tensor) -> Any:
        with on_device(device), torch.autocast(device.type, dtype, enabled=mixed):
            return network(pixels.to(device))

    return call


def _onnxruntime_call(path: Path) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels.numpy()})


def _openvino_call(model: Any, precision: str) -> Call:
    import openvino

    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()
    return lambda pixels: request.infer([pixels.numpy()], share_inputs=True, share_outputs=True)

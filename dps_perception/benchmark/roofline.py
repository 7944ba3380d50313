"""How near a network comes to what the machine can multiply: multiply-adds over time over measured peak."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..evaluation.panoptic import none_if_nan
from ..inference.backends.devices import PRECISIONS, cpu_multiplies_bf16

HEADER = ["network", "G multiply-adds", "network [ms]", "GEMM [GFLOP/s]", "3x3 convolution [GFLOP/s]", "share of peak"]
TRIES = 8


@dataclass(frozen=True)
class Work:
    """Sizes of the two operations: a square matrix product, and a 3x3 convolution that keeps its channels."""

    side: int = 2048
    channels: int = 256
    height: int = 64
    width: int = 128
    batch: int = 1

    @property
    def gemm_flops(self) -> int:
        """Two for each multiply-add."""
        return 2 * self.side**3

    @property
    def conv_flops(self) -> int:
        """Two for each multiply-add; padding counts as work, as it does in the networks' count."""
        return 2 * 9 * self.channels**2 * self.height * self.width * self.batch


GPU_WORK = Work(side=8192, channels=512, height=128, width=256, batch=4)


@dataclass(frozen=True)
class Peak:
    """Best of several tries, in 1e9 operations a second (a multiply-add is two); NaN where not measured.

    Attributes:
        precision: "fp32", "bf16", "fp16" or "int8".
        gemm, conv: of the two operations.
        runtime: that ran them.
    """

    precision: str
    gemm: float
    conv: float
    runtime: str = "torch"

    @property
    def best(self) -> float:
        """The higher one."""
        return float(np.nanmax([self.gemm, self.conv]))

    def share(self, macs: int, milliseconds: float) -> float:
        """Part (0..1) of the peak that `macs` multiply-adds in this time reach."""
        return 2 * macs / (1e-3 * milliseconds) / (1e9 * self.best)


def measure_peak(device: torch.device, precision: str, work: Work | None = None, tries: int = TRIES) -> Peak | str:
    """The peak of a device in a data type, or why it has none worth measuring.

    On a CPU all threads of PyTorch take part. INT8 is measured by a quantised convolution in ONNX Runtime and in
    OpenVINO, whichever is faster.
    """
    if precision == "int8":
        return _int8_peak(work or Work(), tries) if device.type == "cpu" else "INT8 on a GPU is not measured"
    if device.type == "cpu" and (precision == "fp16" or (precision == "bf16" and not cpu_multiplies_bf16())):
        return f"this processor stores {precision} but does not multiply in it"
    work = work or (GPU_WORK if device.type == "cuda" else Work())
    shapes = (work.side, work.side), (work.batch, work.channels, work.height, work.width)
    matrix, image, kernel = (
        torch.randn(shape, device=device, dtype=PRECISIONS[precision])
        for shape in (*shapes, (work.channels, work.channels, 3, 3))
    )
    image, kernel = (tensor.to(memory_format=torch.channels_last) for tensor in (image, kernel))
    with torch.inference_mode():
        gemm = _fastest(lambda: matrix @ matrix, device, tries)
        conv = _fastest(lambda: F.conv2d(image, kernel, padding=1), device, tries)
    return Peak(precision, work.gemm_flops / gemm / 1e9, work.conv_flops / conv / 1e9)


def _fastest(function: Callable[[], Any], device: torch.device, tries: int) -> float:
    """Seconds of the fastest try, after two to warm up."""
    best = float("inf")
    for number in range(tries + 2):
        started = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 2:
            best = min(best, time.perf_counter() - started)
    return best


CHAIN = 4
"""Convolutions one after another, so that the first quantisation and the last weigh little."""


def _int8_peak(work: Work, tries: int) -> Peak | str:
    try:
        import onnxruntime
        import openvino
    except ImportError as error:
        return f"INT8 is measured in ONNX Runtime and OpenVINO, of which one is missing ({error})"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        path.write_bytes(_quantised_convolutions(work))
        image = np.random.default_rng(0).uniform(0, 1, (1, work.channels, work.height, work.width)).astype(np.float32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        request = openvino.Core().compile_model(str(path), "CPU", config).create_infer_request()
        cpu, flops = torch.device("cpu"), CHAIN * work.conv_flops / work.batch
        seconds = {
            "onnxruntime": _fastest(lambda: session.run(None, {"x0": image}), cpu, tries),
            "openvino": _fastest(lambda: request.infer({"x0": image}, share_inputs=True), cpu, tries),
        }
    runtime = min(seconds, key=lambda name: seconds[name])
    return Peak("int8", float("nan"), flops / seconds[runtime] / 1e9, runtime)


def _quantised_convolutions(work: Work) -> bytes:
    """An ONNX graph of `CHAIN` 3x3 convolutions with ReLU between quantise/dequantise pairs, as `dps_export --int8`."""
    from onnx import TensorProto, checker, helper, numpy_helper

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    def through_int8(source: str, target: str) -> None:
        nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"{target}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{target}q", scale, zero], [target]))

    nodes: list[Any] = []
    weights: list[Any] = []
    # Zero is 0, as after every ReLU: only then the runtimes fuse it, and multiply in integers.
    scale, zero = constant("scale", np.float32(1 / 127)), constant("zero", np.uint8(0))
    spread = np.sqrt(2 / (9 * work.channels)) / 73  # of int8 at random; what goes on stays as large as what came in
    few, none = constant("few", np.float32(spread)), constant("none", np.int8(0))
    random = np.random.default_rng(0)
    for number in range(CHAIN):
        through_int8(f"x{number}", f"a{number}")
        kernel = random.integers(-127, 128, (work.channels, work.channels, 3, 3), dtype=np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [constant(f"w{number}", kernel), few, none], [f"k{number}"]))
        nodes.append(helper.make_node("Conv", [f"a{number}", f"k{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"x{number + 1}"]))
    through_int8(f"x{CHAIN}", "y")
    shape = [1, work.channels, work.height, work.width]
    first, last = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", "y"))
    graph = helper.make_graph(nodes, "peak", [first], [last], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    checker.check_model(model)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class Roof:
    """A network under its roof: `macs` in `network_ms` (median), against `peak`."""

    subject: str
    macs: int
    network_ms: float
    peak: Peak

    @property
    def share(self) -> float:
        return self.peak.share(self.macs, self.network_ms)

    def under(self, others: Sequence[Roof]) -> Roof:
        """With the highest peak in this data type that was seen: others may have been busy during this one's own."""
        peaks = [roof.peak for roof in others if roof.peak.precision == self.peak.precision]
        return replace(self, peak=max([self.peak, *peaks], key=lambda peak: peak.best))

    def cells(self) -> list[str]:
        """The row under `HEADER`."""
        speeds = ["-" if np.isnan(v) else f"{v:.0f}" for v in (self.peak.gemm, self.peak.conv)]
        return [self.subject, f"{self.macs / 1e9:.1f}", f"{self.network_ms:.1f}", *speeds, f"{100 * self.share:.0f} %"]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        peak = {name: none_if_nan(v) if isinstance(v, float) else v for name, v in asdict(self.peak).items()}
        return {**asdict(self), "peak": peak, "share": self.share}

"""What the tests of export and backends share: small weights and what was exported from them, made once a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from demo_weights import write_small_weights

from dps_perception.inference import export_cli
from dps_perception.inference.backends.tensorrt_build import build_engine
from dps_perception.inference.backends.tensorrt_runtime import find_tensorrt
from dps_perception.inference.export import ExportOptions, export_onnx
from dps_perception.labels import CITYSCAPES
from dps_perception.models.config import preset
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.weights import ModelInfo

SIZE = (64, 128)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def onnx(weights):
    path = weights.with_suffix(".onnx")
    export_cli.command([str(weights), "--output", str(path), "--no-compare"])
    return path


@pytest.fixture(scope="module")
def engine(onnx):
    path = onnx.with_suffix(".engine")
    build_engine(onnx, path, find_tensorrt("tensorrt_rtx"), "8.6")
    return path


def export_preset(name, folder, size=SIZE, precision="fp32"):
    """ONNX file of a preset with random weights."""
    torch.manual_seed(0)
    config = replace(preset(name), num_groups=1, auxiliary_semantic=False)
    info = ModelInfo(name, "efficientdps", name, config, CITYSCAPES, size, 100.0, 0.5, 88.0, weights_sha256="ab" * 32)
    path = folder / f"{name}_{precision}.onnx"
    export_onnx(EfficientDPS(config).eval(), info, ExportOptions(size, precision), path)
    return path

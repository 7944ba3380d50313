"""What the tests of export and backends share: small weights and what was exported from them, made once a process.

Imports are inside, because conftest shows these fixtures to all tests.
"""

from __future__ import annotations

import shutil

import pytest

SIZE = (64, 128)


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    from demo_weights import write_small_weights

    return write_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="session")
def small_onnx(small_weights):
    from dps_perception.inference import export_cli

    path = small_weights.with_suffix(".onnx")
    export_cli.command([str(small_weights), "--output", str(path), "--no-compare"])
    return path


@pytest.fixture(scope="session")
def small_engine(small_onnx):
    """A TensorRT-RTX engine of `small_onnx` for compute capability 8.6."""
    from dps_perception.inference.backends.tensorrt_build import build_engine
    from dps_perception.inference.backends.tensorrt_runtime import find_tensorrt

    path = small_onnx.with_suffix(".engine")
    build_engine(small_onnx, path, find_tensorrt("tensorrt_rtx"), "8.6")
    return path


@pytest.fixture(scope="session")
def small_dynamic_onnx(tmp_path_factory):
    """A file with an open batch size."""
    return export_small(tmp_path_factory.mktemp("dynamic"), dynamic_batch=True)


def export_preset(name, folder):
    """ONNX file of a preset with random weights."""
    from dps_perception.models.families import preset

    return export_config(preset(name).for_inference(), name, folder)


def export_small(folder, **options):
    """ONNX file of a small network with random weights."""
    from dps_perception.models.efficientdps_config import EfficientDPSConfig

    config = EfficientDPSConfig(backbone="resnet18", channels=8, num_queries=6, num_groups=1)
    return export_config(config, "-".join(["small", *options]), folder, **options)


def export_config(config, name, folder, **options):
    import torch

    from dps_perception.inference.export import ExportOptions, export_onnx
    from dps_perception.labels import CITYSCAPES
    from dps_perception.models.families import build
    from dps_perception.models.weights import ModelInfo

    torch.manual_seed(0)
    info = ModelInfo(name, name, config, CITYSCAPES, SIZE, 100.0, 0.5, 88.0, weights_sha256="ab" * 32)
    export_onnx(build(config).eval(), info, ExportOptions(SIZE, **options), folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


@pytest.fixture
def small_cache(small_weights, small_onnx, tmp_path, monkeypatch):
    """The user's cache, with the ONNX file of `small_weights` in it, so that no test waits for another export."""
    from dps_perception.inference.backends.engine_cache import FOLDER_VARIABLE
    from dps_perception.inference.backends.model_file import open_model
    from dps_perception.inference.backends.prepare import onnx_key

    folder = tmp_path / "cache"
    folder.mkdir()
    shutil.copy(small_onnx, folder / onnx_key(open_model(small_weights), SIZE, "fp32").file_name(".onnx"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder

"""TensorRT-RTX parses and builds our networks on a machine without a GPU; what runs them is in test_backends_gpu.py."""

import sys

import pytest
from backend_fixtures import SIZE, engine, export_preset, onnx, weights  # noqa: F401

from dps_perception.errors import BackendError, ConfigError, ModelLoadError
from dps_perception.inference import export_cli
from dps_perception.inference.backends.files import read_engine
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.tensorrt_backend import require_fit
from dps_perception.inference.backends.tensorrt_build import _words, build_apart, build_engine, parse_onnx
from dps_perception.inference.backends.tensorrt_runtime import TensorRT, capabilities, find_tensorrt
from dps_perception.models.config import PRESETS

pytest.importorskip("tensorrt_rtx_bindings")
RTX = find_tensorrt("tensorrt_rtx")
SLOW = ("efficientdps_swin_t", "efficientdps_swin_b")


def parse(path):
    words = _words(RTX)
    return parse_onnx(path, RTX.module.Builder(words), RTX, words)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow, pytest.mark.timeout(900)] * (n in SLOW)) for n in PRESETS]
)
def test_every_preset_is_parsed(name, tmp_path):
    network = parse(export_preset(name, tmp_path))
    assert tuple(network.get_input(0).shape) == (1, *SIZE, 3)
    names = [network.get_output(i).name for i in range(network.num_outputs)]
    assert names[:3] == ["class_logits", "mask_logits", "depth_logits"]


def test_an_engine_is_built_ahead_for_a_gpu_that_is_not_there(onnx, tmp_path):  # noqa: F811
    path, said = tmp_path / "a.engine", []
    build_apart(onnx, path, RTX, "8.6", said.append)
    model = open_model(path)
    assert (model.kind, model.precision, model.input_size(None)) == ("engine", "fp32", SIZE)
    assert model.info == open_model(onnx).info
    assert len(read_engine(path).plan) > 1e6
    assert "compute capability 8.6" in said[0]


def test_the_command_builds_from_an_onnx_file(onnx, tmp_path, monkeypatch):  # noqa: F811
    made = []
    monkeypatch.setattr(
        "dps_perception.inference.backends.tensorrt_build.build_apart", lambda *a: (made.append(a), a[1].touch())
    )
    export_cli.command([str(onnx), "--engine", "--capability", "8.9", "--output", str(tmp_path / "x.engine")])
    assert made[0][0] == onnx
    assert made[0][3] == "8.9"


def test_an_engine_of_another_runtime_or_gpu_is_refused(engine):  # noqa: F811
    metadata = read_engine(engine).metadata
    require_fit(engine, metadata, RTX, "8.6")
    for runtime, capability in ((RTX, "8.9"), (TensorRT(None, "tensorrt_rtx", "9.9"), "8.6"), (RTX, "")):
        with pytest.raises(ModelLoadError, match=r"was built by tensorrt_rtx .* for compute capability 8\.6; here is"):
            require_fit(engine, metadata, runtime, capability)


def test_capabilities_that_can_not_be_built_for(onnx, tmp_path):  # noqa: F811
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(capabilities(RTX))
    with pytest.raises(ConfigError, match=r"'9\.0'.*7\.5.*Hopper, Jetson"):
        build_engine(onnx, tmp_path / "x.engine", RTX, "9.0")
    full = TensorRT(RTX.module, "tensorrt", "10.0")  # as the full one: no building ahead
    with pytest.raises(ConfigError, match="GPU of this machine only"):
        build_engine(onnx, tmp_path / "x.engine", full, "9.0")
    assert list(tmp_path.iterdir()) == []


def test_what_it_can_not_parse_is_one_line(onnx, tmp_path):  # noqa: F811
    import onnx as package

    proto = package.load(onnx)
    proto.graph.node[5].op_type = "Frobnicate"
    bad = tmp_path / "bad.onnx"
    package.save(proto, bad)
    with pytest.raises(BackendError, match=r"can't parse bad\.onnx") as caught:
        parse(bad)
    assert "\n" not in str(caught.value)


def test_a_missing_runtime_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(BackendError, match="tensorrt-rtx-cu13-bindings"):
        find_tensorrt()

"""TensorRT-RTX parses and builds our networks on a machine without a GPU; what runs them is in test_backends_gpu.py."""

import sys
import types

import pytest
import torch
from backend_fixtures import SIZE, export_preset, export_small

from dps_perception.errors import BackendError, ConfigError, ModelLoadError
from dps_perception.inference import export_cli
from dps_perception.inference.backends import prepare
from dps_perception.inference.backends.files import read_engine
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.tensorrt_backend import require_fit
from dps_perception.inference.backends.tensorrt_build import _words, build_apart, build_engine, parse_onnx
from dps_perception.inference.backends.tensorrt_runtime import TensorRT, capabilities, find_tensorrt
from dps_perception.models.families import PRESETS, build, preset

pytest.importorskip("tensorrt_rtx_bindings")
RTX = find_tensorrt("tensorrt_rtx")
LEFT_OUT = {"panopticdepth_r50", "realtime_panoptic_r50"}
"""Not built here: the first has deformable convolutions, the second the layers of its small one."""


def parse(path):
    words = _words(RTX)
    return parse_onnx(path, RTX.module.Builder(words), RTX, words)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * ("swin" in n)) for n in PRESETS if n not in LEFT_OUT]
)
@pytest.mark.timeout(900)
def test_every_preset_is_parsed_and_built(name, tmp_path):
    path, engine = export_preset(name, tmp_path), tmp_path / "x.engine"
    network = parse(path)
    assert tuple(network.get_input(0).shape) == (1, *SIZE, 3)
    names = [network.get_output(i).name for i in range(network.num_outputs)]
    with torch.device("meta"):
        expected = build(preset(name).for_inference()).eval()(torch.empty((1, *SIZE, 3), dtype=torch.uint8))
    assert names == list(expected)
    del network
    build_engine(path, engine, RTX, "8.6")
    assert open_model(engine).info.model_id == name
    assert engine.stat().st_size > 0.9 * path.stat().st_size  # the weights are in it


def test_half_precision_and_an_open_batch_are_built(small_dynamic_onnx, tmp_path):
    half, dynamic = tmp_path / "half.engine", tmp_path / "dynamic.engine"
    build_engine(export_small(tmp_path, precision="fp16"), half, RTX, "8.9")
    build_engine(small_dynamic_onnx, dynamic, RTX, "8.9")
    assert [open_model(path).precision for path in (half, dynamic)] == ["fp16", "fp32"]


def test_an_engine_is_built_ahead_for_a_gpu_that_is_not_there(small_onnx, tmp_path):
    path, said = tmp_path / "a.engine", []
    build_apart(small_onnx, path, RTX, "8.6", said.append)
    model = open_model(path)
    assert (model.kind, model.precision, model.input_size(None)) == ("engine", "fp32", SIZE)
    assert model.info == open_model(small_onnx).info
    assert len(read_engine(path).plan) > 1e6
    assert "for GPU 8.6" in said[0]


def test_the_command_builds_from_an_onnx_file(small_onnx, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "dps_perception.inference.backends.tensorrt_build.build_apart", lambda *a: (made.append(a), a[1].touch())
    )
    export_cli.command([str(small_onnx), "--engine", "--capability", "8.9", "--output", str(tmp_path / "x.engine")])
    assert made[0][0] == small_onnx
    assert made[0][3] == "8.9"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_asks_which_one(small_onnx, tmp_path):
    with pytest.raises(ConfigError, match=r"--capability; there is: 7\.5, .*8\.6"):
        export_cli.command([str(small_onnx), "--engine", "--output", str(tmp_path / "x.engine")])


def test_without_output_the_engine_goes_into_the_cache(small_onnx, small_engine, tmp_path, monkeypatch):
    monkeypatch.setenv("DPS_PERCEPTION_CACHE", str(tmp_path))
    monkeypatch.setattr(prepare, "build_apart", lambda onnx, path, *_: path.write_bytes(small_engine.read_bytes()))
    export_cli.command([str(small_onnx), "--engine", "--capability", "8.6"])
    assert [p.name[16:] for p in tmp_path.iterdir()] == [f"_64x128_fp32_tensorrt_rtx_{RTX.version}_8.6.engine"]


def test_an_engine_of_another_runtime_or_gpu_is_refused(small_engine):
    metadata = read_engine(small_engine).metadata
    require_fit(small_engine, metadata, RTX, "8.6")
    for runtime, gpu in ((RTX, "8.9"), (TensorRT(None, "tensorrt_rtx", "9.9"), "8.6"), (RTX, "")):
        with pytest.raises(ModelLoadError, match=r"was built by tensorrt_rtx .* for GPU 8\.6; here is"):
            require_fit(small_engine, metadata, runtime, gpu)


def test_capabilities_that_can_not_be_built_for(small_onnx, tmp_path):
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(capabilities(RTX))
    with pytest.raises(ConfigError, match=r"'9\.0'.*7\.5.*Hopper, Jetson"):
        build_engine(small_onnx, tmp_path / "x.engine", RTX, "9.0")
    full = TensorRT(RTX.module, "tensorrt", "10.0")  # as the full one: no building ahead
    with pytest.raises(ConfigError, match="GPU of this machine only"):
        build_engine(small_onnx, tmp_path / "x.engine", full, "9.0")
    assert list(tmp_path.iterdir()) == []


def test_what_it_can_not_parse_is_one_line(small_onnx, tmp_path):
    import onnx as package

    proto = package.load(small_onnx)
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


def test_a_tensorrt_that_is_too_old_is_not_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(__version__="8.6.2"))
    with pytest.raises(BackendError, match=r"tensorrt 8\.6\.2 is too old, 10 or newer is needed"):
        find_tensorrt("tensorrt")
    assert find_tensorrt().name == "tensorrt_rtx"

import numpy as np
import pytest
import torch
from backend_fixtures import SIZE

from dps_perception.errors import BackendError, ConfigError, ModelLoadError
from dps_perception.inference import export_cli
from dps_perception.inference.backends.files import onnx_metadata
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.registry import open_backend
from dps_perception.inference.export import ExportOptions, differences, random_image, save_onnx
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES
from dps_perception.models.weights import load_weights


def test_the_file_says_all_that_its_weights_say(small_onnx, small_weights):
    model, (_, info) = open_model(small_onnx), load_weights(small_weights)
    assert model.info == info
    assert model.info.label_space == CITYSCAPES
    assert (model.kind, model.precision, model.input_size(None)) == ("onnx", "fp32", SIZE)


def test_our_reader_of_metadata_agrees_with_onnx(small_onnx):
    import json

    from onnx import load

    props = {entry.key: entry.value for entry in load(small_onnx).metadata_props}
    assert onnx_metadata(small_onnx) == json.loads(props["dps_perception"])


def test_the_image_goes_in_as_the_camera_gives_it_and_no_batch_norm_is_left(small_onnx):
    from onnx import TensorProto, load

    graph = load(small_onnx).graph
    (image,) = graph.input
    assert image.type.tensor_type.elem_type == TensorProto.UINT8
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, *SIZE, 3]
    assert [o.name for o in graph.output] == ["class_logits", "mask_logits", "depth_logits"]
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_the_command_compares_with_pytorch(small_weights, small_onnx, capsys):
    export_cli._compare(str(small_weights), small_onnx, SIZE)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    compared = {(row[0], row[1]) for row in rows}
    assert compared >= {("photo", "mask_logits"), ("street", "mask_logits"), ("random", "depth_logits")}
    assert all(float(row[3]) < 1e-3 for row in rows)


def test_a_file_that_differs_from_pytorch_is_taken_away(small_weights, small_onnx, tmp_path, capsys):
    from onnx import load, numpy_helper

    proto = load(small_onnx)
    weight = next(w for w in proto.graph.initializer if len(w.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.1, weight.name))
    import onnx as package

    wrong = tmp_path / "wrong.onnx"
    save_onnx(package, proto, onnx_metadata(small_onnx), wrong)
    with pytest.raises(BackendError, match="differs from PyTorch"):
        export_cli._compare(str(small_weights), wrong, SIZE)
    assert not wrong.exists()


def test_differences_by_hand():
    seen = {"a": torch.tensor([1.0, 4.5])}
    assert differences({"a": torch.tensor([1.0, 5.0])}, seen) == {"a": (0.5, 0.1)}


def test_a_predictor_of_the_file_alone_gives_the_same_answer(small_weights, small_onnx):
    image = random_image((60, 100))[0]
    expected = Predictor.load(small_weights, precision="fp32").predict(image)
    seen = Predictor.load(small_onnx, backend="onnxruntime", device="cpu").predict(image)
    assert (expected.panoptic == seen.panoptic).mean() > 0.999
    np.testing.assert_allclose(seen.depth_m, expected.depth_m, rtol=1e-3)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_open_batch_takes_one_image_and_several(name, small_dynamic_onnx):
    backend = open_backend(name, open_model(small_dynamic_onnx), device="cpu", precision="fp32")
    images = [random_image(SIZE, seed) for seed in range(3)]
    apart = [{key: tensor.clone() for key, tensor in backend.run(image).items()} for image in images]
    together = backend.run(np.concatenate(images))
    for index, alone in enumerate(apart):
        for key, tensor in alone.items():
            assert len(together[key]) == 3
            torch.testing.assert_close(together[key][index], tensor[0], rtol=1e-3, atol=1e-3)


def test_another_size_than_the_files_is_refused(small_onnx):
    with pytest.raises(ConfigError, match=r"64x128, not 96x128; export it again with --size 96x128"):
        Predictor.load(small_onnx, backend="onnxruntime", input_size=(96, 128))


@pytest.mark.parametrize("cut", [0, 1, 30, 5000, -1, -300, -100_000])
def test_truncated_files_are_named(small_onnx, tmp_path, cut):
    short = tmp_path / "short.onnx"
    short.write_bytes(small_onnx.read_bytes()[:cut])
    with pytest.raises(ModelLoadError, match=r"short\.onnx.*truncated"):
        open_model(short)


def test_foreign_files_are_named(tmp_path):
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])  # fmt: skip
    save(helper.make_model(graph), tmp_path / "theirs.onnx")
    with pytest.raises(ModelLoadError, match=r"theirs\.onnx.*not written by dps_export"):
        open_model(tmp_path / "theirs.onnx")
    (tmp_path / "text.onnx").write_text("not a network at all")
    with pytest.raises(ModelLoadError, match=r"text\.onnx"):
        open_model(tmp_path / "text.onnx")
    (tmp_path / "x.engine").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelLoadError, match=r"x\.engine is not an engine file of dps_export"):
        open_model(tmp_path / "x.engine")


def test_torch_says_which_backends_run_an_onnx_file(small_onnx):
    with pytest.raises(ModelLoadError, match=r"torch can't run .*small\.onnx.*onnxruntime, openvino"):
        open_backend("torch", open_model(small_onnx))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x.onnx", "--size", "100x128"], "multiples of 32"),
        (["--output", "x.onnx", "--precision", "fp8"], "fp32, bf16, fp16"),
        (["--output", "x.txt"], r"ending in \.onnx"),
        (["--output", "x.onnx", "--engine"], r"ending in \.engine"),
        (["--output", "x.onnx", "--capability", "8.6"], "for --engine"),
        ([], r"--output is needed.*\.onnx"),
        (["--engine", "--dynamic-batch"], "engines in the cache are for one image"),
        (["--output", "x.onnx", "--calibrate", "street:test"], "for --int8"),
        (["--output", "x.onnx", "--int8", "--precision", "fp16"], "goes without"),
        (["nowhere", "--output", "x.onnx"], "no weights file"),
        (["--output", "x.engine", "--engine", "--runtime", "tensort"], "did you mean 'tensorrt'"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, ModelLoadError), match=message):
        export_cli.command(arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_exporter_names_the_packages(small_weights, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(BackendError, match="pip install onnx onnxscript"):
        export_cli.command([str(small_weights), "--output", str(tmp_path / "x.onnx")])


def test_options_are_checked():
    with pytest.raises(ConfigError, match="multiples of 32"):
        ExportOptions((64, 100))

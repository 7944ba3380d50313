"""Files that want to run code, take all memory or time, or be another file: refused at once, by name."""

import json
import os
import pickle
import re
import struct
import time
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from dps_perception.errors import DpsError, ModelLoadError
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.weights import METADATA_KEY
from dps_perception.training.initialise import read_start

GIB = 1 << 30


def memory_kib(what):
    """Of this process: its size in memory now (VmRSS), or at most (VmHWM) since `forget_the_most`."""
    return int(re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def forget_the_most():
    Path("/proc/self/clear_refs").write_text("5")


def load_all_ways(path):
    """What the node does with a file: look at it, load it; each must refuse it, soon and within little memory."""
    forget_the_most()
    before = memory_kib("VmRSS")
    told = []
    for load in (open_model, lambda p: Predictor.load(p, device="cpu")):
        began = time.process_time()
        with pytest.raises(DpsError) as caught:
            load(path)
        assert time.process_time() - began < 1.0
        told.append(str(caught.value))
    assert memory_kib("VmHWM") - before < 200 * 1024
    assert max(map(len, told)) < 1000
    return told[0]


def test_memory_that_was_given_back_is_seen():
    """Even after something else took more: a peak that never goes back would hide all that follows."""
    bytearray(b"x") * (100 << 20)
    forget_the_most()
    before = memory_kib("VmRSS")
    bytearray(b"x") * (50 << 20)
    assert 45 * 1024 < memory_kib("VmHWM") - before < 60 * 1024


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".engine", ".pt", ".pth", ".ckpt", ".pkl", ""])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_by_any_name_is_refused_and_not_run(tmp_path, suffix, kind):
    import torch

    mark, path = tmp_path / "it_ran", tmp_path / f"evil{suffix}"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(mark)))
    else:
        torch.save({"state_dict": Payload(mark)}, path)
    load_all_ways(path)
    with pytest.raises(ModelLoadError, match="evil"):  # where checkpoints are read: training
        read_start(str(path))
    assert not mark.exists()
    if kind == "pickle":
        pickle.loads(path.read_bytes())  # it would have
        assert mark.exists()


def test_what_is_no_regular_file_is_named(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.onnx")
    os.symlink("/dev/zero", tmp_path / "zero.engine")
    assert "is a folder" in load_all_ways(tmp_path / "folder.safetensors")
    assert "is a named pipe" in load_all_ways(tmp_path / "pipe.onnx")  # opening it would wait for ever
    assert "is a device" in load_all_ways(tmp_path / "zero.engine")
    assert "suffix ''" in load_all_ways(Path("/dev/zero"))


@pytest.mark.parametrize("name", ["~nobody_of_that_name/x.onnx", "x" * 5000, "a\0b.safetensors", "/proc/self/mem", " "])
def test_names_that_cant_be(name):
    assert len(load_all_ways(name)) > 20


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".engine"])
@pytest.mark.parametrize("size", [0, 3, GIB, 3 * GIB, 1024 * GIB])
def test_sparse_files_of_any_size(tmp_path, suffix, size):
    path = tmp_path / f"hole{suffix}"
    with path.open("wb") as stream:
        try:
            stream.truncate(size)
        except OSError as error:
            pytest.skip(f"no file system for it here: {error}")
    told = load_all_ways(path)
    if size == 1024 * GIB:
        assert "models of at most 4 GiB are read" in told


def safetensors(path, head, size=0, length=None):
    """A safetensors file of this header, `size` bytes of (sparse) tensors, and a claimed length of the header."""
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(head) if length is None else length) + head)
        stream.truncate(8 + len(head) + size)
    return path


def metadata(**changes):
    about = {
        "format": 1, "model_id": "m", "family": "efficientdps", "preset": "efficientdps_r18",
        "config": EfficientDPSConfig(backbone="resnet18", channels=8).to_dict(), "label_space": CITYSCAPES.to_dict(),
        "input_size": [64, 128], "focal_px": 100.0, "min_depth_m": 0.5, "max_depth_m": 88.0,
        "training": {}, "scores": {},
    } | changes  # fmt: skip
    return {"__metadata__": {METADATA_KEY: json.dumps(about)}}


@pytest.mark.parametrize("length", [2**60, 2**64 - 1, 100_000_000, 5_000_000, 1000])
def test_a_claimed_length_of_the_header(tmp_path, length):
    path = safetensors(tmp_path / "x.safetensors", b"{}", size=0 if length == 1000 else 200_000_000, length=length)
    assert f"it claims {length} bytes of metadata" in load_all_ways(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [GIB // 4], "data_offsets": [0, GIB]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
    ],
)
def test_a_claimed_tensor(tmp_path, entry):
    """The third is there, as a hole of 1 GiB: its shape is compared before it is read or hashed."""
    path = safetensors(tmp_path / "x.safetensors", {**metadata(), "queries.activation.weight": entry}, size=GIB)
    told = load_all_ways(path)
    assert "does not fit its own config" in told or "not a whole safetensors file" in told


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "[1, 2]", '"text"', "9" * 100_000, "{}", "null"],
)
def test_metadata_that_is_no_metadata(tmp_path, text):
    head = {"__metadata__": {METADATA_KEY: text}}
    assert "damaged metadata" in load_all_ways(safetensors(tmp_path / "x.safetensors", head))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"backbone": "resnet18", "channels": 10**9}},
        {"config": {"backbone": "resnet18", "num_queries": 10**12}},
        {"config": {"backbone": "resnet18", "channels": 8.5}},
        {"config": {"backbone": "resnet18", "max_depth_m": float("nan")}},
        {"input_size": [2**40, 2**40]},
        {"input_size": [1e999, 64]},
        {"input_size": [64]},
        {"focal_px": float("inf")},
        {"min_depth_m": 5, "max_depth_m": 1},
        {"label_space": {"name": "x", "classes": [{"name": "a", "is_thing": True, "color": [1, 2, 999]}] * 19}},
        {"label_space": {"name": "x", "classes": [{"name": "a", "is_thing": True, "color": [1, 2, 3]}] * 300}},
    ],
)
def test_numbers_beyond_reason_in_the_metadata(tmp_path, changes):
    assert "damaged metadata" in load_all_ways(safetensors(tmp_path / "x.safetensors", metadata(**changes)))


def test_nested_json_in_the_header_itself(tmp_path):
    head = b'{"__metadata__":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    assert "not a whole safetensors file" in load_all_ways(safetensors(tmp_path / "x.safetensors", head))


def onnx_model(path, location, inside):
    """An ONNX file with a tensor elsewhere: as an initialiser, in a node's attribute, or in a function."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=4).t.CopyFrom(tensor)
    out = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])
    branch = helper.make_graph([constant], "b", [], [out])
    nodes = {
        "initialiser": [helper.make_node("Identity", ["w"], ["y"])],
        "attribute": [constant],
        "branch": [helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch)],
        "function": [helper.make_node("F", [], ["w"], domain="d")],
    }[inside]
    graph = helper.make_graph(nodes, "g", [], [out], [tensor] if inside == "initialiser" else [])
    functions = [helper.make_function("d", "F", [], ["w"], [constant], [])] if inside == "function" else []
    model = helper.make_model(graph, functions=functions)
    helper.set_model_props(model, {METADATA_KEY: "{}"})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("inside", ["initialiser", "attribute", "branch", "function"])
@pytest.mark.parametrize("location", ["../../../etc/passwd", "/etc/passwd", "beside.bin"])
def test_onnx_files_that_point_outside(tmp_path, location, inside):
    (tmp_path / "beside.bin").write_bytes(bytes(16))
    told = load_all_ways(onnx_model(tmp_path / "x.onnx", location, inside))
    assert f"takes tensors from another file ('{location}')" in told


def test_onnx_files_of_millions_of_fields(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\x0a\x00" * 5_000_000)
    assert "more than 500000 fields" in load_all_ways(path)


def test_engines_that_claim_too_much(tmp_path):
    from dps_perception.inference.backends.files import MAGIC

    path = tmp_path / "x.engine"
    for length, head in ((2**60, b"{}"), (200_000, b"[" * 200_000), (13, b'{"plan_bytes"')):
        path.write_bytes(MAGIC + struct.pack("<Q", length) + head)
        assert "x.engine" in load_all_ways(path)

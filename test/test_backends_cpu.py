"""Backends on the CPU: the same answers, and one clear line for everything that is missing or wrong."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from backend_fixtures import SIZE

from dps_perception.errors import BackendError, ConfigError
from dps_perception.inference import comparison
from dps_perception.inference import fastest as fastest_module
from dps_perception.inference.agreement import Agreement, agreement
from dps_perception.inference.backends import registry
from dps_perception.inference.backends.base import runtime_errors
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.registry import BACKENDS, availability, open_backend, precisions
from dps_perception.inference.export import differences, random_image
from dps_perception.inference.fastest import choices, fastest
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES
from dps_perception.types import Prediction

CASES = [("onnxruntime", "fp32", 1e-3), ("openvino", "fp32", 1e-3), ("openvino", "bf16", 0.1)]


def tensors(backend, image):
    return {name: tensor.clone() for name, tensor in backend.run(image).items()}


@pytest.mark.parametrize(("name", "precision", "share"), CASES)
def test_the_same_tensors_as_pytorch(name, precision, share, small_weights, small_onnx):
    reference = open_backend("torch", open_model(small_weights), device="cpu", precision="fp32", input_size=SIZE)
    if precision not in precisions(name, open_model(small_onnx), "cpu"):
        pytest.skip(f"this processor has no {precision}")
    backend = open_backend(name, open_model(small_onnx), device="cpu", precision=precision)
    assert (backend.name, backend.precision, str(backend.device), backend.device_bytes()) == (name, precision, "cpu", 0)
    backend.warm_up()
    for seed in range(2):
        image = random_image(SIZE, seed)
        expected, seen = reference.run(image), backend.run(image)
        assert list(expected) == list(seen)
        assert max(s for _, s in differences(expected, seen).values()) < share
    assert set(backend.describe()) == {"backend", "version", "device", "precision", "mode"}
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match=f"{name} backend is closed"):
        backend.run(random_image(SIZE))


def test_images_of_another_size_are_one_line(small_onnx):
    for name in ("onnxruntime", "openvino"):
        backend = open_backend(name, open_model(small_onnx), device="cpu")
        with pytest.raises(BackendError, match=f"backend {name} on cpu: ") as caught:
            backend.run(random_image((96, 128)))
        assert "\n" not in str(caught.value)


def test_unknown_names_list_the_valid_ones(small_weights):
    with pytest.raises(ConfigError, match=r"'openvin'.*torch, onnxruntime, openvino, tensorrt, auto.*'openvino'"):
        Predictor.load(small_weights, backend="openvin")
    with pytest.raises(ConfigError, match="eager, compile, cuda_graphs"):
        Predictor.load(small_weights, mode="fast")
    with pytest.raises(ConfigError, match="fp32"):
        Predictor.load(small_weights, backend="openvino", precision="fp16")


@pytest.mark.parametrize(
    ("name", "hidden", "package"),
    [
        ("onnxruntime", ["onnxruntime"], "pip install onnxruntime"),
        ("openvino", ["openvino"], "pip install openvino"),
        ("tensorrt", ["tensorrt", "tensorrt_rtx_bindings"], "apt install python3-libnvinfer"),
    ],
)
def test_a_missing_runtime_names_its_package_and_what_there_is(name, hidden, package, small_weights, monkeypatch):
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    assert package in availability()[name]
    with pytest.raises(BackendError, match=rf"{name} is not available.*{package}.*Available here: torch") as caught:
        Predictor.load(small_weights, backend=name)
    assert "\n" not in str(caught.value)


def test_availability_names_every_backend():
    assert tuple(availability()) == BACKENDS
    assert availability()["torch"] == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_ones_that_need_it_say_so(small_weights, small_onnx):
    with pytest.raises(BackendError, match="no usable NVIDIA GPU"):
        Predictor.load(small_weights, backend="tensorrt")
    with pytest.raises(ConfigError, match="cuda_graphs needs a GPU"):
        Predictor.load(small_weights, mode="cuda_graphs")
    with pytest.raises(ConfigError, match="sees 0 GPUs"):
        Predictor.load(small_onnx, backend="onnxruntime", device="cuda")
    with pytest.raises(BackendError, match="pip install onnxruntime-gpu"):
        Predictor.load(small_onnx, backend="onnxruntime", mode="tensorrt")


def test_a_driver_that_is_too_old_is_named(small_weights, monkeypatch):
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(ConfigError, match=r"sees 0 GPUs \(The NVIDIA driver on your system is too old"):
        Predictor.load(small_weights, device="cuda")


def test_compile_without_a_compiler(small_weights, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(BackendError, match=r"apt install g\+\+"):
        Predictor.load(small_weights, mode="compile")


def test_errors_of_a_device_become_one_line_with_a_cure():
    with (
        pytest.raises(BackendError, match=r"torch on cuda:0: CUDA out of memory.*smaller input size"),
        runtime_errors("torch", "cuda:0"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")
    with pytest.raises(BackendError, match="update the NVIDIA driver"), runtime_errors("torch", "cuda:0"):
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")


def test_precisions_of_an_exported_file_are_its_own(small_onnx, monkeypatch):
    model = open_model(small_onnx)
    assert precisions("onnxruntime", model, "cpu") == ("fp32",)
    monkeypatch.setattr(registry, "cpu_multiplies_bf16", lambda: True)
    assert precisions("openvino", model, "cpu") == ("bf16", "fp32")
    monkeypatch.setattr(registry, "cpu_multiplies_bf16", lambda: False)
    assert precisions("openvino", model, "cpu") == ("fp32",)
    with pytest.raises(ConfigError, match=r"auto, fp32"):
        open_backend("onnxruntime", model, device="cpu", precision="fp16")


def prediction(panoptic, depth):
    panoptic = np.array(panoptic, np.uint16)
    return Prediction(panoptic, np.array(depth, np.float32), np.ones(panoptic.shape, np.float32), ())


def test_agreement_by_hand():
    # Road (class 0) is the same; the sky (class 10) lost one of its 4 pixels to road: IoU 4/5 and 3/4.
    truth = prediction([[0, 0, 0, 0], [2560, 2560, 2560, 2560]], [[10.0] * 4] * 2)
    seen = prediction([[0, 0, 0, 0], [0, 2560, 2560, 2560]], [[10.0] * 4, [11.0] * 4])
    agreed = agreement(CITYSCAPES, [truth], [seen])
    assert agreed.pq == pytest.approx(100 * (4 / 5 + 3 / 4) / 2)
    assert agreed.abs_rel == pytest.approx(0.05)
    assert agreement(CITYSCAPES, [truth], [truth]).reaches("fp32")


def test_what_one_side_leaves_void_counts():
    # Void in the truth takes pixels out of the metric, so a car that only one side sees must not go unseen.
    nothing, car = prediction([[65535] * 2], [[9.0] * 2]), prediction([[13 * 256 + 1] * 2], [[9.0] * 2])
    assert agreement(CITYSCAPES, [nothing], [car]).pq == 0
    assert agreement(CITYSCAPES, [car], [nothing]).pq == 0
    assert agreement(CITYSCAPES, [nothing], [nothing]).pq == 100


def test_what_is_good_enough():
    assert Agreement(99.6, 5e-4, 1).reaches("fp32")
    assert not Agreement(99.4, 5e-4, 1).reaches("fp32")
    assert Agreement(99.4, 4e-3, 1).reaches("bf16")
    assert not Agreement(99.4, 6e-3, 1).reaches("fp16")
    assert Agreement(99.6, float("nan"), 1).reaches("fp32")  # without depth
    assert Agreement(50.0, 0.1, 1).reaches("int8")  # chosen with open eyes


class Fake:
    """A backend that takes the real one's tensors and adds noise of its own."""

    def __init__(self, real, name, precision, error):
        self.real, self.name, self.precision, self.device, self.error = real, name, precision, real.device, error
        self.closed = False

    def run(self, images):
        outputs = tensors(self.real, images)
        return {k: v + self.error * v.abs().max() * torch.randn_like(v) for k, v in outputs.items()}

    def warm_up(self):
        pass

    def describe(self):
        return {}

    def close(self):
        self.closed = True


def test_auto_keeps_the_fastest_that_agrees(small_weights, small_onnx, monkeypatch):
    real = open_backend("onnxruntime", open_model(small_onnx), device="cpu")
    times = {"torch": 5.0, "onnxruntime": 4.0, "openvino": 1.0}
    made = []

    def opened(name, model, *, precision, **_):
        if name == "torch" and precision == "bf16":
            raise BackendError("no bf16 here")
        made.append(Fake(real, name, precision, 1.0 if name == "openvino" else 0.0))
        return made[-1]

    def study(predictor, *arguments):
        row, seen = comparison.study(predictor, *arguments)
        return replace(row, times_ms={"total": {"median_ms": times[predictor.backend_name]}}), seen

    monkeypatch.setattr(fastest_module, "open_backend", opened)
    monkeypatch.setattr(fastest_module, "study", study)
    pairs = [("torch", "bf16"), ("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")]
    monkeypatch.setattr(fastest_module, "choices", lambda *_: pairs)
    said = []
    best = fastest(open_model(small_weights), "cpu", "auto", SIZE, progress=said.append)
    assert best.name == "onnxruntime"
    assert [fake.closed for fake in made] == [fake is not best for fake in made]
    assert said[0] == "backend auto: torch fp32 takes 5.0 ms"  # the reference comes first
    assert said[1] == "backend auto: torch bf16: no bf16 here"
    assert "openvino fp32 takes 1.0 ms; openvino fp32: misses its target of PQ 99.5 and depth 0.001 to fp32" in said[3]
    assert said[-1] == "backend auto keeps onnxruntime fp32 on cpu"


def test_auto_in_another_precision_is_still_measured_against_fp32(small_weights, monkeypatch):
    real = open_backend("torch", open_model(small_weights), device="cpu", precision="fp32", input_size=SIZE)
    opened = []
    monkeypatch.setattr(
        fastest_module,
        "open_backend",
        lambda name, model, *, precision, **_: opened.append(precision) or Fake(real, name, precision, 0.0),
    )
    monkeypatch.setattr(fastest_module, "choices", lambda *_: [("torch", "bf16")])
    assert fastest(open_model(small_weights), "cpu", "bf16", SIZE).precision == "bf16"
    assert opened == ["fp32", "bf16"]


def test_auto_without_its_reference_compares_nothing_and_says_so(small_weights, small_onnx, monkeypatch):
    real = open_backend("onnxruntime", open_model(small_onnx), device="cpu")

    def opened(name, model, *, precision, **_):
        if name == "torch":
            raise BackendError("out of memory")
        return Fake(real, name, precision, 1.0)  # far off, but from what?

    monkeypatch.setattr(fastest_module, "open_backend", opened)
    monkeypatch.setattr(fastest_module, "choices", lambda *_: [("onnxruntime", "fp32"), ("openvino", "fp32")])
    said = []
    assert fastest(open_model(small_weights), "cpu", "auto", SIZE, progress=said.append).precision == "fp32"
    assert said[0] == f"backend auto: torch fp32: out of memory{comparison.UNCOMPARED}"
    assert not any("misses" in line for line in said)


def test_auto_with_nothing_left_says_why(small_weights, monkeypatch):
    def opened(name, *_, **__):
        raise BackendError(f"{name} is broken")

    monkeypatch.setattr(fastest_module, "choices", lambda *_: [("openvino", "fp32")])
    monkeypatch.setattr(fastest_module, "open_backend", opened)
    with pytest.raises(BackendError, match=r"no backend can run.*available: torch.*openvino is broken"):
        fastest(open_model(small_weights), "cpu", "auto", SIZE)


def test_what_auto_chooses_from(small_weights, small_onnx):
    every = set(choices(open_model(small_weights), "cpu", "auto"))
    assert every >= {("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")}
    assert "fp16" not in {precision for _, precision in every}  # a CPU only stores it
    assert ("onnxruntime", "fp16") in choices(open_model(small_weights), "cpu", "fp16")
    assert "torch" not in dict(choices(open_model(small_onnx), "cpu", "auto"))


def test_auto_of_an_onnx_file_goes_without_pytorch(small_onnx):
    predictor = Predictor.load(small_onnx, backend="auto", device="cpu")
    assert predictor.backend_name in ("onnxruntime", "openvino")
    assert predictor.predict(np.zeros((*SIZE, 3), np.uint8)).panoptic.shape == SIZE

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dps_perception.camera import Intrinsics
from dps_perception.errors import BackendError, ConfigError, ImageError, ModelLoadError
from dps_perception.inference.backends.devices import pick_device, pick_precision
from dps_perception.inference.backends.torch_backend import fold_batch_norms
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.segments import FusionThresholds
from dps_perception.models.weights import METADATA_KEY, ModelInfo, find_weights, load_weights, save_weights

CONFIG = EfficientDPSConfig(
    backbone="resnet18", channels=8, num_queries=6, num_groups=3, norm="batch", backup_depth=True,
    auxiliary_semantic=True,
)  # fmt: skip


def info(**changes):
    values = dict(
        model_id="tiny", preset="efficientdps_r18", config=CONFIG, label_space=CITYSCAPES,
        input_size=(64, 128), focal_px=100.0, min_depth_m=0.5, max_depth_m=88.0, training={"steps": 0},
    )  # fmt: skip
    return ModelInfo(**{**values, **changes})


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = EfficientDPS(CONFIG)
    with torch.no_grad():  # statistics and queries that differ from their initial values
        network.train()(torch.randint(0, 256, (2, 64, 128, 3), dtype=torch.uint8))
        network.class_head[-1].bias += 4
    return network


@pytest.fixture
def weights(tmp_path, network):
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network, info())
    return path


def edit(path, **changes):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    save_file(load_file(path), path, {METADATA_KEY: json.dumps({**metadata, **changes})})


def test_round_trip_keeps_the_first_group(weights, network):
    loaded, model = load_weights(weights)
    assert model.config.num_groups == 1
    assert model.label_space == CITYSCAPES
    assert (model.input_size, model.focal_px, len(model.weights_sha256)) == ((64, 128), 100.0, 64)
    image = torch.randint(0, 256, (1, 64, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected, got = network.eval()(image), loaded(image)
    assert got["class_logits"].shape == (1, 6, 19)
    for name in ("class_logits", "mask_logits", "depth_logits"):
        torch.testing.assert_close(got[name], expected[name][:, :6], rtol=0.05, atol=0.02)  # stored as fp16


def test_missing_file_lists_what_is_shipped(tmp_path):
    with pytest.raises(ModelLoadError, match=r"nowhere\.safetensors.*shipped"):
        find_weights(tmp_path / "nowhere.safetensors")


def test_truncated_file(weights):
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelLoadError, match="truncated"):
        load_weights(weights)


def test_foreign_file(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelLoadError, match="not written by dps_train"):
        load_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "yolo"}, "family 'yolo'.*efficientdps"),
        ({"format": 99}, "format 99"),
        ({"label_space": {"name": "two", "classes": [{"name": "a", "is_thing": True, "color": [1, 2, 3]}]}}, "'two'"),
        ({"config": {"channles": 8}}, "channels"),
        ({"focal_px": None}, "damaged"),
    ],
)
def test_wrong_metadata_is_named(weights, changes, message):
    edit(weights, **changes)
    with pytest.raises(ModelLoadError, match=message):
        load_weights(weights)


def test_tensors_that_do_not_fit_are_named(weights):
    edit(weights, config={**CONFIG.to_dict(), "channels": 16, "num_groups": 1, "auxiliary_semantic": False})
    with pytest.raises(ModelLoadError, match="expected"):
        load_weights(weights)


def test_saving_checks_the_label_space(tmp_path, network):
    two = LabelSpace("two", (ClassInfo("a", True, (1, 2, 3)), ClassInfo("b", False, (1, 2, 3))))
    with pytest.raises(ConfigError, match=r"2 classes.*19"):
        save_weights(tmp_path / "x.safetensors", network, info(label_space=two))
    assert list(tmp_path.iterdir()) == []


def test_folding_batch_norms_changes_nothing(network):
    image = torch.randint(0, 256, (1, 64, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        before = network.eval()(image)
        after = fold_batch_norms(network)(image)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-4)


def test_predictor_answers_on_the_image_grid(weights):
    predictor = Predictor.load(weights, precision="fp32", thresholds=FusionThresholds(score_things=0, score_stuff=0))
    image = np.random.default_rng(0).integers(0, 256, (50, 130, 3), dtype=np.uint8)
    prediction = predictor.predict(image)
    for array in (prediction.panoptic, prediction.depth_m, prediction.confidence):
        assert array.shape == (50, 130)
    assert np.isfinite(prediction.depth_m).all()
    assert set(prediction.timings_ms) == {"preprocess", "inference", "fusion"}
    assert (predictor.backend_name, predictor.precision, predictor.device) == ("torch", "fp32", "cpu")


def test_images_prepared_ahead_are_answered_as_one_by_one(weights):
    predictor = Predictor.load(weights, precision="fp32", thresholds=FusionThresholds(score_things=0, score_stuff=0))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 128, 3), dtype=np.uint8)
    expected = [predictor.predict(image) for image in images]
    prepared = [predictor.prepare(image) for image in images]
    seen = [predictor.fuse(predictor.infer(each), each) for each in prepared]
    for one, other in zip(seen, expected, strict=True):  # the first is unchanged by the second
        np.testing.assert_array_equal(one.panoptic, other.panoptic)
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
        np.testing.assert_array_equal(one.confidence, other.confidence)
    assert all(one.timings_ms.keys() == {"preprocess", "inference", "fusion"} for one in seen)


def test_depth_follows_the_cameras_focal_length(weights):
    predictor = Predictor.load(weights, precision="fp32")
    image = np.zeros((64, 128, 3), np.uint8)
    at = lambda f: predictor.predict(image, Intrinsics(f, f, 63.5, 31.5, 64, 128)).depth_m  # noqa: E731
    np.testing.assert_allclose(at(150.0), 1.5 * at(100.0), rtol=1e-5)
    np.testing.assert_allclose(at(100.0), predictor.predict(image).depth_m, rtol=1e-5)
    # The same camera at twice the image size: the same focal length at the network's input, the same depth.
    big = predictor.predict(np.zeros((128, 256, 3), np.uint8), Intrinsics(200.0, 200.0, 127.5, 63.5, 128, 256)).depth_m
    assert big.mean() == pytest.approx(at(100.0).mean(), rel=1e-3)
    # Depth is tied to the focal length in network pixels, so another input size doubles it before the network speaks.
    double = Predictor.load(weights, precision="fp32", input_size=(128, 256))
    known = double.predict(image, Intrinsics(100.0, 100.0, 63.5, 31.5, 64, 128)).depth_m
    np.testing.assert_allclose(known, double.predict(image).depth_m, rtol=1e-5)
    np.testing.assert_allclose(
        double.predict(image, Intrinsics(50.0, 50.0, 63.5, 31.5, 64, 128)).depth_m, known / 2, rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(0, 10, 3), (10, 10), (10, 10, 4)])
def test_predictor_refuses_what_is_no_image(weights, shape):
    with pytest.raises(ImageError, match="expected non-empty"):
        Predictor.load(weights).predict(np.zeros(shape, np.uint8))


def test_predictor_settings_are_checked(weights):
    with pytest.raises(ConfigError, match="multiples of 32"):
        Predictor.load(weights, input_size=(100, 128))
    with pytest.raises(ConfigError, match="tpu"):
        Predictor.load(weights, device="tpu")
    with pytest.raises(ConfigError, match="int3"):
        Predictor.load(weights, precision="int3")


def test_closed_backend_says_so(weights):
    predictor = Predictor.load(weights)
    predictor.close()
    with pytest.raises(BackendError, match="closed"):
        predictor.warm_up()


def test_missing_gpu_is_an_error_not_a_fallback():
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match="GPUs"):
        pick_device(absent)


def test_auto_precision_is_one_the_device_has():
    assert pick_precision("auto", torch.device("cuda:0")) == "fp16"
    assert pick_precision("auto", torch.device("cpu")) in ("bf16", "fp32")

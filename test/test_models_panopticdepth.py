import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dps_perception.benchmark.count import count
from dps_perception.errors import ConfigError
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.registry import open_backend
from dps_perception.inference.export import ExportOptions, differences, export_onnx, random_image
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES, pack
from dps_perception.models.deformable import TAPS, DeformableConv
from dps_perception.models.families import build, preset
from dps_perception.models.panopticdepth import PanopticDepth, SemanticPyramid
from dps_perception.models.panopticdepth_config import PanopticDepthConfig
from dps_perception.models.weights import ModelInfo, load_weights, save_weights

LEVELS = {3: (12, 20), 4: (6, 10), 5: (3, 5), 6: (2, 3), 7: (1, 2)}
"""Of 96x160, which is no multiple of 64 or 128."""


def tiny(**changes):
    return PanopticDepthConfig(**{"backbone": "resnet18", "channels": 8, "depth_channels": 4, **changes})


def image(height=96, width=160, batch=1):
    return torch.from_numpy(np.concatenate([random_image((height, width), seed) for seed in range(batch)]))


@pytest.mark.parametrize(
    ("changes", "params", "macs"),
    [({}, 42e6, 610e9), ({"depth": ""}, 38e6, 570e9)],  # the paper's tables
)
def test_size_of_the_reference_configuration(changes, params, macs):
    counted = count(preset("panopticdepth_r50", **changes), (1024, 2048))
    assert counted["params"] == pytest.approx(params, rel=0.03)
    assert counted["macs"] == pytest.approx(macs, rel=0.03)


def test_the_small_preset_asks_nothing_unusual_of_a_runtime():
    network = PanopticDepth(preset("panopticdepth_r18", channels=16))
    assert not any(isinstance(part, (DeformableConv, torch.nn.GroupNorm)) for part in network.modules())
    assert any(isinstance(part, DeformableConv) for part in PanopticDepth(tiny()).modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": "instanc"}, r"depth 'instanc' is not one of '', dense, instance.*did you mean 'instance'"),
        ({"depth_normalisation": "T3"}, "depth_normalisation 'T3' is not one of '', T1, T2"),
        ({"similarity": 1.5}, "similarity is 1.5; it must be positive, and at most 1"),
        ({"depth_channels": 0}, "depth_channels is 0"),
        ({"depth_channels": 2.5}, "whole number"),
        ({"thing_classes": [13, 11]}, "ascending class ids below 19"),
        ({"thing_classes": []}, "a label space without things is for family efficientdps"),
        ({"kernel_fusio": False}, "kernel_fusion"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PanopticDepthConfig.from_dict(changes)


def test_a_config_survives_json_and_follows_the_label_space():
    config = tiny(thing_classes=[1, 2], num_classes=3)
    assert PanopticDepthConfig.from_dict(config.to_dict()) == config
    assert config.for_classes(CITYSCAPES).thing_classes == tuple(range(11, 19))
    assert [tiny(depth=depth).has_depth for depth in ("", "dense", "instance")] == [False, True, True]


@pytest.mark.parametrize(
    ("changes", "depth"),
    [
        ({}, {"depth_embedding": 4, **{f"depth_kernels_{n}": 6 for n in LEVELS}}),
        ({"depth": "dense", "deformable": False, "norm": "batch"}, {"depth_embedding": 1}),
        ({"depth": "", "backbone": "swin_t"}, {}),
    ],
)
def test_named_tensors(changes, depth):
    network = PanopticDepth(tiny(num_classes=5, thing_classes=(3, 4), **changes)).eval()
    with torch.no_grad():
        outputs = network(image(batch=2))
    channels = {"mask_embedding": 8, **depth}
    for n in LEVELS:
        channels |= {f"positions_{n}": 2 + 5, f"thing_kernels_{n}": 8, f"stuff_kernels_{n}": 8}
    places = {name: LEVELS[int(name[-1])] if name[-1].isdigit() else (24, 40) for name in channels}
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {k: (2, c, *places[k]) for k, c in channels.items()}


def test_positions_start_at_a_probability_of_a_tenth_and_depth_in_the_middle():
    with torch.no_grad():
        outputs = PanopticDepth(tiny()).eval()(image())
    assert float(outputs["positions_4"].sigmoid().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(outputs["depth_kernels_4"][:, -2:].sigmoid().mean()) == pytest.approx(0.5, abs=0.1)


def test_the_semantic_pyramid_doubles_each_level_to_the_finest():
    pyramid = SemanticPyramid(8, "none")
    assert [len(branch) for branch in pyramid.branches] == [1, 1, 2, 3]
    for branch in pyramid.branches:
        for conv in branch:
            torch.nn.init.dirac_(conv[0].weight)
    levels = [torch.full((1, 8, 16 >> n, 24 >> n), 10.0**n) for n in range(4)]
    torch.testing.assert_close(pyramid(levels), torch.full((1, 8, 16, 24), 1111.0))


def test_a_deformable_convolution_starts_as_half_a_plain_one():
    conv, x = DeformableConv(3, 5), torch.randn(2, 3, 6, 7)
    torch.testing.assert_close(conv(x), 0.5 * F.conv2d(x, conv.weight, padding=1))


def test_offsets_move_the_taps_down_and_right():
    conv, x = DeformableConv(3, 5), torch.randn(1, 3, 8, 9)
    with torch.no_grad():
        conv.offset.bias[: 2 * TAPS : 2] = 1.0  # rows
        conv.offset.bias[1 : 2 * TAPS : 2] = 2.0  # columns
        conv.offset.bias[2 * TAPS :] = 50.0  # modulation one
    moved = F.conv2d(x, conv.weight, padding=1)[:, :, 2:-1, 3:-1]
    torch.testing.assert_close(conv(x)[:, :, 1:-2, 1:-3], moved, rtol=1e-4, atol=1e-5)


def test_deformable_convolutions_run_where_autocast_mixes_types():
    network = PanopticDepth(tiny()).eval()
    with torch.no_grad():
        exact = network(image())
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(image())
    for name, (_, share) in differences(exact, mixed).items():
        assert share < 0.1, name


def stirred(config):
    """A network whose offsets, norms and switches all have something to say."""
    torch.manual_seed(0)
    network = build(config).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, DeformableConv):
                part.offset.weight.normal_(std=0.2)
                part.offset.bias.normal_()
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_(std=0.1)
                part.running_var.uniform_(0.5, 2)
    return network


def info_of(config, size=(96, 160)):
    return ModelInfo("tiny", "panopticdepth_r18", config, CITYSCAPES, size, 100.0, 0.5, 88.0, weights_sha256="ab" * 32)


def test_saved_weights_give_the_same_tensors(tmp_path):
    config = tiny(similarity=0.9, kernel_fusion=False)
    network = stirred(config)
    save_weights(tmp_path / "tiny.safetensors", network, info_of(config), torch.float32)
    loaded, info = load_weights(tmp_path / "tiny.safetensors")
    assert (info.config, info.family) == (config, "panopticdepth")
    with torch.no_grad():
        expected, seen = network(image()), loaded.eval()(image())
    assert all(torch.equal(tensor, seen[name]) for name, tensor in expected.items())


def test_a_predictor_of_the_weights_answers_on_the_images_own_grid(tmp_path):
    network = stirred(tiny(max_depth_m=50.0))
    with torch.no_grad():
        network.positions.bias[8] += 9.0  # road everywhere
        network.depth_kernels.weight.zero_()  # depth: the middle of the range
    save_weights(tmp_path / "tiny.safetensors", network, info_of(network.config, (64, 96)))
    predictor = Predictor.load(tmp_path / "tiny.safetensors", precision="fp32", device="cpu")
    prediction = predictor.predict(random_image((70, 101))[0])
    assert prediction.panoptic.shape == prediction.depth_m.shape == (70, 101)
    assert (prediction.panoptic == pack(0, 0)).all()
    np.testing.assert_allclose(prediction.depth_m, 25.0, rtol=1e-3)


def test_onnx_runtime_gives_the_same_tensors(tmp_path):
    # Both kinds of convolutions and norms in one file: an export takes seconds.
    config = tiny(norm="batch")
    network, size = stirred(config), (96, 160)
    with torch.no_grad():
        expected = network(image(*size))
    export_onnx(network, info_of(config, size), ExportOptions(size), tmp_path / "tiny.onnx")
    backend = open_backend("onnxruntime", open_model(tmp_path / "tiny.onnx"), device="cpu", precision="fp32")
    for name, (_, share) in differences(expected, backend.run(random_image(size))).items():
        assert share < 1e-3, name

"""Real-Time Panoptic's network: its size, its named tensors, its switches, and its way into files and back."""

from dataclasses import replace

import pytest
import torch

from dps_perception.benchmark.count import count, parameters
from dps_perception.errors import ConfigError
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.registry import open_backend
from dps_perception.inference.export import ExportOptions, export_onnx, random_image
from dps_perception.labels import CITYSCAPES, COCO_PANOPTIC
from dps_perception.models.families import preset
from dps_perception.models.realtime_panoptic import LARGEST_PX, RealtimePanoptic, _together
from dps_perception.models.realtime_panoptic_config import STRIDES, RealtimePanopticConfig
from dps_perception.models.weights import ModelInfo, load_weights, save_weights

LEVELS = {3: (8, 12), 4: (4, 6), 5: (2, 3), 6: (1, 2), 7: (1, 1)}  # of 64 x 96: the last two reach beyond the image
SWITCHES = [{}, {"two_towers": False}, {"levelness": False}, {"depth": True}, {"norm": "batch", "depth": True}]


def tiny(**changes):
    return RealtimePanopticConfig(**{"backbone": "resnet18", "channels": 8, "semantic_channels": 16, **changes})


def network_of(seed=0, **changes):
    torch.manual_seed(seed)
    return RealtimePanoptic(tiny(**changes)).eval()


def noise(*size, batch=1):
    return torch.from_numpy(random_image(size)).expand(batch, -1, -1, -1)


def test_size_of_the_papers_network():
    counted = count(preset("realtime_panoptic_r50"), (1024, 2048))
    assert counted["params"] == pytest.approx(30.6e6, rel=0.01)
    assert counted["macs"] == pytest.approx(352.8e9, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "params"),
    [
        # The tower: one 256 -> 128 and three 128 -> 128 convolutions with norms; both heads on it become wider.
        (
            {"two_towers": False},
            -(9 * 256 * 128 + 3 * 9 * 128 * 128 + 4 * 256) + 9 * 128 * 8 + 9 * 5 * 128 * 19,
        ),
        ({"levelness": False}, -(9 * 5 * 256 * 6 + 6)),
        ({"depth": True}, 9 * 5 * 128 + 1),
    ],
)
def test_switches_cost_what_they_add(changes, params):
    config = preset("realtime_panoptic_r50")
    with torch.device("meta"):
        sizes = [parameters(RealtimePanoptic(c)) for c in (config, replace(config, **changes))]
    assert sizes[1] - sizes[0] == params


@pytest.mark.parametrize("changes", SWITCHES)
def test_named_tensors(changes):
    expected = {"semantic_logits": (2, 19, 8, 12)}
    for level, cells in LEVELS.items():
        for name, channels in (("box_classes", 8), ("boxes", 4), ("centreness", 1)):
            expected[f"{name}_{level}"] = (2, channels, *cells)
    if changes.get("levelness", True):
        expected["levelness"] = (2, 6, 16, 24)
    if changes.get("depth"):
        expected["depth_logits"] = (2, 1, 8, 12)
    outputs = network_of(**changes)(noise(64, 96, batch=2))
    assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == expected
    assert all(tensor.isfinite().all() for tensor in outputs.values())


def test_distances_are_positive_and_each_level_has_a_scale_of_its_own():
    network = network_of()
    torch.nn.init.zeros_(network.boxes.weight)
    torch.nn.init.constant_(network.boxes.bias, 2.0)
    with torch.no_grad():
        network.scales[2] = 0.5
        outputs = network(noise(64, 96))
    for index, (level, stride) in enumerate(STRIDES.items()):
        expected = stride * torch.tensor(1.0 if index == 2 else 2.0).exp()
        torch.testing.assert_close(outputs[f"boxes_{level}"], expected.expand(1, 4, *LEVELS[level]))


def test_distances_stay_within_what_half_precision_holds():
    network = network_of()
    torch.nn.init.constant_(network.boxes.bias, 60.0)
    with torch.no_grad():
        outputs = network(noise(64, 64))
    for level in STRIDES:
        torch.testing.assert_close(outputs[f"boxes_{level}"].max(), torch.tensor(LARGEST_PX))


def test_class_scores_start_at_a_hundredth():
    network = network_of()
    torch.nn.init.zeros_(network.box_classes.weight)
    probability = network(noise(64, 96))["box_classes_3"].sigmoid()
    torch.testing.assert_close(probability, torch.full_like(probability, 0.01))


@pytest.mark.parametrize(("two_towers", "shared"), [(True, False), (False, True)])
def test_what_each_tower_serves(two_towers, shared):
    network = network_of(two_towers=two_towers)
    outputs = network(noise(64, 96))
    (outputs["box_classes_3"].sum() + outputs["semantic_logits"].sum()).backward(retain_graph=True)
    assert (network.localisation[0][0].weight.grad is not None) == shared
    network.zero_grad()
    (outputs["boxes_3"].sum() + outputs["centreness_3"].sum() + outputs["levelness"].sum()).backward()
    assert network.localisation[0][0].weight.grad.abs().sum() > 0
    if two_towers:
        assert network.semantic_tower[0][0].weight.grad is None


def test_levels_lie_where_they_see_also_where_the_coarsest_reaches_beyond_the_image():
    # Each cell tells the x of its middle: side by side, away from the edge, all levels tell that of the finer cell.
    height, width = 96, 480  # 480 / 128 is 3.75
    levels = []
    for stride in STRIDES.values():
        rows, columns = -(-height // stride), -(-width // stride)
        levels.append(((torch.arange(columns) + 0.5) * stride).expand(1, 1, rows, columns))
    for stride in (4, 8):
        joined = _together(levels, torch.empty(1, height, width, 3), stride)
        assert joined.shape == (1, 5, height // stride, width // stride)
        middle = (torch.arange(width // stride) + 0.5) * stride
        inner = (middle > 64) & (middle < 448)  # the coarsest level's first and last middle
        expected = middle[inner].expand(5, height // stride, -1)
        torch.testing.assert_close(joined[0][:, :, inner], expected)


def test_boxes_keep_full_precision():
    network = network_of()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = network(noise(64, 96))
    assert outputs["box_classes_3"].dtype == torch.bfloat16
    assert {outputs[f"boxes_{level}"].dtype for level in STRIDES} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet81"}, "backbone 'resnet81'.*resnet18"),
        ({"norm": "layer"}, "norm 'layer' is not one of none, batch, group"),
        ({"channels": 0}, "channels is 0; it must be positive"),
        ({"semantic_channels": 5000}, "semantic_channels is 5000; .*at most 4096"),
        ({"semantic_channels": 8.0}, "semantic_channels is 8.0; it must be a whole number"),
        ({"channels": 4}, "channels is 4; with norm 'group' it must be a multiple of 8"),
        ({"semantic_channels": 100}, "semantic_channels is 100; with norm 'group' it must be a multiple of 8"),
        ({"levelness": "false"}, "levelness is 'false'; it must be true or false"),
        ({"thing_classes": ()}, r"thing_classes \[\]: .*at least one"),
        ({"thing_classes": (12, 11)}, "ascending class ids below 19"),
        ({"thing_classes": (11, 19)}, "ascending class ids below 19"),
        ({"thing_classes": (11.0,)}, "ascending class ids below 19"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**changes)


def test_other_norms_take_any_width():
    assert tiny(norm="batch", channels=6, semantic_channels=3).channels == 6


def test_presets_for_other_label_spaces():
    config = preset("realtime_panoptic_r18").for_classes(COCO_PANOPTIC)
    assert (config.num_classes, len(config.thing_classes)) == (133, 80)
    assert config.has_depth
    assert not preset("realtime_panoptic_r50").has_depth
    assert RealtimePanopticConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="semantic_channels"):
        RealtimePanopticConfig.from_dict({"semantic_chanels": 3})
    with pytest.raises(ConfigError, match="levelnes"):
        preset("realtime_panoptic_r18", levelnes=False)


def info_of(config):
    return ModelInfo("tiny", "realtime_panoptic_r18", config, CITYSCAPES, (64, 128), 100.0, 0.5, 88.0)


@pytest.mark.parametrize("changes", SWITCHES[-2:])
def test_weights_files_give_the_same_outputs(changes, tmp_path):
    network, image = network_of(**changes), noise(64, 96)
    save_weights(tmp_path / "tiny.safetensors", network, info_of(network.config), torch.float32)
    loaded, info = load_weights(tmp_path / "tiny.safetensors")
    assert info.config == network.config
    expected, seen = network(image), loaded(image)
    assert list(expected) == list(seen)
    assert all(torch.equal(expected[name], seen[name]) for name in expected)


@pytest.mark.parametrize("size", [(64, 128), (96, 160)])
def test_onnx_runtime_gives_the_same_tensors(size, tmp_path):
    network = network_of(norm="batch" if size == (64, 128) else "group", depth=True)
    for tower in (network.localisation, network.semantic_tower):  # so that folding batch norms has something to fold
        for block in tower:
            torch.nn.init.uniform_(block[1].weight, 0.5, 2.0)
            torch.nn.init.uniform_(block[1].bias, -0.5, 0.5)
    images = random_image(size)
    with torch.no_grad():
        expected = network(torch.from_numpy(images))
    path = tmp_path / "tiny.onnx"
    export_onnx(network, replace(info_of(network.config), weights_sha256="ab" * 32), ExportOptions(size), path)
    seen = open_backend("onnxruntime", open_model(path), device="cpu", precision="fp32").run(images)
    assert list(seen) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(seen[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")

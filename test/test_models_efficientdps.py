import json

import pytest
import torch

from dps_perception.benchmark import cli, count
from dps_perception.errors import ConfigError
from dps_perception.models.efficientdps import EfficientDPS, QueryNetwork
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.families import preset

# Parameters (M) and multiply-adds (G) of the reference configuration, worked out from the paper's tables I and II.
REFERENCE = [
    ("efficientdps_r50", (1024, 2048), False, 36.56, 492.6),
    ("efficientdps_r50", (1024, 2048), True, 33.40, 393.9),
    ("efficientdps_swin_b", (1024, 2048), False, 99.00, 1023.0),
]


@pytest.mark.parametrize(("name", "size", "panoptic_only", "params", "macs"), REFERENCE)
def test_size_of_the_reference_configuration(name, size, panoptic_only, params, macs, tmp_path):
    argv = ["--count", "--preset", name, "--size", f"{size[0]}x{size[1]}", "--json", str(tmp_path / "c.json")]
    cli.command(argv + ["--panoptic-only"] * panoptic_only)
    counted = json.loads((tmp_path / "c.json").read_text())
    assert counted["params"] == pytest.approx(params * 1e6, rel=0.01)
    assert counted["macs"] == pytest.approx(macs * 1e9, rel=0.01)


def test_the_small_preset_is_small():
    counted = count.count(preset("efficientdps_r18"), (512, 1024))
    assert 13e6 < counted["params"] < 16e6
    assert counted["macs"] < 50e9


def test_one_convolution_counts_as_by_hand():
    # 3x3, 256 -> 256, bias: 9 * 256 * 256 + 256 parameters; one multiply-add per weight and output pixel.
    with torch.device("meta"):
        conv = torch.nn.Conv2d(256, 256, 3, padding=1)
        image = torch.empty(1, 256, 128, 256)
    with count.FlopCounterMode(display=False) as counter:
        conv(image)
    assert sum(p.numel() for p in conv.parameters()) == 590_080
    assert counter.get_total_flops() // 2 == 9 * 256 * 256 * 128 * 256


def tiny(**changes):
    values = dict(backbone="resnet18", channels=8, num_classes=5, num_queries=6, num_groups=2)
    return EfficientDPSConfig(**{**values, **changes})


@pytest.mark.parametrize("changes", [{}, {"query_wise_depth": False}, {"backup_depth": True}])
def test_what_works_on_queries_keeps_full_precision(changes):
    network = EfficientDPS(tiny(**changes)).eval()
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = network(image)
        assert network.neck(network.backbone(torch.rand(1, 3, 64, 64))).dtype == torch.bfloat16
    assert {name: tensor.dtype for name, tensor in outputs.items()} == dict.fromkeys(outputs, torch.float32)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"class_logits": (2, 12, 5), "mask_logits": (2, 12, 8, 12), "depth_logits": (2, 12, 8, 12)}),
        ({"task_decoupled": False}, {"depth_logits": (2, 12, 8, 12)}),
        ({"query_wise_depth": False}, {"depth_logits": (2, 1, 8, 12)}),
        ({"backup_depth": True}, {"backup_depth_logits": (2, 1, 8, 12)}),
        ({"auxiliary_semantic": True}, {"semantic_logits": (2, 5, 8, 12)}),
        ({"backbone": "swin_t"}, {"mask_logits": (2, 12, 8, 12)}),
    ],
)
def test_named_tensors(changes, expected):
    network = EfficientDPS(tiny(**changes)).train()
    outputs = network(torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8))
    assert {k: tuple(outputs[k].shape) for k in expected} == expected


def test_panoptic_only_has_no_depth():
    network = EfficientDPS(tiny(depth=False)).eval()
    assert set(network(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))) == {"class_logits", "mask_logits"}


def test_ablation_switches_change_the_parameters_they_name():
    def names(**changes):
        return {n.split(".")[0] + "." + n.split(".")[1] for n, _ in EfficientDPS(tiny(**changes)).named_parameters()}

    full = names()
    assert full - names(task_decoupled=False) == {"queries.depth_map"}
    assert "dense_depth.weight" in names(query_wise_depth=False)
    assert not any(n.startswith("depth_kernel") for n in names(query_wise_depth=False))


def test_queries_are_activation_weighted_means():
    # A query is the mean of the feature map weighted by its activation map; equal activations give the plain mean.
    queries = QueryNetwork(tiny(num_groups=1))
    torch.nn.init.zeros_(queries.activation.weight)
    semantic, depth, semantic_map, depth_map, activation = queries(torch.randn(1, 10, 4, 6))
    torch.testing.assert_close(activation, torch.full((1, 6, 24), 1 / 24))
    torch.testing.assert_close(semantic[0, 3], semantic_map[0].mean((1, 2)))
    torch.testing.assert_close(depth[0, 5], depth_map[0].mean((1, 2)))


def test_normalisation_is_inside():
    network = EfficientDPS(tiny()).eval()
    seen = []
    network.backbone.stem.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(torch.full((1, 64, 64, 3), 200, dtype=torch.uint8))
    expected = [(200 - 123.675) / 58.395, (200 - 116.28) / 57.12, (200 - 103.53) / 57.375]  # ImageNet statistics
    torch.testing.assert_close(seen[0][0, :, 5, 7], torch.tensor(expected))


def test_unknown_settings_name_the_nearest():
    with pytest.raises(ConfigError, match="efficientdps_r18"):
        preset("efficientdps_r19")
    with pytest.raises(ConfigError, match="num_queries"):
        EfficientDPSConfig.from_dict({"num_querys": 3})
    with pytest.raises(ConfigError, match="resnet18"):
        EfficientDPSConfig(backbone="resnet81")


def test_frozen_parts_keep_weights_and_statistics():
    network = EfficientDPS(preset("efficientdps_r18", channels=16)).train()
    network.freeze(["backbone", "queries.semantic_map"])
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    outputs = network.train()(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    torch.stack([v.float().square().mean() for v in outputs.values()]).sum().backward()
    optimizer.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert not any(k.startswith(("backbone.", "queries.semantic_map.")) for k in changed)
    assert any(k.startswith("depth_embedding.") for k in changed)


def test_frozen_batch_norms_stay_while_convolutions_learn_also_when_they_are_replaced():
    network = EfficientDPS(preset("efficientdps_r18", channels=16)).train()
    network.freeze_batch_norms()
    network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    norms = [part for part in network.backbone.modules() if isinstance(part, torch.nn.SyncBatchNorm)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert all(weight.requires_grad for name, weight in network.named_parameters() if weight.ndim > 1)
    others = {part for part in network.modules() if isinstance(part, torch.nn.SyncBatchNorm)} - set(norms)
    assert others
    assert all(norm.training for norm in others)


def test_freezing_an_unknown_part_names_the_nearest():
    network = EfficientDPS(preset("efficientdps_r18", channels=16))
    with pytest.raises(ConfigError, match=r"no part 'backbon'.*backbone"):
        network.freeze(["backbon"])

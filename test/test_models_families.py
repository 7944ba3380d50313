"""Every family is built, fused, stored and compared in the same way; a run can't be given another family's settings."""

import json
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import training_rig as rig

from dps_perception.benchmark import cli as benchmark
from dps_perception.benchmark.count import count
from dps_perception.benchmark.families import same_runtime
from dps_perception.errors import ConfigError, ModelLoadError
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace
from dps_perception.models.families import FAMILIES, PRESETS, build, family_of, preset, warm_up
from dps_perception.models.segments import FusionThresholds
from dps_perception.models.weights import ModelInfo, find_weights, load_weights, read_info, save_weights
from dps_perception.training import cli as training
from dps_perception.training.objectives import OBJECTIVES, losses_of
from dps_perception.types import OutputGrid

SMALL = {
    "efficientdps": dict(channels=8, num_queries=6),
    "panopticdepth": dict(channels=8, depth_channels=4),
    "realtime_panoptic": dict(channels=8, semantic_channels=8),
}
PETS = LabelSpace("pets", (ClassInfo("cat", True, (1, 2, 3)), ClassInfo("floor", False, (4, 5, 6))))


def small(family, **changes):
    return preset(f"{family}_r18", **SMALL[family], **changes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of each family that nobody has trained."""
    files = {}
    for family in FAMILIES:
        torch.manual_seed(0)
        config = small(family)
        info = ModelInfo(family, f"{family}_r18", config, CITYSCAPES, (64, 128), 100.0, 0.5, 88.0)
        files[family] = tmp_path_factory.mktemp("families") / f"{family}.safetensors"
        save_weights(files[family], build(config), info)
    return files


def test_every_preset_belongs_to_the_family_that_its_name_begins_with():
    for name, config in PRESETS.items():
        assert name.startswith(f"{config.family}_")
        assert family_of(config) is FAMILIES[config.family]
        assert family_of(config).config is type(config)
    assert set(FAMILIES) == set(OBJECTIVES)
    with pytest.raises(ConfigError, match="did you mean 'panopticdepth_r18'"):
        preset("panopticdeth_r18")
    with pytest.raises(ConfigError, match="num_queries"):
        preset("panopticdepth_r18", num_queries=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_goes_through_json_and_to_other_classes(family):
    config = small(family)
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.fits(CITYSCAPES)
    pets = config.for_classes(PETS)
    assert pets.fits(PETS)
    assert not pets.fits(CITYSCAPES)
    assert not config.without_depth().has_depth
    assert count(config.without_depth(), (64, 128))["params"] < count(config, (64, 128))["params"]
    with pytest.raises(ConfigError, match="unknown model setting 'chanels'"):
        type(config).from_dict({"chanels": 8})


def test_classes_that_differ_only_in_what_is_a_thing_are_told_apart():
    config = small("panopticdepth").for_classes(PETS)
    assert config.thing_classes == (0,)
    turned = LabelSpace("turned", tuple(ClassInfo(c.name, not c.is_thing, c.color) for c in PETS.classes))
    assert not config.fits(turned)
    with pytest.raises(ConfigError, match="a label space without things is for family efficientdps"):
        config.for_classes(LabelSpace("floors", (ClassInfo("floor", False, (4, 5, 6)),)))


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_say_what_they_are_and_run(family, weights):
    network, info = load_weights(weights[family])
    assert (info.family, type(network)) == (family, FAMILIES[family].network)
    predictor = Predictor.load(weights[family], device="cpu", precision="fp32")
    predictor.warm_up()
    prediction = predictor.predict(np.random.default_rng(0).integers(0, 256, (48, 100, 3), np.uint8))
    assert prediction.panoptic.shape == prediction.depth_m.shape == (48, 100)
    assert predictor.describe()["depth"] == "estimated"
    predictor.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_warm_up_needs_no_weights(family):
    warm_up(small(family), CITYSCAPES, torch.device("cpu"))
    warm_up(small(family).without_depth(), CITYSCAPES, torch.device("cpu"))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_network_saw_beyond_the_image_changes_nothing(family):
    """The network's input is padded on the right and below; what is found there is not of the image."""
    config = small(family, **({"backup_depth": True} if family == "efficientdps" else {})).for_inference()
    network, image = build(config).eval(), torch.zeros(1, 128, 256, 3, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        shapes = {name: tensor.shape for name, tensor in network(image).items()}
    tensors = {name: 4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in (name for name in tensors if name.startswith("boxes")):
        tensors[name] = tensors[name].abs() * 8
    grid = OutputGrid(100, 150, 0.64, 0.64)  # 64 x 96 pixels of the input
    other = {name: tensor.clone() for name, tensor in tensors.items()}
    for tensor in (tensor for tensor in other.values() if tensor.dim() == 4):
        rows, columns = (-(-128 // tensor.shape[2]), -(-256 // tensor.shape[3]))
        tensor[:, :, -(-64 // rows) :] = 9.0
        tensor[:, :, :, -(-96 // columns) :] = 9.0
    limits = FusionThresholds(score_things=0.1, score_stuff=0.1, overlap=0.1)
    fuse = FAMILIES[family].fuse
    one, two = (fuse(seen, config, CITYSCAPES, limits, grid) for seen in (tensors, other))
    assert len(one.segments) > 2
    assert one.segments == two.segments
    np.testing.assert_array_equal(one.panoptic, two.panoptic)
    np.testing.assert_array_equal(one.depth_m, two.depth_m)


def test_weights_of_another_family_are_refused_by_the_metadatas_config(weights, tmp_path):
    config = small("realtime_panoptic")
    info = ModelInfo("x", "x", config, CITYSCAPES, (64, 128), 100.0, 0.5, 88.0)
    torch.manual_seed(0)
    save_weights(tmp_path / "x.safetensors", build(small("panopticdepth")), info)
    with pytest.raises(ModelLoadError, match="does not fit its own config"):
        load_weights(tmp_path / "x.safetensors")
    with pytest.raises(ModelLoadError, match=r"a family \(efficientdps, panopticdepth, realtime_panoptic\)"):
        find_weights("panopticdeep")


def test_losses_of_another_family_are_not_passed_over_in_silence():
    run = training.parse(["--model.preset", "panopticdepth_r18", "--panopticdepth_loss.position", "2"])
    assert losses_of(run, preset(run.model.preset)).position == 2
    run = training.parse(["--model.preset", "panopticdepth_r18", "--loss.focus", "1"])
    with pytest.raises(ConfigError, match=r"loss.focus is of another family .* are set by panopticdepth_loss"):
        losses_of(run, preset(run.model.preset))


def test_families_side_by_side(weights, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- families -->\n<!-- /families -->\n")
    rig.write_folder(tmp_path / "data", val=2)
    benchmark.command([
        "--families", "--weights", *map(str, weights.values()), "--data", str(tmp_path / "data"), "--split", "val",
        "--device", "cpu", "--precision", "fp32", "--json", str(tmp_path / "out.json"), "--markdown", str(readme),
    ])  # fmt: skip
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["family"] for row in found["rows"]] == list(FAMILIES)
    for row in found["rows"]:
        assert row["params"] == count(small(row["family"]), (64, 128))["params"]
        times = {stage: row["times_ms"][stage]["median_ms"] for stage in ("inference", "fusion", "total")}
        assert 0 < times["inference"] < times["total"]
        assert {"pq", "pq_things", "pq_stuff", "dpq", "abs_rel", "rmse"} == row["scores"].keys()
    assert "2 images" in found["about"]
    assert readme.read_text().count("| Real-Time Panoptic | realtime_panoptic |") == 1
    assert "PanopticDepth" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--images 0"):
        benchmark.command(["--families", "--images", "0"])


def test_families_in_different_precisions_are_not_compared(weights):
    load = partial(Predictor.load, backend="torch", device="cpu")
    with (
        closing(load(weights["efficientdps"], precision="fp32")) as one,
        closing(load(weights["panopticdepth"], precision="bf16")) as other,
    ):
        assert same_runtime([one, one]) == ("torch", "fp32")
        expected = "efficientdps got torch fp32, panopticdepth got torch bf16; name --backend and --precision"
        with pytest.raises(ConfigError, match=expected):
            same_runtime([one, other])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_weights_of_a_family_go_by_its_name(family):
    path = find_weights(family)
    assert find_weights(Path(family)) == path
    info = read_info(path)
    assert info.family == family
    assert info.model_id == f"{family}_r18_street"
    assert info.scores["val_pq"] > 0
    assert path.stat().st_size < 40e6

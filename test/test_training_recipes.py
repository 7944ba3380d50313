"""The configs in config/train start on fixture data and make an optimisation step; the paper's stages are chained."""

import runpy
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torchvision
import yaml
from dataset_fixtures import write_cityscapes, write_cityscapes_dvps, write_coco, write_mapillary, write_semkitti
from dataset_fixtures_bag import write_lidar_bag

from dps_perception.models.families import preset
from dps_perception.models.weights import default_weights, load_weights, read_info
from dps_perception.training import cli
from dps_perception.training.objectives import losses_of

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "config" / "train"
WRITERS = {
    "coco": write_coco,
    "mapillary": write_mapillary,
    "cityscapes": write_cityscapes,
    "cityscapes_dvps": write_cityscapes_dvps,
    "semkitti_dvps": write_semkitti,
}
CHAIN = [
    "paper_1_coco",
    "paper_1b_mapillary",
    "paper_2_cityscapes",
    "paper_3_cityscapes_full",
    "paper_4_cityscapes_dps",
]
KITTI_CHAIN = ["paper_1_coco", "paper_3_semkitti", "paper_4_semkitti_dps"]
PANOPTICDEPTH_CHAIN = [
    "paper_panopticdepth_1_cityscapes",
    "paper_panopticdepth_2_cityscapes_full",
    "paper_panopticdepth_3_cityscapes_dps",
]
REALTIME_CHAIN = ["paper_realtime_panoptic_cityscapes"]
CHAINS = {
    "efficientdps-cityscapes": CHAIN,
    "efficientdps-semkitti": KITTI_CHAIN,
    "panopticdepth": PANOPTICDEPTH_CHAIN,
    "realtime_panoptic": REALTIME_CHAIN,
}
SMALLER = {
    "efficientdps": ["--model.preset=efficientdps_r18", "--model.changes.num_groups=2"],
    "panopticdepth": ["--model.preset=panopticdepth_r18"],
    "realtime_panoptic": ["--model.preset=realtime_panoptic_r18", "--model.changes.depth=false"],
}
SMALL = [
    "--model.changes.channels=16", "--data.input_size=[64,128]", "--data.workers=0", "--optimizer.batch_size=2",
    "--optimizer.accumulate=1", "--optimizer.steps=1", "--optimizer.warmup_steps=1", "--run.devices=1",
    "--run.accelerator=cpu", "--run.precision=32-true", "--run.validate_every=1", "--run.pictures=0",
]  # fmt: skip


def family_of(name):
    return next((family for family in ("panopticdepth", "realtime_panoptic") if family in name), "efficientdps")


def one_step(name, root, output, *more):
    config = cli.parse(["--config", str(CONFIGS / f"{name}.yaml"), *SMALLER[family_of(name)], *SMALL,
                        f"--data.root={root}", f"--run.output={output}", *more])  # fmt: skip
    return cli.train(config)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


@pytest.mark.parametrize("chain", CHAINS.values(), ids=list(CHAINS))
def test_the_papers_stages_make_a_step_each_and_hand_on_their_weights(chain, tmp_path, backbone, capsys):
    before = None
    for name in chain:
        settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        root = tmp_path / settings["data"]["format"]
        if not root.exists():
            WRITERS[settings["data"]["format"]](root)
        start = f"--model.backbone_weights={backbone}" if before is None else f"--model.init_from={before}"
        output = tmp_path / name
        network, info = load_weights(one_step(name, root, output, start))
        report = capsys.readouterr().out
        assert "tensors taken over" in report
        assert network.config.has_depth == ("dps" in name)
        assert info.family == family_of(name)
        assert info.training["steps"] == 1
        before = output
    if network.config.has_depth:  # what the last stage adds is fresh, and the report says so
        assert "fresh" in report
        assert {"efficientdps": "depth_map", "panopticdepth": "depth_tower"}[info.family] in report
    assert len(info.training["earlier_stages"]) == len(chain) - 1


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("paper_[0-9]*.yaml")), ids=lambda p: p.stem)
def test_the_papers_numbers(path):
    config = cli.parse(["--config", str(path)])
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (5e-5, 0.05)
    assert config.optimizer.schedule == "step"
    assert config.optimizer.milestones == (40 / 50, 46 / 50)
    assert preset(config.model.preset, **config.model.changes).num_groups == 8
    if path.stem == "paper_1_coco":
        images = config.optimizer.steps * config.optimizer.batch_size * config.run.devices
        assert images / 118287 == pytest.approx(50, rel=1e-3)
    if path.stem == "paper_4_cityscapes_dps":
        assert config.optimizer.steps == 10000
        assert config.data.augmentation.scale == (0.8, 1.2)
        assert config.data.augmentation.center_crop
        loss = config.loss
        assert (loss.classification, loss.bce, loss.dice, loss.depth) == (2.0, 5.0, 2.0, 1.0)
        assert (loss.points, loss.focus, loss.boundary_triplet, loss.depth_continuity) == (0, 0, 0, 0)


def images_a_step(config):
    return config.optimizer.batch_size * config.optimizer.accumulate * config.run.devices


@pytest.mark.parametrize(
    ("name", "steps", "rate", "images", "size"),
    [
        ("paper_panopticdepth_1_cityscapes", 130000, 1e-4, 32, (512, 1024)),
        ("paper_panopticdepth_2_cityscapes_full", 10000, 1e-5, 8, (1024, 2048)),
        ("paper_panopticdepth_3_cityscapes_dps", 10000, 1e-4, 8, (1024, 2048)),
    ],
)
def test_the_numbers_of_panopticdepth(name, steps, rate, images, size):
    config = cli.parse(["--config", str(CONFIGS / f"{name}.yaml")])
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.schedule, optimizer.steps, optimizer.learning_rate) == (
        "adam", "poly", steps, rate,
    )  # fmt: skip
    assert (images_a_step(config), tuple(config.data.input_size)) == (images, size)
    assert (config.model.freeze != ()) == config.model.frozen_batch_norms == (steps == 10000)
    loss = config.panopticdepth_loss
    assert (loss.position, loss.segmentation, loss.depth, loss.instance_depth) == (1, 4, 5, 1)


def test_the_numbers_of_realtime_panoptic():
    config = cli.parse(["--config", str(CONFIGS / "paper_realtime_panoptic_cityscapes.yaml")])
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.weight_decay) == ("sgd", 0.013, 1e-4)
    assert [round(share * optimizer.steps) for share in optimizer.milestones] == [36000, 44000]
    assert images_a_step(config) == 8
    assert config.model.frozen_batch_norms


def test_depth_from_a_robots_bag_leaves_the_rest_as_it_was(tmp_path):
    write_lidar_bag(tmp_path / "bags" / "drive", frames=30)
    weights = one_step(
        "robot_depth",
        tmp_path / "bags",
        tmp_path / "robot",
        "--model.changes.channels=128",
        "--optimizer.batch_size=1",
        "--data.topics.cloud=/points",
    )
    shipped, _ = load_weights(default_weights())
    learnt, info = load_weights(weights)
    changed = {
        name for name, value in learnt.state_dict().items() if not torch.equal(value, shipped.state_dict()[name])
    }
    assert changed
    assert all(name.startswith(("depth_embedding", "depth_kernel", "queries.depth_map")) for name in changed)
    assert info.training["dataset"] == "bags"
    assert info.training["config"]["data"]["topics"]["cloud"] == "/points"
    assert info.scores.keys() == {"val_abs_rel"}  # nothing has labels, so there is no PQ


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimisers_and_frozen_norms_of_the_papers(name, tmp_path):
    root = tmp_path / "data"
    write_cityscapes_dvps(root)
    more = ["--model.frozen_batch_norms=true", f"--optimizer.name={name}", "--optimizer.learning_rate=0.001"]
    weights = one_step("paper_panopticdepth_3_cityscapes_dps", root, tmp_path / "run", "--model.init_from=",
                       "--model.freeze=[]", *more)  # fmt: skip
    backbone = load_weights(weights)[0].backbone.state_dict()
    means = [value for key, value in backbone.items() if key.endswith("running_mean")]
    assert means
    assert not any(mean.any() for mean in means)  # as they were made
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0]
    assert ("betas" in state) == (name != "sgd")
    assert state.get("momentum") == (0.9 if name == "sgd" else None)
    assert bool(state.get("decoupled_weight_decay")) == (name == "adamw")


@pytest.fixture(scope="module")
def ablations():
    return runpy.run_path(str(ROOT / "tools" / "ablations.py"))


@pytest.mark.parametrize("family", SMALLER)
def test_each_row_of_the_ablations_changes_something_of_a_run_that_is_allowed(family, ablations):
    runs = []
    for options in ablations["STUDIES"][family].values():
        run = cli.parse(["--config", str(ablations["config_file"](family)), *options])
        network = preset(run.model.preset, **run.model.changes)
        runs.append((network, losses_of(run, network), run.data, run.run))
    assert network.family == family
    sparse = ablations["SPARSE"][0] in ablations["STUDIES"][family]  # the same as another row, on other data
    assert len({str(run) for run in runs}) == len(runs) - sparse
    shipped = read_info(default_weights(family)).config
    for changes in ablations["SWITCHES"].get(family, {}).values():
        assert changes.keys() <= {field.name for field in fields(shipped)}
        assert all(getattr(shipped, name) != value for name, value in changes.items())

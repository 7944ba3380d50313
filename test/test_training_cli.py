import csv
import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dps_perception import cli as cli_runner
from dps_perception.camera import Intrinsics
from dps_perception.data.dvps import write_sample
from dps_perception.errors import ConfigError, ModelLoadError, TrainingError
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES, pack
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.families import preset
from dps_perception.models.weights import default_weights, load_weights
from dps_perception.training import cli
from dps_perception.training.initialise import Start, initialise, read_start
from dps_perception.types import Sample

TINY_NETWORK = {"channels": 8, "num_queries": 8, "num_groups": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("dataset")
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            panoptic = np.zeros((64, 128), np.uint16)
            panoptic[:20] = pack(10, 0)
            panoptic[30:50, 20 + i : 60] = pack(13, 1)
            depth = np.linspace(40, 4, 64, dtype=np.float32)[:, None].repeat(128, 1)
            image = (random.integers(0, 60, (64, 128, 3)) + (panoptic[..., None] // 256) * 12).astype(np.uint8)
            write_sample(
                root, split, i, 0, Sample(image, panoptic, depth, Intrinsics(141, 141, 63.5, 31.5, 64, 128), "")
            )
    return root


def options(folder, output, steps=2, **more):
    config = {
        "model": {"changes": TINY_NETWORK},
        "data": {"root": str(folder), "input_size": [64, 128], "workers": 0, "focal_px": 140.0},
        "optimizer": {"batch_size": 2, "steps": steps, "warmup_steps": 1, "schedule": "poly"},
        "run": {"output": str(output), "validate_every": 1, "precision": "32-true", "accelerator": "cpu"},
    }
    for key, value in more.items():
        section, name = key.split("__")
        config[section][name] = value
    output.mkdir(parents=True, exist_ok=True)
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path)]


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    weights = cli.train(cli.parse(options(folder, output)))
    return output, weights


def test_training_leaves_weights_that_the_predictor_loads(trained):
    output, weights = trained
    predictor = Predictor.load(weights, device="cpu")
    assert predictor.model.training["steps"] == 2
    assert predictor.model.training["images_seen"] == 4
    assert predictor.model.focal_px == 140.0
    assert set(predictor.model.scores) == {"val_pq", "val_dpq", "val_abs_rel"}
    assert predictor.predict(np.zeros((64, 128, 3), np.uint8)).depth_m.shape == (64, 128)
    saved = yaml.safe_load((output / "config.yaml").read_text())
    assert saved["model"]["changes"] == TINY_NETWORK


def test_resume_goes_on_where_it_stopped(folder, trained, tmp_path):
    output, _ = trained
    state = torch.load(output / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    config = cli.parse([*options(folder, tmp_path / "b", steps=3), "--run.resume", str(output / "last.ckpt")])
    weights = cli.train(config)
    assert load_weights(weights)[1].training["steps"] == 3
    moments = torch.load(tmp_path / "b" / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"][0]
    assert float(moments["step"]) == 3  # the optimiser went on too


def test_a_disk_that_is_full_at_the_very_end_leaves_the_checkpoint(folder, trained, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dps_perception.training.fit.write_weights", fail)
    shutil.copytree(trained[0], tmp_path / "full")
    argv = [*options(folder, tmp_path / "full"), "--run.resume", "last"]  # nothing is left but to write the weights
    with pytest.raises(TrainingError, match=r"no room left.*last\.ckpt stays: make room"):
        cli.train(cli.parse(argv))


def test_init_from_says_what_it_took(folder, trained, tmp_path, capsys):
    output, weights = trained
    argv = [*options(folder, tmp_path / "c", steps=1), "--model.init_from", str(output)]
    cli.train(cli.parse(argv))
    report = capsys.readouterr().out
    assert "tensors taken over" in report
    assert "fresh" not in report
    training = load_weights(tmp_path / "c" / "efficientdps_r18.safetensors")[1].training
    assert training["config"]["run"]["output"] == "c"
    assert str(tmp_path.parent) not in str(training)  # weights are handed on
    earlier = training["earlier_stages"]
    assert [(stage["steps"], stage["dataset"]) for stage in earlier] == [(2, folder.name)]
    argv = [*options(folder, tmp_path / "d", steps=1), "--init-from", str(weights)]
    cli.train(cli.parse(argv))
    report = capsys.readouterr().out  # weights files hold one group of two, and no auxiliary classifier
    assert "queries.activation.weight: 8 of 16 queries taken over, 8 were there" in report
    assert "not in it, so fresh: auxiliary.weight" in report


def test_an_earlier_run_is_not_overwritten(folder, trained):
    output, _ = trained
    before = (output / "last.ckpt").read_bytes()
    with pytest.raises(ConfigError, match=r"holds an earlier run.*--run.resume last"):
        cli.train(cli.parse(options(folder, output, steps=1)))
    assert (output / "last.ckpt").read_bytes() == before


def test_init_from_takes_the_groups_that_both_have():
    one, two = (EfficientDPS(preset("efficientdps_r18", **{**TINY_NETWORK, "num_groups": n})) for n in (1, 2))
    kept = two.queries.activation.weight[8:].clone()
    initialise(two, Start(Path("one"), one.state_dict(), CITYSCAPES, []), CITYSCAPES)
    assert torch.equal(two.queries.activation.weight[:8], one.queries.activation.weight)
    assert torch.equal(two.queries.activation.weight[8:], kept)


def test_init_from_knows_the_shipped_weights():
    assert read_start("efficientdps_r18_street").path == default_weights()


def test_learning_lowers_the_loss(folder, tmp_path):
    output = tmp_path / "learn"
    cli.train(cli.parse(options(folder, output, steps=30, optimizer__learning_rate=3e-3, run__validate_every=30)))
    rows = list(csv.DictReader((output / "log" / "metrics.csv").open()))
    losses = [float(r["loss"]) for r in rows if r.get("loss")]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--optimizer.batch_sise", "3"], "optimizer.batch_size"),
        (["--optimizer.steps", "many"], "steps"),
        (["--data.input_size", "[100,128]"], "multiples of 32"),
        (["--optimizer.schedule", "cosine"], "step, poly"),
        (["--model.preset", "efficientdps_r19"], "efficientdps_r18"),
        (["--model.changes", "{num_querys: 3}"], "num_querys"),
        (["--model.label_space", "cityscape"], "cityscapes"),
        (["--data.train_split", "nowhere"], "train, val"),
        (["--optimizer.batch_size", "5"], "4 images"),
        (["--run.resume", "last"], "no checkpoint"),
        (["--run.precision", "fp16"], "bf16-mixed, 32-true"),
        (["--run.accelerator", "gpuu"], "run: accelerator 'gpuu'"),
        (["--run.strategy", "dpd"], "strategy 'dpd'"),
        (["--run.output", "/proc/no/run"], "run.output '/proc/no/run' can't be written"),
        (["--run.seed", "-1"], "run.seed is -1; it must be within 0..4294967295"),
        (["--optimizer.schedule_steps", "-1"], "optimizer.schedule_steps is -1; it must be 0 or more"),
        (["--model.changes", "{num_classes: 5}"], "num_classes comes from label space 'cityscapes' (19 classes)"),
        (["--data.focal_px", "0"], "data.focal_px is 0.0; it must be positive"),
        (["--loss.depth", "-1"], "loss.depth is -1.0; it must be 0 or more"),
        (["--optimizer.milestones", "[0.5,40]"], "optimizer.milestones is (0.5, 40.0); it must be within 0..1"),
        (["--data.augmentation.scale", "[2.0,0.5]"], "scale (2.0, 0.5): the smallest and the largest"),
        (["--data.augmentation.flip", "3"], "flip is 3.0"),
        (["--data.topics.cloud", "/points"], "format 'dvps' has no topics"),
        (["--data.bag.val_share", "2"], "val_share 2.0"),
    ],
)
def test_mistakes_are_named(folder, tmp_path, argv, message, capsys):
    status = cli_runner.run(cli.command, [*options(folder, tmp_path / "x"), *argv])
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_unknown_key_in_the_yaml_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("optimizer: {learning_rat: 1}")
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate"):
        cli.parse(["--config", str(tmp_path / "a.yaml")])


def test_init_from_nothing_fitting(folder, tmp_path):
    torch.save({"state_dict": {"network.x": torch.zeros(1)}}, tmp_path / "foreign.ckpt")
    argv = [*options(folder, tmp_path / "e"), "--model.init_from", str(tmp_path / "foreign.ckpt")]
    with pytest.raises(ModelLoadError, match="nothing in"):
        cli.train(cli.parse(argv))

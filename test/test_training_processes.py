"""Two processes on the CPU: training, validation and evaluation give what one process gives."""

import json

import pytest
import training_rig as rig

from dps_perception.data.street.dataset import FolderJob
from dps_perception.errors import ConfigError
from dps_perception.inference import evaluate
from dps_perception.labels import CITYSCAPES
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.families import preset
from dps_perception.models.weights import ModelInfo, load_weights, save_weights
from dps_perception.training.config import RunSettings
from dps_perception.training.criterion import LossWeights
from dps_perception.training.memory import estimate
from dps_perception.training.processes import plan
from dps_perception.training.speed import StepClock


@pytest.fixture(scope="module")
def network():
    return EfficientDPS(preset("efficientdps_r18", **rig.NETWORK))


def test_two_processes_train_and_score_exactly_like_one(tmp_path):
    """Three validation images on two processes: one of them is a filler that must not count."""
    data, output = rig.write_folder(tmp_path / "data", train=4), tmp_path / "run"
    printed = rig.run_module("dps_perception.training.cli", rig.arguments(data, output, "--run.devices", "2"))
    assert printed.count("weights: ") == 1
    assert "images per second by 2 processes" in printed
    assert "SyncBatchNorm needs GPUs" in printed
    by_two = json.loads((output / "scores.json").read_text())["scores"]
    assert by_two["images"] == 3
    weights = rig.train(data, output, "--run.resume", "last")  # trained already: one process only scores
    assert json.loads((output / "scores.json").read_text())["scores"] == by_two
    assert load_weights(weights)[1].training["steps"] == 2


def test_evaluation_by_torchrun_is_exactly_that_of_one_process(tmp_path, network):
    data, weights = rig.write_folder(tmp_path / "data"), tmp_path / "tiny.safetensors"
    info = ModelInfo("tiny", "x", network.config, CITYSCAPES, (64, 64), 70.0, 0.5, 88.0)
    save_weights(weights, network, info)
    argv = [str(data), "--split", "val", "--weights", str(weights), "--device", "cpu", "--json"]
    evaluate.command([*argv, str(tmp_path / "one.json")])
    printed = rig.run_module("dps_perception.inference.evaluate", [*argv, str(tmp_path / "two.json")], processes=2)
    assert printed.count("wrote ") == 1
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one["scores"] == two["scores"]
    assert two["latency_ms"]["total"]["frames"] == 3


def test_synthesis_shares_out_its_seeds(tmp_path, monkeypatch):
    job = FolderJob(tmp_path, "train", range(3, 10), 32, 64)
    assert job.own_seeds == job.seeds
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        shares += job.own_seeds
    assert sorted(shares) == list(job.seeds)


def test_torchrun_says_how_many_processes(network, monkeypatch):
    assert (plan(RunSettings(devices=3), network).devices, plan(RunSettings(), network).strategy) == (3, "auto")
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    processes = plan(RunSettings(devices=1), network)
    assert (processes.devices, processes.num_nodes, processes.sync_batchnorm) == (2, 3, False)
    assert not isinstance(processes.strategy, str)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sync_batchnorm": "on", "accelerator": "cpu"}, "needs GPUs"),
        ({"sync_batchnorm": "yes"}, "auto, on, off"),
        ({"devices": 0}, "at least 1"),
    ],
)
def test_processes_that_cannot_be(network, settings, message):
    with pytest.raises(ConfigError, match=message):
        plan(RunSettings(**settings), network)


def test_sync_batchnorm_is_for_several_gpus(network):
    assert plan(RunSettings(devices=2, accelerator="gpu"), network).sync_batchnorm
    assert not plan(RunSettings(devices=1, accelerator="gpu"), network).sync_batchnorm
    assert not plan(RunSettings(devices=2, accelerator="gpu", sync_batchnorm="off"), network).sync_batchnorm


def test_memory_estimate_counts_what_is_known(network):
    config, weights = network.config, LossWeights(points=64)
    one, two = (estimate(config, weights, batch, (64, 64), half=False, averaged=False) for batch in (1, 2))
    parameters = sum(4 * p.numel() for p in network.parameters())
    assert one.gradients == parameters
    assert one.optimizer == 2 * parameters
    assert parameters < one.weights < 1.01 * parameters
    # The stem's output alone is 64 channels of 32x32; all of the forward pass grows with the batch.
    assert one.activations > 4 * 64 * 32 * 32
    assert two.activations == pytest.approx(2 * one.activations, rel=0.02)
    half = estimate(config, weights, 1, (64, 64), half=True, averaged=True)
    assert (
        half.activations - parameters / 2 < one.activations
    )  # autocast keeps a copy of the weights with two bytes each
    assert half.weights == 2 * one.weights
    assert "warning" in one.table(available=one.total - 1)
    assert "warning" not in one.table(available=one.total)


def test_the_clock_gives_each_stage_its_share(monkeypatch):
    times = iter([0.0, 1.0, 3.0, 4.0, 10.0, 12.0])
    monkeypatch.setattr("dps_perception.training.speed.perf_counter", lambda: next(times))
    clock = StepClock()
    clock.lap("data")
    clock.lap("forward")
    clock.images += 2
    assert clock.window() == {
        "data": pytest.approx(1 / 3), "forward": pytest.approx(2 / 3), "matching": 0, "losses": 0, "backward": 0,
        "optimiser": 0, "other": 0, "images_per_second": pytest.approx(2 / 3),
    }  # fmt: skip
    assert clock.window() == {}
    clock.lap("matching")
    clock.start()  # a validation of six seconds is nobody's
    clock.lap("backward")
    clock.images += 2
    assert clock.window()["images_per_second"] == pytest.approx(2 / 3)
    assert "0.67 images per second" in clock.table()

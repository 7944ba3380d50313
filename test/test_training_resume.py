"""A run that is stopped and goes on ends with exactly the weights of a run in one go."""

import shutil

import numpy as np
import pytest
import torch
import training_rig as rig

from dps_perception import cli as cli_runner
from dps_perception.labels import CITYSCAPES
from dps_perception.training import cli
from dps_perception.training.order import BatchOrder, ValidationShare
from dps_perception.training.resume import require_same_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rig.write_folder(tmp_path_factory.mktemp("data"), val=1)


def state(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)


def assert_same(left, right):
    for key in ("state_dict", "current_model_state"):
        assert (key in left) == (key in right)
        for name, value in left.get(key, {}).items():
            assert torch.equal(value, right[key][name]), name
    for one, other in zip(*(s["optimizer_states"][0]["state"].values() for s in (left, right)), strict=True):
        assert torch.equal(one["exp_avg"], other["exp_avg"])


# Four steps of two images are 2.7 epochs of three; the stop after two is in the midst of the second.
@pytest.mark.parametrize(("workers", "more"), [(0, ["--run.ema_decay", "0.9"]), (1, ["--optimizer.accumulate", "2"])])
def test_stopped_and_resumed_is_the_same_to_the_bit(data, tmp_path, workers, more):
    more = [*more, "--data.workers", workers, "--data.augmentation.scale", "[0.8,1.2]", "--run.validate_every", "2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rig.train(data, whole, "--optimizer.steps", "4", *more)

    def stop(self, trainer, module, *_):
        trainer.should_stop = trainer.global_step == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dps_perception.training.fit.LearningRateMonitor.on_train_batch_end", stop)
        rig.train(data, parts, "--optimizer.steps", "4", *more)
    assert state(parts)["global_step"] == 2
    with pytest.raises(AssertionError):
        assert_same(state(whole), state(parts))
    rig.train(data, parts, "--optimizer.steps", "4", "--run.resume", "last", *more)
    assert state(parts)["global_step"] == 4
    assert_same(state(whole), state(parts))
    assert (parts / "log" / "resumed_1" / "metrics.csv").is_file()
    assert (parts / "log" / "metrics.csv").is_file()


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """The folder of a finished run of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    rig.train(data, folder)
    return folder


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--optimizer.learning_rate", "0.5"], "optimizer.learning_rate is 0.5, was 0.001"),
        (["--optimizer.weight_decay", "0"], "optimizer.weight_decay is 0.0, was 0.05"),
        (["--model.changes", "{channels: 32, num_queries: 8}"], "the network's channels is 32, was 16"),
        (["--model.label_space", "coco_panoptic"], "label space is coco_panoptic, was cityscapes"),
        (["--model.freeze", "[backbone]"], "model.freeze is ['backbone'], was []"),
        (["--model.frozen_batch_norms", "true"], "model.frozen_batch_norms is True, was False"),
        (["--optimizer.name", "sgd"], "optimizer.name is sgd, was adamw"),
        (["--run.ema_decay", "0.9"], "run.ema_decay is 0.9, was 0.0"),
        (["--optimizer.steps", "1"], "optimizer.steps is 1, of which 2 are done"),
    ],
)
def test_what_a_checkpoint_holds_can_not_be_told_anew(data, stopped, tmp_path, more, message, capsys):
    argv = rig.arguments(data, tmp_path / "on", "--run.resume", stopped, "--optimizer.steps", "3", *more)
    assert cli_runner.run(cli.command, argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert "--init-from" in error
    assert not (tmp_path / "on").exists()


def test_a_resumed_run_says_what_is_different(data, stopped, tmp_path, capsys):
    config = cli.parse(rig.arguments(data, tmp_path / "on", "--optimizer.steps", "3", "--loss.dice", "3"))
    said = require_same_run(stopped / "last.ckpt", config, CITYSCAPES)
    assert said.endswith("after 2 steps, changed: optimizer.steps is 3, was 2; loss.dice is 3.0, was 2.0")
    config = cli.parse(rig.arguments(data, tmp_path / "on", "--model.changes.norm", "batch"))  # as the preset has it
    assert require_same_run(stopped / "last.ckpt", config, CITYSCAPES).endswith("after 2 steps")


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(path.read_bytes()[:9999]), lambda path: torch.save({}, path)]
)
def test_a_damaged_checkpoint_is_named(data, stopped, tmp_path, spoil, capsys):
    path = tmp_path / "bad.ckpt"
    shutil.copy(stopped / "last.ckpt", path)
    spoil(path)
    assert cli_runner.run(cli.command, rig.arguments(data, tmp_path / "on", "--run.resume", path)) == 2
    assert f"resume: {path} is not a whole checkpoint of dps_train" in capsys.readouterr().err


def test_each_epoch_has_every_image_once_and_an_order_of_its_own():
    order = BatchOrder(images=5, batch_size=2, seed=3)
    keys = [key for number in range(5) for key in order.batch(number)]
    assert sorted(keys) == [(epoch, index) for epoch in (0, 1) for index in range(5)]
    assert [index for _, index in keys[:5]] != [index for _, index in keys[5:]]


def test_processes_share_out_the_batches_of_one():
    alone = BatchOrder(images=7, batch_size=4, seed=0)
    pair = [BatchOrder(images=7, batch_size=2, seed=0, rank=rank, world_size=2) for rank in (0, 1)]
    for number in range(9):
        assert alone.batch(number) == pair[0].batch(number) + pair[1].batch(number)


def test_an_order_that_starts_later_goes_on_where_the_other_is():
    first = iter(BatchOrder(images=5, batch_size=2, seed=1))
    batches = [next(first) for _ in range(6)]
    assert next(iter(BatchOrder(images=5, batch_size=2, seed=1, start=5))) == batches[5]


@pytest.mark.parametrize(("images", "size"), [(3, 2), (4, 2), (1, 3), (7, 4)])
def test_validation_shares_are_equally_long_and_count_each_image_once(images, size):
    shares = [list(ValidationShare(images, rank, size)) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    counted = np.concatenate(shares)
    assert sorted(counted[counted < images]) == list(range(images))

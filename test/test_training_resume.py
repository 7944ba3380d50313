"""A run that is stopped and goes on ends with exactly the weights of a run in one go."""

import numpy as np
import pytest
import torch
import training_rig as rig

from dps_perception.training.order import BatchOrder, ValidationShare


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

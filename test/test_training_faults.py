"""What can go wrong in a run: each stops it with one line that says what to do, and leaves the last good state."""

import errno

import pytest
import torch
import training_rig as rig

from dps_perception import cli as cli_runner
from dps_perception.data.dvps import LABELS
from dps_perception.errors import ModelLoadError, TrainingError
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace
from dps_perception.models.backbones import build_backbone
from dps_perception.models.config import BACKBONES
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.families import preset
from dps_perception.models.weights import load_weights
from dps_perception.training import cli
from dps_perception.training.criterion import Criterion
from dps_perception.training.failures import explained
from dps_perception.training.initialise import Start, _backbone_name, foreign_tensors, initialise, load_backbone

BATCH_STEM = "000000_000000_street"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rig.write_folder(tmp_path_factory.mktemp("data"), train=3, val=1)


@pytest.fixture
def network():
    return EfficientDPS(preset("efficientdps_r18", **rig.NETWORK))


def test_nan_stops_with_the_batch_kept_and_named(data, tmp_path, monkeypatch):
    def poisoned(self, image):
        return {name: value * float("nan") for name, value in forward(self, image).items()}

    forward = EfficientDPS.forward
    monkeypatch.setattr(EfficientDPS, "forward", poisoned)
    with pytest.raises(TrainingError, match=r"loss is nan in step 0 .*classification.*learning_rate") as caught:
        rig.train(data, tmp_path / "run")
    batch = torch.load(tmp_path / "run" / "bad_batch_step0_rank0.pt", weights_only=True)
    assert batch["images"].shape == (2, 64, 64, 3)
    assert all(sample_id in str(caught.value) for sample_id in batch["sample_ids"])
    assert batch["targets"][0]["masks"].dtype == torch.uint8


def test_a_gradient_that_is_not_finite_spoils_no_weights(data, tmp_path, monkeypatch):
    # The loss of step 1 is finite, but the derivative of sqrt at 0 is not; a checkpoint is due after every step.
    def steep(self, outputs, targets):
        terms = objective(self, outputs, targets)
        steps.append(1)
        return terms if len(steps) == 1 else {**terms, "dice": terms["dice"] + (terms["dice"] * 0).sqrt()}

    steps, objective = [], Criterion.__call__
    monkeypatch.setattr(Criterion, "__call__", steep)
    with pytest.raises(TrainingError, match=r"norm of the gradient is nan in step 1 .*images: .*bad_batch_step1_rank0"):
        rig.train(data, tmp_path / "run", "--run.validate_every", "1")
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 1
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_names_the_settings_to_lower(tmp_path, error):
    config = cli.parse(rig.arguments("data", tmp_path / "x", "--optimizer.batch_size", "7"))
    with pytest.raises(TrainingError) as caught, explained(config, tmp_path):
        raise error
    for part in ("batch_size (7", "input_size (64x64)", "num_groups in model.changes (2)", "loss.points (64)"):
        assert part in str(caught.value)


def test_a_full_disk_leaves_the_last_good_checkpoint(data, tmp_path, monkeypatch):
    def save(checkpoint, path):
        if checkpoint["global_step"] == 2:
            path.write_bytes(b"half a check")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(checkpoint, path)

    write = torch.save
    monkeypatch.setattr("dps_perception.training.checkpoint.torch.save", save)
    with pytest.raises(TrainingError, match=r"No space left.*last\.ckpt stays.*--run\.resume last"):
        rig.train(data, tmp_path / "run", "--run.validate_every", "1")
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 1
    assert not list((tmp_path / "run").glob("*partial*"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_in_one_line(tmp_path, workers, capsys):
    data = rig.write_folder(tmp_path / "data", train=2, val=1)
    path = data / "train" / f"{BATCH_STEM}_{LABELS}.png"
    path.write_bytes(path.read_bytes()[:40])
    argv = rig.arguments(data, tmp_path / "run", "--data.workers", workers)
    assert cli_runner.run(cli.command, argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: {path} is not a readable image")
    assert cli_runner.run(cli.command, [*argv, "--data.train_split", "val"]) == 2  # one image, batches of two


def test_check_data_walks_both_splits(data, tmp_path, capsys):
    argv = rig.arguments(data, tmp_path / "run")
    assert cli_runner.run(cli.command, [*argv, "--check-data"]) == 0
    report = capsys.readouterr().out
    assert "train" in report
    assert "car" in report
    assert not (tmp_path / "run").exists()
    bad = rig.write_folder(tmp_path / "bad", train=2, val=1)
    (bad / "val" / f"{BATCH_STEM}_{LABELS}.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as caught:
        cli.command([*argv, "--data.root", str(bad), "--check-data"])
    assert caught.value.code == 1
    assert BATCH_STEM in capsys.readouterr().out


def test_a_class_head_of_other_classes_stays_fresh(network, tmp_path):
    other = LabelSpace("other", tuple(ClassInfo(f"class {i}", False, (i, i, i)) for i in range(len(CITYSCAPES))))
    tensors = {name: torch.ones_like(value) for name, value in network.state_dict().items()}
    before = network.class_head[4].weight.clone()
    report = initialise(network, Start(tmp_path, tensors, other, []), CITYSCAPES)
    assert "other classes ('other' there, 'cityscapes' here), so fresh: auxiliary.bias" in report
    assert torch.equal(network.class_head[4].weight, before)
    assert (network.class_head[2].weight == 1).all()
    initialise(network, Start(tmp_path, tensors, CITYSCAPES, []), CITYSCAPES)
    assert (network.class_head[4].weight == 1).all()


def test_backbone_weights_of_torchvision(network, tmp_path):
    import torchvision

    theirs = torchvision.models.resnet18()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    report = load_backbone(network, str(tmp_path / "resnet18.pth"))
    assert "120 of 120 tensors taken over" in report
    assert "not used: fc.weight, fc.bias" in report
    image = torch.rand(1, 3, 64, 64)
    stem = theirs.maxpool(theirs.relu(theirs.bn1.eval()(theirs.conv1(image))))
    expected = theirs.eval().layer2(theirs.layer1(stem))
    torch.testing.assert_close(network.eval().backbone(image)[0], expected)


@pytest.mark.parametrize("foreign", ["resnet34", "resnet50", "nothing"])
def test_weights_of_another_backbone_are_refused_whole(network, tmp_path, foreign):
    """Parts of a ResNet-50 would fit a ResNet-18, and every tensor of it has one of its name in a ResNet-34."""
    import torchvision

    state = {"x": torch.zeros(1)} if foreign == "nothing" else getattr(torchvision.models, foreign)().state_dict()
    torch.save(state, tmp_path / "other.pth")
    before = network.backbone.stem[0].weight.clone()
    with pytest.raises(ModelLoadError, match=r"other\.pth is not of a resnet18 \(\d+ tensors are"):
        load_backbone(network, str(tmp_path / "other.pth"))
    assert torch.equal(network.backbone.stem[0].weight, before)


def test_weights_of_the_same_model_are_never_foreign():
    import torchvision

    with torch.device("meta"):
        own = {name: build_backbone(name).state_dict() for name in BACKBONES}
        theirs = {name: getattr(torchvision.models, name)().state_dict() for name in BACKBONES}
    for name, state in theirs.items():
        theirs[name] = {_backbone_name(key): value for key, value in state.items()}
    for one in BACKBONES:
        assert [other for other in BACKBONES if not foreign_tensors(own[one], theirs[other])] == [one]


def test_a_failed_download_says_the_cure(network, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(ModelLoadError, match=r"no route to host.*--model\.backbone_weights resnet18-.*\.pth"):
        load_backbone(network, "imagenet")


def test_averaged_weights_are_validated_and_written(data, tmp_path):
    output = tmp_path / "run"
    more = ["--run.ema_decay", "0.5", "--run.pictures", "1"]
    weights = rig.train(data, output, *more)
    state = torch.load(output / "last.ckpt", weights_only=True)
    names = [n for n in state["state_dict"] if n.endswith("mask_kernel.0.weight")]
    assert names
    for name in names:
        averaged, current = state["state_dict"][name], state["current_model_state"][name]
        assert not torch.equal(averaged, current)
        own = load_weights(weights)[0].state_dict()[name.removeprefix("network.")]
        assert torch.equal(own, averaged.half().float())
    scores, written = (output / "scores.json").read_bytes(), load_weights(weights)[0].state_dict()
    rig.train(data, output, *more, "--run.resume", "last")  # nothing is left to do: the same is written again
    assert (output / "scores.json").read_bytes() == scores
    assert all(torch.equal(value, written[name]) for name, value in load_weights(weights)[0].state_dict().items())
    assert len(list((output / "pictures").glob("step_0000002/*.png"))) == 1
    assert list((output / "tensorboard").glob("events*"))
    header = (output / "log" / "metrics.csv").read_text().splitlines()[0]
    assert {"speed/matching", "speed/images_per_second", "loss/bce", "lr-AdamW/pg1", "val/pq"} <= set(header.split(","))

"""`dps_evaluate` with weights: the loop around a predictor, and the command with real (untrained) weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dps_perception import cli
from dps_perception.camera import Intrinsics
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import write_street_frame
from dps_perception.data.dvps import write_sample
from dps_perception.data.street import single_image
from dps_perception.data.street.seeds import TEST, VALIDATION
from dps_perception.errors import ConfigError, DatasetError
from dps_perception.evaluation import Evaluator
from dps_perception.files import sha256_of
from dps_perception.inference import evaluate
from dps_perception.inference.score_files import pair_files, score_files
from dps_perception.inference.score_weights import require_label_space, score_weights
from dps_perception.inference.sources import FolderSource, StreetSource, open_source
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace, pack
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.families import preset
from dps_perception.models.weights import ModelInfo, save_weights
from dps_perception.types import Prediction, Sample

CAR = CITYSCAPES.names.index("car")
SIZE = (16, 32)
CAMERA = Intrinsics(30, 30, 16, 8, *SIZE)


def truth(frame: int) -> Sample:
    """Road at 8 m with a car that grows with the frame; its upper rows are sky."""
    panoptic = np.zeros(SIZE, np.uint16)
    panoptic[:4] = pack(CITYSCAPES.names.index("sky"), 0)
    panoptic[8:, : 8 + 2 * frame] = pack(CAR, 1)
    depth = np.full(SIZE, 8, np.float32)
    depth[:4] = np.inf
    return Sample(np.full((*SIZE, 3), 10 * frame, np.uint8), panoptic, depth, CAMERA, "")


class KnowsTheAnswer:
    """Stands for a Predictor: tells the truth of the frame (known by the image's grey), but depth 12.5 % too far."""

    model = SimpleNamespace(label_space=CITYSCAPES)

    def __init__(self, with_depth: bool = True, factor: float = 1.125) -> None:
        self.with_depth, self.factor = with_depth, np.float32(factor if with_depth else np.nan)
        self.calls = 0

    def warm_up(self) -> None:
        assert self.calls == 0

    def predict(self, rgb, intrinsics) -> Prediction:
        self.calls += 1
        assert intrinsics == CAMERA
        sample = truth(rgb[0, 0, 0] // 10)
        depth = np.where(np.isfinite(sample.depth_m), sample.depth_m, 80).astype(np.float32)
        timings = {"preprocess": 1.0, "inference": 10.0 * self.calls, "fusion": 2.0}
        ones = np.ones(SIZE, np.float32)
        return Prediction(sample.panoptic, depth * self.factor, ones, (), timings, self.with_depth)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for frame in range(5):
        write_sample(tmp_path / "data", "test", 0, frame, truth(frame), "t")
    return tmp_path / "data"


def test_predictions_are_scored_timed_pictured_and_saved(folder, tmp_path):
    evaluator, source = Evaluator(CITYSCAPES), FolderSource(folder, "test", None)
    run = score_weights(KnowsTheAnswer(), source, evaluator, pictures=3, save_to=tmp_path / "out", split="test")
    scores = evaluator.compute()
    assert (scores.images, scores.pq, scores.dpq_at[0.25]) == (5, 100, 100)
    assert scores.abs_rel == pytest.approx(0.125)
    assert run.timings_ms["inference"] == [10, 20, 30, 40, 50]
    assert run.timings_ms["total"] == [13, 23, 33, 43, 53]
    assert [row.title for row in run.pictures] == [f"000000_00000{frame}_t" for frame in (0, 2, 4)]
    assert len(run.pictures[0].items) == 6
    assert "PQ 100.0" in run.pictures[0].note
    pairs = pair_files(tmp_path / "out", folder, "test")
    assert score_files(pairs, evaluator.fresh()).compute().to_dict() == scores.to_dict()


def test_a_panoptic_only_network_is_scored_without_depth(folder, tmp_path):
    evaluator = Evaluator(CITYSCAPES)
    source = FolderSource(folder, "test", 2)
    run = score_weights(KnowsTheAnswer(with_depth=False), source, evaluator, pictures=1, save_to=tmp_path / "out")
    scores = evaluator.compute()
    assert (scores.images, scores.images_with_depth, scores.pq) == (2, 0, 100)
    assert len(run.pictures[0].items) == 4
    assert not list((tmp_path / "out").rglob("*_depth.png"))


def test_depth_that_a_network_fails_to_find_is_wrong_and_not_left_out(folder):
    evaluator = Evaluator(CITYSCAPES)
    score_weights(KnowsTheAnswer(factor=np.nan), FolderSource(folder, "test", 2), evaluator)
    scores = evaluator.compute()
    assert (scores.images_with_depth, scores.pq, scores.depth.coverage) == (2, 100, 0)
    assert scores.dpq < scores.pq


def test_an_image_without_labels_is_named(folder):
    (folder / "test" / "000000_000003_t_gtFine_instanceTrainIds.png").unlink()
    with pytest.raises(DatasetError, match=r"000000_000003_t.*no panoptic labels"):
        score_weights(KnowsTheAnswer(), FolderSource(folder, "test", None), Evaluator(CITYSCAPES))


def test_label_spaces_must_agree_in_names_and_things_but_not_in_colours():
    names = [(c.name, c.is_thing) for c in CITYSCAPES.classes]
    require_label_space(LabelSpace("grey", tuple(ClassInfo(*pair, (0, 0, 0)) for pair in names)), CITYSCAPES)
    names[13] = ("automobile", True)
    with pytest.raises(ConfigError, match=r"'other' \(19 classes\).*'cityscapes'.*class 13 is 'automobile' .* 'car'"):
        require_label_space(LabelSpace("other", tuple(ClassInfo(*p, (0, 0, 0)) for p in names)), CITYSCAPES)
    with pytest.raises(ConfigError, match=r"18 classes.*19 classes"):
        require_label_space(LabelSpace("short", CITYSCAPES.classes[:-1]), CITYSCAPES)


def test_street_images_are_the_fixed_seeds_whatever_renders_them():
    alone, together = (StreetSource("test", (48, 96), limit=3, processes=n) for n in (1, 2))
    assert len(alone) == 3
    assert len(StreetSource("validation", (48, 96))) == len(VALIDATION)
    for seed, one, other in zip(TEST, alone, together, strict=False):
        assert one.sample_id == other.sample_id
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.panoptic, single_image(seed, 48, 96).panoptic)


def write_bag(path: Path, frames: int) -> None:
    with BagWriter(path) as writer:
        for frame in range(frames):
            sample = truth(frame)
            write_street_frame(
                writer, frame, 10**9 + frame, sample.image, sample.panoptic, sample.depth_m, CAMERA, np.eye(4)
            )


def test_a_bag_is_scored_like_a_folder(folder, tmp_path):
    write_bag(tmp_path / "drive", 4)
    source = open_source(str(tmp_path / "drive"), split="test", limit=3)
    assert len(source) == 3
    evaluator = Evaluator(CITYSCAPES)
    score_weights(KnowsTheAnswer(), source, evaluator)
    scores = evaluator.compute()
    assert (scores.images, scores.pq, scores.images_with_depth) == (3, 100, 3)
    assert scores.abs_rel == pytest.approx(0.125)


def test_a_bag_without_ground_truth_lists_its_topics(tmp_path, capsys):
    path = tmp_path / "drive"
    with BagWriter(path) as writer:
        writer.write("/chatter", "std_msgs/msg/String", 1, writer.new("std_msgs/msg/String", data="hello"))
    assert cli.run(evaluate.command, [str(path)]) == 2
    error = capsys.readouterr().err
    assert "no topic" in error
    assert "/chatter" in error


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Untrained weights of a narrow network."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    config = preset("efficientdps_r18", channels=16, num_groups=1, num_queries=8)
    torch.manual_seed(0)
    info = ModelInfo("tiny", "efficientdps_r18", config, CITYSCAPES, (32, 64), 60.0, 1.0, 88.0)
    save_weights(path, EfficientDPS(config), info)
    return path


def test_the_command_runs_weights_and_records_everything(weights, tmp_path, capsys):
    result, page = tmp_path / "s.json", tmp_path / "s.html"
    arguments = ["street:validation", "--weights", weights, "--size", "64x128", "--limit", 2, "--processes", 1]
    arguments += ["--device", "cpu", "--precision", "fp32", "--json", result, "--html", page, "--pictures", 1]
    assert cli.run(evaluate.command, [str(a) for a in arguments]) == 0
    data = json.loads(result.read_text())
    assert data["weights"]["sha256"] == sha256_of(weights)
    assert data["inference"]["precision"] == "fp32"
    assert data["inference"]["thresholds"]["mask"] == 0.5
    assert data["dataset"].startswith("street:validation at 64x128")
    assert data["scores"]["images"] == 2
    assert data["scores"]["panoptic"]["all"]["classes_present"] > 5
    assert {"preprocess", "inference", "fusion", "total"} == set(data["latency_ms"])
    stages = sum(data["latency_ms"][stage]["mean"] for stage in ("preprocess", "inference", "fusion"))
    assert data["latency_ms"]["total"]["mean"] == pytest.approx(stages)
    html = page.read_text()
    assert html.count("data:image/jpeg") == 6
    assert data["weights"]["sha256"] in html
    assert "Latency" in html
    printed = capsys.readouterr().out
    assert "DPQ@0.25" in printed
    assert "Mean per image: preprocess" in printed


def test_truncated_weights_give_one_error_and_no_output(weights, tmp_path, capsys):
    half = tmp_path / "half.safetensors"
    half.write_bytes(weights.read_bytes()[:1000])
    result = tmp_path / "s.json"
    assert cli.run(evaluate.command, ["street:test", "--weights", str(half), "--json", str(result)]) == 2
    assert "half.safetensors" in capsys.readouterr().err
    assert not result.exists()

"""`dps_evaluate --predictions --ground-truth`: tiny trees on disk, end to end, and everything that can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dps_perception import cli
from dps_perception.camera import Intrinsics
from dps_perception.data.dvps import write_prediction, write_sample
from dps_perception.inference import evaluate
from dps_perception.labels import CITYSCAPES, pack
from dps_perception.types import Sample

CAR = CITYSCAPES.names.index("car")
SIZE = (16, 32)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Left half road at 8 m, right half two cars at 16 m."""
    panoptic = np.zeros(SIZE, np.uint16)
    panoptic[:8, 16:], panoptic[8:, 16:] = pack(CAR, 1), pack(CAR, 2)
    return panoptic, np.where(panoptic == 0, 8, 16).astype(np.float32)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Ground truth in a split folder, as datasets have it; predictions in a plain folder. Ten images.

    The prediction takes car 2 for road in the even images, and is 12.5 % too far everywhere.
    """
    panoptic, depth = scene()
    image = np.full((*SIZE, 3), 90, np.uint8)
    camera = Intrinsics(30, 30, 16, 8, *SIZE)
    for frame in range(10):
        sample_id = write_sample(tmp_path / "truth", "val", 0, frame, Sample(image, panoptic, depth, camera, ""), "t")
        wrong = panoptic.copy()
        if frame % 2 == 0:
            wrong[panoptic == pack(CAR, 2)] = 0
        write_prediction(tmp_path, "theirs", sample_id, wrong, 1.125 * depth)
    return tmp_path / "theirs", tmp_path / "truth"


def run(*arguments: object) -> int:
    return cli.run(evaluate.command, [str(a) for a in arguments])


def run_files(trees: tuple[Path, Path], *more: object) -> int:
    return run("--predictions", trees[0], "--ground-truth", trees[1], "--split", "val", "--processes", 1, *more)


def test_scores_of_files_end_to_end(trees, tmp_path, capsys):
    result = tmp_path / "out" / "scores.json"
    assert run_files(trees, "--json", result, "--html", tmp_path / "out" / "scores.html", "--pictures", 2) == 0
    data = json.loads(result.read_text())
    scores = data["scores"]
    classes = {c["name"]: c for c in scores["panoptic"]["per_class"]}
    # cars: 15 of 20 found. Road: 5 of 10 with IoU 1, the others cover 256 true and 128 wrong pixels: IoU 2/3.
    assert (classes["car"]["tp"], classes["car"]["fp"], classes["car"]["fn"]) == (15, 0, 5)
    assert classes["road"]["pq"] == pytest.approx(100 * (5 + 5 * 2 / 3) / 10)
    assert classes["car"]["pq"] == pytest.approx(100 * 15 / 17.5)
    assert classes["bus"]["pq"] is None
    assert scores["panoptic"]["all"]["classes_present"] == 2
    assert scores["depth"]["abs_rel"] == pytest.approx(0.125)
    assert scores["dpq"]["at"]["0.25"]["all"]["pq"] == pytest.approx(scores["panoptic"]["all"]["pq"])
    assert scores["dpq"]["at"]["0.1"]["all"]["pq"] == 0
    assert scores["images_with_depth"] == 10
    assert scores["settings"] == {"lambdas": [0.5, 0.25, 0.1], "min_depth_m": 0.0, "max_depth_m": 80.0}
    assert data["provenance"]["command"].startswith("dps_evaluate --predictions")
    printed = capsys.readouterr().out
    assert "car" in printed
    assert "85.71" in printed
    page = (tmp_path / "out" / "scores.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 6
    assert "85.71" in page


def test_processes_change_nothing(trees, tmp_path):
    assert run_files(trees, "--json", tmp_path / "one.json") == 0
    assert run_files(trees, "--json", tmp_path / "two.json", "--processes", 2) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["scores"] for name in ("one", "two"))
    assert one == two


def test_settings_reach_the_numbers(trees, tmp_path):
    result = tmp_path / "s.json"
    assert run_files(trees, "--json", result, "--max-depth", 10, "--lambdas", 0.2, "--limit", 2) == 0
    scores = json.loads(result.read_text())["scores"]
    assert scores["depth"]["valid_px"] == 2 * 16 * 16, "only the road is within 10 m"
    assert list(scores["dpq"]["at"]) == ["0.2"]
    assert scores["images"] == 2
    assert run_files(trees, "--json", result, "--max-depth", "inf") == 0
    assert json.loads(result.read_text())["scores"]["settings"]["max_depth_m"] is None


def test_files_without_predicted_depth_are_scored_without_it(trees, tmp_path, capsys):
    for path in trees[0].glob("*_depth.png"):
        path.unlink()
    assert run_files(trees, "--json", tmp_path / "s.json") == 0
    output = capsys.readouterr()
    assert "depth and DPQ are not scored" in output.err
    data = json.loads((tmp_path / "s.json").read_text())
    assert data["scores"]["dpq"]["mean"] is None
    assert data["scores"]["panoptic"]["all"]["pq"] > 50
    assert len(data["warnings"]) == 1


def remove_prediction(theirs: Path, truth: Path) -> None:
    (theirs / "000000_000003_t_gtFine_instanceTrainIds.png").unlink()


def remove_depth(theirs: Path, truth: Path) -> None:
    (theirs / "000000_000004_t_depth.png").unlink()


def shrink(theirs: Path, truth: Path) -> None:
    write_prediction(theirs.parent, theirs.name, "000000_000005_t", scene()[0][:-1], scene()[1][:-1])


def other_labels(theirs: Path, truth: Path) -> None:
    path = theirs / "000000_000006_t_gtFine_instanceTrainIds.png"
    cv2.imwrite(str(path), np.full(SIZE, 26_001, np.uint16))  # Cityscapes' raw id of a car


def eight_bit(theirs: Path, truth: Path) -> None:
    cv2.imwrite(str(theirs / "000000_000007_t_gtFine_instanceTrainIds.png"), np.zeros(SIZE, np.uint8))


def truncate(theirs: Path, truth: Path) -> None:
    path = theirs / "000000_000008_t_depth.png"
    path.write_bytes(path.read_bytes()[:40])


def empty_predictions(theirs: Path, truth: Path) -> None:
    for path in theirs.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (remove_prediction, ["lacks *_gtFine_instanceTrainIds.png for 1 of 10", "000000_000003_t"]),
        (remove_depth, ["lacks *_depth.png for 1 of 10", "000000_000004_t"]),
        (shrink, ["000000_000005_t", "(15, 32)", "(16, 32)"]),
        (other_labels, ["000000_000006_t", "[26]", "cityscapes"]),
        (eight_bit, ["000000_000007_t", "uint8", "16-bit"]),
        (truncate, ["000000_000008_t_depth.png"]),
        (empty_predictions, ["theirs", "holds no *_gtFine_instanceTrainIds.png"]),
    ],
)
def test_bad_files_are_named_and_leave_no_output(trees, tmp_path, capsys, damage, says):
    damage(*trees)
    out = tmp_path / "out"
    assert run_files(trees, "--json", out / "s.json", "--html", out / "s.html") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert all(part in errors[0] for part in says), errors
    assert list(out.iterdir()) == []


def test_extra_predictions_are_named_but_don_t_count(trees, tmp_path, capsys):
    write_prediction(trees[0].parent, trees[0].name, "000009_000000_x", *scene())
    assert run_files(trees, "--json", tmp_path / "s.json") == 0
    assert "000009_000000_x" in capsys.readouterr().err
    assert json.loads((tmp_path / "s.json").read_text())["scores"]["images"] == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--predictions", "nowhere", "--ground-truth", "nowhere"], "no folder 'nowhere'"),
        (["--predictions", "somewhere"], "--predictions and --ground-truth go together"),
        ([], "give either a DATASET"),
        (["street:test", "--predictions", "a", "--ground-truth", "b"], "give either a DATASET"),
        (["--predictions", "a", "--ground-truth", "b", "--weights", "w"], "--weights is for running weights"),
        (["street:tets"], "street:validation-hard, did you mean 'test'?"),
        (["nowhere"], "no dataset 'nowhere'"),
        (["nowhere", "--size", "64x128"], "--size is for rendering"),
        (["street:test", "--label-space", "cityscape"], "did you mean 'cityscapes'?"),
        (["street:test", "--limit", "0"], "--limit 0"),
        (["street:test", "--size", "64"], "size '64'"),
        (["street:test", "--lambdas", "0"], "lambdas are [0.0]"),
        (["street:test", "--max-depth", "-1"], "depth caps 0.0 m to -1.0 m"),
        (["street:test", "--limit", "1", "--weights", "gone.safetensors"], "no weights file 'gone.safetensors'"),
    ],
)
def test_bad_arguments_give_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--json", "s.json") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_can_t_be_written_is_refused_before_the_work(trees, tmp_path, capsys):
    assert run_files(trees, "--json", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run_files(trees, "--html", tmp_path / "file" / "s.html") == 2
    errors = capsys.readouterr().err
    assert "can't write" in errors
    assert "scoring" not in errors, "nothing was scored yet"

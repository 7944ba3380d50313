"""`dps_benchmark` with several backends, and INT8: speed, agreement and scores side by side."""

import json

import cv2
import numpy as np
import pytest
from backend_fixtures import SIZE

from dps_perception.benchmark import cli as benchmark
from dps_perception.errors import BackendError, ConfigError, ModelLoadError
from dps_perception.inference import comparison, export_cli
from dps_perception.inference.agreement import Agreement
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.comparison import Candidate, Row, candidates, study
from dps_perception.inference.predictor import Predictor
from dps_perception.types import Sample


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), cv2.GaussianBlur(noise, (0, 0), 5))
    return folder


def test_backends_side_by_side_with_labels(small_weights, small_cache, tmp_path, capsys):
    marked = tmp_path / "README.md"
    marked.write_text("before\n<!-- backends -->\nold\n<!-- /backends -->\nafter\n")
    benchmark.command([
        "--weights", str(small_weights), "--backend", "torch,openvino", "--precision", "fp32", "--device", "cpu",
        "--parity", "--images", "1", "--runs", "2", "--json", str(tmp_path / "out.json"), "--markdown", str(marked),
    ])  # fmt: skip
    result = json.loads((tmp_path / "out.json").read_text())
    rows = result["rows"]
    assert [(row["backend"], row["precision"]) for row in rows] == [("torch", "fp32"), ("openvino", "fp32")]
    assert rows[0]["agreement"] is None
    assert rows[1]["agreement"]["pq"] > 99.5
    assert rows[1]["agreement"]["abs_rel"] < 1e-3
    assert rows[0]["scores"]["dpq"] == pytest.approx(rows[1]["scores"]["dpq"], abs=0.5)
    for row in rows:
        medians = {stage: times["median_ms"] for stage, times in row["times_ms"].items()}
        assert list(medians) == ["preprocess", "inference", "fusion", "total"]
        assert 0 < medians["inference"] < medians["total"]
    assert result["network_size"] == list(SIZE)
    text = marked.read_text()
    assert text.startswith("before\n<!-- backends -->\n| backend | precision |")
    assert text.endswith("\n<!-- /backends -->\nafter\n")
    assert "old" not in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 4
    assert "openvino" in capsys.readouterr().out


def test_without_marks_nothing_is_measured(small_weights, tmp_path):
    with pytest.raises(ConfigError, match="it needs the lines <!-- backends -->"):
        benchmark.command(["--parity", "--weights", str(small_weights), "--markdown", str(tmp_path / "README.md")])
    with pytest.raises(ConfigError, match="--runs 0, --images 20"):
        benchmark.command(["--weights", str(small_weights), "--runs", "0"])


def test_what_is_compared(small_weights, small_onnx, monkeypatch):
    monkeypatch.setattr(
        comparison,
        "availability",
        lambda: {"torch": "", "onnxruntime": "", "openvino": "", "tensorrt": "no TensorRT: pip install x"},
    )
    monkeypatch.setattr(comparison, "precisions", lambda name, model, device: ("fp32", "bf16"))
    weights, onnx = str(small_weights), str(small_onnx)

    def found(files, backends, wanted):
        return [(c.weights == weights, c.backend, c.precision) for c in candidates(files, backends, wanted, "cpu")]

    assert found([weights], ["all"], ["auto"]) == [(True, n, "auto") for n in ("torch", "onnxruntime", "openvino")]
    assert found([onnx], ["all"], ["all"]) == [
        (False, n, p) for n in ("onnxruntime", "openvino") for p in ("fp32", "bf16")
    ]
    assert found([weights, onnx], ["openvino"], ["fp32"]) == [(True, "openvino", "fp32"), (False, "openvino", "fp32")]
    assert found([weights], ["auto"], ["all"]) == [(True, "auto", "auto")]
    assert [(row.backend, row.note()) for row in comparison.missing()] == [
        ("tensorrt", "tensorrt: no TensorRT: pip install x")
    ]


def test_one_that_is_asked_for_and_fails_ends_it_one_of_all_is_a_line(small_onnx, pictures, capsys):
    samples = [Sample(np.zeros((*SIZE, 3), np.uint8), None, None, None, "black")]
    bad = Candidate(str(small_onnx), "torch", "fp32")
    with pytest.raises(ModelLoadError, match="torch can't run"):
        comparison.compare([bad], samples, device="cpu")
    (row,) = comparison.compare([bad], samples, device="cpu", keep_going=True)
    assert "torch fp32: backend torch can't run" in comparison.table([row])
    with pytest.raises(BackendError, match="tensorrt is not available"):
        candidates([str(small_onnx)], ["tensorrt"], ["auto"], "cpu")


def test_a_missed_target_is_said():
    times = {stage: {"median_ms": 1.5} for stage in (*comparison.STAGES, comparison.TOTAL)}
    row = Row("", "openvino", "fp32", times_ms=times, agreement=Agreement(99.0, 2e-3, 1), scores={"pq": 24.4})
    assert row.cells() == ["openvino", "fp32", "1.5", "1.5", "1.5", "1.5", "99.00", "2.0e-03", "24.40", "-"]
    assert row.note() == "openvino fp32: misses its target of PQ 99.5 and depth 0.001 to fp32"
    assert Row("", "openvino", "int8", times_ms=times, agreement=Agreement(50.0, 0.1, 1)).note() == ""


def test_as_many_images_are_timed_as_asked(small_weights):
    predictor = Predictor.load(small_weights, device="cpu", precision="fp32")
    calls, predict = [], predictor.predict
    predictor.predict = lambda *arguments: calls.append(arguments) or predict(*arguments)
    samples = [Sample(np.full((*SIZE, 3), grey, np.uint8), None, None, None, "") for grey in (0, 255)]
    row, seen = study(predictor, samples, runs=5)
    assert [int(rgb[0, 0, 0]) for rgb, *_ in calls] == [0, 0, 0, 255, 0, 255, 0]  # two to warm up
    assert len(seen) == 2
    assert row.agreement is None
    assert row.scores == {}


def test_int8_on_pictures_of_ones_own(small_weights, small_onnx, small_cache, pictures, tmp_path, capsys):
    output = tmp_path / "int8.onnx"
    arguments = ["--int8", "--calibrate", str(pictures), "--images", "2", "--output", str(output)]
    export_cli.command([str(small_weights), *arguments])
    model = open_model(output)
    assert (model.kind, model.precision) == ("onnx", "int8")
    assert model.metadata["export"]["images"] == 2
    assert output.stat().st_size < 0.3 * small_onnx.stat().st_size
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {(line[0], line[1]): line for line in lines if line and line[0] in ("torch", "onnxruntime", "openvino")}
    assert set(rows) >= {("torch", "fp32"), ("onnxruntime", "int8"), ("openvino", "int8")}
    assert 0 < float(rows["openvino", "int8"][7]) < 0.5  # depth differs, but not wildly
    assert Predictor.load(output, backend="onnxruntime", device="cpu").precision == "int8"
    export_cli.command([str(small_weights), *arguments[:4], "3", *arguments[5:]])
    assert "not compared: the data has no images left" in capsys.readouterr().out


def test_without_the_reference_nothing_is_compared_and_the_row_says_so(small_weights, monkeypatch):
    samples = [Sample(np.zeros((*SIZE, 3), np.uint8), None, None, None, "black")]
    load = Predictor.load

    def broken_fp32(*arguments, precision, **more):
        if precision == "fp32":
            raise BackendError("out of memory")
        return load(*arguments, precision=precision, **more)

    monkeypatch.setattr(comparison.Predictor, "load", broken_fp32)
    wanted = [Candidate(str(small_weights), "torch", precision) for precision in ("fp32", "bf16", "fp16")]
    rows = comparison.compare(wanted, samples, device="cpu", keep_going=True)
    assert [row.problem for row in rows] == [f"out of memory{comparison.UNCOMPARED}", "", ""]
    assert [row.agreement for row in rows] == [None] * 3
    assert "nothing could be compared with it" in comparison.table(rows)

"""`dps_benchmark`: the stages of a frame, synthetic predictions, statistics, comparison of two runs."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from dps_perception.benchmark import cli, history, messages, roofline, run, timing
from dps_perception.benchmark.count import count
from dps_perception.benchmark.dense_run import FusionRatio, measure_dense
from dps_perception.benchmark.subjects import random_weights
from dps_perception.benchmark.synthetic import Look, network_outputs, predicted
from dps_perception.benchmark.timing import Effort, Stopwatch, Timing, repeat
from dps_perception.errors import ConfigError
from dps_perception.inference.backends.engine_cache import FOLDER_VARIABLE
from dps_perception.inference.machine import differences
from dps_perception.labels import CITYSCAPES
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.families import preset
from dps_perception.types import Sample

TINY = EfficientDPSConfig(backbone="resnet18", channels=8, num_queries=6, num_groups=1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_picture(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8)
    monkeypatch.setattr(run, "_sample", lambda args: Sample(image, None, None, None, "noise"))


def measured(tmp_path, *arguments):
    path = tmp_path / "out.json"
    cli.command([*arguments, "--device", "cpu", "--runs", "3", "--json", str(path)])
    return json.loads(path.read_text())


def test_every_stage_from_message_to_message(small_weights, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- speed -->\nold\n<!-- /speed -->\nz\n")
    arguments = ["--weights", str(small_weights), "--precision", "fp32", "--size", "64x128"]
    result = measured(tmp_path, *arguments, "--markdown", str(readme))
    rows = {row["stage"]: row for row in result["timings"]}
    stages = ["decode", "resize", "network", "fusion", "encode panoptic", "encode depth", "encode instances", "cloud"]
    assert list(rows) == [*stages, "publish", "together"]
    assert {row["subject"] for row in result["timings"]} == {"small 64x128 torch fp32"}
    for row in rows.values():
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["p95_ms"]
        assert row["runs"] == 3
    assert rows["network"]["median_ms"] < rows["together"]["median_ms"]
    assert result["hardware"]["threads"] == torch.get_num_threads()
    assert result["versions"]["numpy"] == np.__version__
    assert "Published without a subscriber" in result["notes"][0]
    lines = readme.read_text().splitlines()
    assert (lines[0], lines[1], lines[-2], lines[-1]) == ("a", "<!-- speed -->", "<!-- /speed -->", "z")
    assert lines[2].startswith("|  | decode | resize | network |")
    assert f"{rows['network']['median_ms']:.1f}" in lines[4]
    assert "encode instances" in capsys.readouterr().out


def test_one_backend_after_the_other_and_what_cannot_run_is_a_note(small_weights, small_cache, tmp_path):
    arguments = ["--weights", str(small_weights), "--size", "64x128", "--no-ros"]
    result = measured(tmp_path, *arguments, "--backend", "torch,openvino", "--precision", "fp32,fp16")
    subjects = [row["subject"] for row in result["timings"] if row["stage"] == "network"]
    assert subjects == [f"small 64x128 {what}" for what in ("torch fp32", "torch fp16", "openvino fp32")]
    assert [row["stage"] for row in result["timings"]][:4] == ["resize", "network", "fusion", "together"]
    with pytest.raises(ConfigError, match="precision 'int8'"):
        measured(tmp_path, *arguments, "--precision", "int8")
    with pytest.raises(ConfigError, match="give one or more topics"):
        measured(tmp_path, "--outputs", "panoptic,")
    with pytest.raises(ConfigError, match="no output 'point', did you mean 'points'"):
        measured(tmp_path, "--weights", str(small_weights), "--size", "64x128", "--outputs", "point")


def test_modes_are_for_the_backends_that_have_them(small_weights, monkeypatch):
    args = cli._parser().parse_args(["--backend", "torch,openvino", "--mode", "eager,cuda_graphs", "--device", "cpu"])
    found = [(c.backend, c.mode) for c in run.chosen(args, [str(small_weights)])]
    assert found == [("torch", "eager"), ("torch", "cuda_graphs"), ("openvino", "")]


def test_random_weights_are_the_same_every_time_and_work_on_synthetic_segments(tmp_path, monkeypatch):
    first, second = (random_weights("tiny", TINY, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    monkeypatch.setattr(run, "random_weights", lambda name: random_weights(name, TINY))
    result = measured(tmp_path, "--preset", "tiny", "--size", "64x128", "--no-ros", "--segments", "20")
    assert result["timings"][0]["subject"].startswith("tiny (random weights) 64x128 torch")
    assert [row["stage"] for row in result["timings"]] == ["resize", "network", "fusion", "together"]
    assert "20 synthetic segments" in result["notes"][0]


def test_fusion_of_random_weights_of_another_family_is_not_timed(tmp_path, monkeypatch):
    small = preset("realtime_panoptic_r18", channels=8, semantic_channels=8)
    monkeypatch.setattr(run, "random_weights", lambda name: random_weights(name, small))
    result = measured(tmp_path, "--preset", "realtime_panoptic_r18", "--size", "64x128", "--no-ros", "--segments", "20")
    assert [row["stage"] for row in result["timings"]] == ["resize", "network", "together"]
    assert "messages work on 20 synthetic segments there, and fusion is not timed" in result["notes"][0]


def test_the_share_of_the_peak_is_that_of_the_measured_network(small_weights, tmp_path, monkeypatch):
    peaks = {"fp32": roofline.Peak("fp32", 3.0, 5.0), "fp16": "only stored"}
    monkeypatch.setattr(roofline, "measure_peak", lambda device, precision: peaks[precision])
    arguments = ["--weights", str(small_weights), "--size", "64x128", "--no-ros", "--roofline"]
    result = measured(tmp_path, *arguments, "--precision", "fp32,fp16")
    (roof,) = result["roofline"]
    (network,) = [r for r in result["timings"] if r["stage"] == "network" and r["subject"].endswith("fp32")]
    assert roof["macs"] == count(TINY, (64, 128))["macs"]
    assert roof["share"] == pytest.approx(2 * roof["macs"] / (network["median_ms"] / 1e3) / 5e9)
    assert "No roofline for fp16: only stored" in result["notes"]


def test_without_ros_it_says_what_to_do(small_weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(ConfigError, match=r"need ROS 2 and dps_msgs .* --no-ros leaves these stages out"):
        cli.command(["--weights", str(small_weights), "--runs", "1"])
    assert "rclpy" in messages.missing()


@pytest.mark.parametrize("kept", [1, 7, 100])
def test_a_synthetic_prediction_has_as_many_segments_as_asked(kept):
    tensors = network_outputs(CITYSCAPES, (256, 512), Look(kept, 100))
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "class_logits": (1, 100, 19), "mask_logits": (1, 100, 32, 64), "depth_logits": (1, 100, 32, 64),
        "backup_depth_logits": (1, 1, 32, 64),
    }  # fmt: skip
    prediction = predicted(tensors, CITYSCAPES, (256, 512), (128, 256), 80.0)
    assert len(prediction.segments) == kept
    assert prediction.panoptic.shape == (128, 256)
    assert (prediction.panoptic == 65535).mean() < 0.1
    assert ((prediction.depth_m > 0) & (prediction.depth_m < 80)).all()
    assert any(not s.is_thing for s in prediction.segments)


def test_impossible_looks_are_refused():
    with pytest.raises(ConfigError, match="101 of 100 queries kept"):
        Look(101, 100)
    with pytest.raises(ConfigError, match="ids for fewer"):
        network_outputs(CITYSCAPES, (64, 64), Look(3000, 3000))


def test_statistics_and_totals_by_hand(monkeypatch):
    clock = iter([0, 0.001, 0.001, 0.011, 0, 0.003, 0.003, 0.023])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch(CPU)
    for _ in range(2):
        watch.frame()
        watch.run("a", lambda: None)
        watch.run("b", lambda: None)
    watch.add("b", 5.0)
    rows = {row.stage: row for row in watch.timings("x")}
    assert (rows["a"].min_ms, rows["a"].median_ms, rows["a"].p95_ms) == pytest.approx((1, 2, 2.9))
    assert (rows["b"].min_ms, rows["b"].median_ms) == pytest.approx((10, 17.5))
    assert rows["together"].median_ms == pytest.approx((11 + 28) / 2)


def test_slow_subjects_stop_early_but_not_too_early():
    calls = []
    watch = repeat(lambda watch: watch.add("a", float(len(calls))) or calls.append(1), Effort(30, 2, 1e-9, 3), CPU)
    assert len(calls) == 2 + 3
    assert [frame["a"] for frame in watch.frames] == [2, 3, 4], "the first two are not counted"
    with pytest.raises(ConfigError, match="0 runs"):
        Effort(0)


def result(ms, stage="network", subject="x", **hardware):
    machine = {"cpu": "A", "threads": 2, "load": "0.5", **hardware}
    return {"hardware": machine, "versions": {"numpy": "2"}, "timings": timing.to_dicts(
        [Timing(subject, stage, ms, ms, ms, 3)])}  # fmt: skip


def test_two_runs_compared_by_hand(tmp_path, capsys):
    compared = history.compare(result(20.0), result(15.0, cpu="B", load="7.0"))
    assert compared["rows"] == [{"subject": "x", "stage": "network", "old_ms": 20.0, "new_ms": 15.0, "ratio": 0.75}]
    assert compared["differs"] == [
        "hardware cpu: A then, B now", "hardware load 7.0 on 2 threads now: others were busy there"
    ]  # fmt: skip
    other = history.compare(result(1.0), result(1.0, subject="y"))
    assert (other["rows"], other["only_old"], other["only_new"]) == ([], ["x"], ["y"])
    assert differences({"a": 1}, {"b": 2}) == ["a: 1 then, unknown now", "b: unknown then, 2 now"]
    for name, ms in (("old", 20.0), ("new", 5.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(ms)))
    cli.command(["--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")])
    out = capsys.readouterr().out
    assert "same hardware and versions" in out
    assert "0.250" in out
    with pytest.raises(ConfigError, match="with 3 files"):
        cli.command(["--compare", *[str(tmp_path / "old.json")] * 3])


def test_a_run_is_compared_with_an_older_one_and_with_rows_of_backends(small_weights, tmp_path):
    old = tmp_path / "old.json"
    arguments = ["--weights", str(small_weights), "--precision", "fp32", "--size", "64x128", "--no-ros"]
    first = measured(tmp_path, *arguments)
    old.write_text(json.dumps(first))
    second = measured(tmp_path, *arguments, "--compare", str(old))
    (network,) = [row for row in second["compared"]["rows"] if row["stage"] == "network"]
    (was,) = [row for row in first["timings"] if row["stage"] == "network"]
    assert network["old_ms"] == was["median_ms"]
    assert network["ratio"] == pytest.approx(network["new_ms"] / was["median_ms"])
    times = {"network": {"median_ms": 3.0}}
    rows = [{"weights": "w", "backend": "torch", "precision": "fp32", "runtime": {"mode": "eager"}, "times_ms": times}]
    assert history.medians({"rows": rows}) == {("w torch eager fp32", "network"): 3.0}
    old.write_text("{}")
    with pytest.raises(ConfigError, match="is not a result of dps_benchmark --json"):
        measured(tmp_path, *arguments, "--compare", str(old))
    assert math.isfinite(network["ratio"])


def test_dense_fusion_is_measured_beside_plain_pytorch():
    found = measure_dense(CITYSCAPES, (64, 128), Look(8, 10), Effort(3, 1), torch.device("cpu"))
    assert found.cells()[0] == "64x128, 8 queries"
    assert found.plain_ms > 0
    assert found.kernel_ms > 0
    assert FusionRatio("a", 300.0, 10.0).cells() == ["a", "300", "10.0", "30x"]

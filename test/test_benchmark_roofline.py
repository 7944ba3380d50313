"""Multiply-adds, peaks and shares; evaluation beside the usual loops; how time grows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_benchmark_stages import TINY
from torch.utils.flop_counter import FlopCounterMode

from dps_perception.benchmark import cli, roofline, run, scale, scoring
from dps_perception.benchmark.plain_scoring import PlainScores
from dps_perception.benchmark.roofline import Peak, Roof, Work, measure_peak
from dps_perception.benchmark.subjects import random_weights
from dps_perception.benchmark.timing import Timing
from dps_perception.evaluation import Evaluator
from dps_perception.inference.backends.engine_cache import FOLDER_VARIABLE
from dps_perception.labels import CITYSCAPES, pack
from dps_perception.types import Prediction, Sample

CPU = torch.device("cpu")
SMALL = Work(side=96, channels=16, height=12, width=20)


def test_work_is_what_pytorch_counts():
    assert SMALL.gemm_flops == 2 * 96**3
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        torch.empty(96, 96) @ torch.empty(96, 96)
    assert counter.get_total_flops() == SMALL.gemm_flops
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv2d(torch.empty(1, 16, 12, 20), torch.empty(16, 16, 3, 3), padding=1)
    assert counter.get_total_flops() == SMALL.conv_flops


def test_a_share_by_hand():
    peak = Peak("fp32", 100.0, 200.0)  # 200e9 operations a second
    assert peak.best == 200
    assert peak.share(10_000_000_000, 200.0) == pytest.approx(0.5)  # 20e9 operations in 0.2 s are 100e9 a second
    roof = Roof("x", 10_000_000_000, 200.0, peak)
    assert roof.cells() == ["x", "10.0", "200.0", "100", "200", "50 %"]
    assert roof.to_dict()["share"] == pytest.approx(0.5)
    assert Roof("x", 1, 1.0, Peak("int8", np.nan, 9.0)).to_dict()["peak"]["gemm"] is None, "JSON has no NaN"


def test_peaks_by_the_clock(monkeypatch):
    monkeypatch.setattr(roofline, "_fastest", lambda function, device, tries: [function(), 1e-3][1])
    peak = measure_peak(CPU, "fp32", SMALL)
    assert peak.gemm == pytest.approx(SMALL.gemm_flops / 1e6)
    assert peak.conv == pytest.approx(SMALL.conv_flops / 1e6)
    monkeypatch.setattr(roofline, "cpu_multiplies_bf16", lambda: False)
    assert measure_peak(CPU, "bf16", SMALL) == "this processor stores bf16 but does not multiply in it"
    assert isinstance(measure_peak(CPU, "fp16", SMALL), str)


def test_the_fastest_try_counts(monkeypatch):
    clock = iter([0, 0, 0, 5, 0, 3, 0, 4])  # two to warm up, then 5, 3 and 4 s
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: next(clock))
    assert roofline._fastest(lambda: None, CPU, 3) == 3


def test_the_peak_of_int8_is_that_of_quantised_convolutions(monkeypatch):
    import onnxruntime

    session = onnxruntime.InferenceSession(roofline._quantised_convolutions(SMALL))
    image = np.random.default_rng(0).uniform(0, 1, (1, 16, 12, 20)).astype(np.float32)
    (seen,) = session.run(None, {"x0": image})
    assert seen.shape == image.shape
    assert seen.std() > 0.01, "it neither saturates nor vanishes"
    peak = measure_peak(CPU, "int8", SMALL, tries=1)
    assert peak.runtime in ("onnxruntime", "openvino")
    assert np.isnan(peak.gemm)
    assert peak.best > 0


def random_pair(seed, shape=(40, 60)):
    random = np.random.default_rng(seed)
    ids = pack([0, 2, 10, 11, 11, 11, 13, 13, 255], [0, 0, 0, 0, 1, 2, 1, 2, 0])
    blocks = random.choice(ids, (2, shape[0] // 10, shape[1] // 10))
    gt, pred = blocks.repeat(10, 1).repeat(10, 2)
    pred = np.where(random.random(shape) < 0.7, gt, pred).astype(np.uint16)
    truth = random.uniform(1, 80, shape).astype(np.float32)
    depth = (truth * random.lognormal(0, 0.3, shape)).astype(np.float32)
    truth[random.random(shape) < 0.1], depth[random.random(shape) < 0.1] = np.nan, np.inf
    return Prediction(pred, depth, np.ones(shape, np.float32), ()), Sample(
        np.zeros((*shape, 3), np.uint8), gt, truth, None, str(seed)
    )


def test_the_usual_loops_and_ours_score_the_same():
    """With crowds, void, unknown depth on both sides."""
    rates = scoring.measure([random_pair(seed) for seed in range(6)], tries=1)
    assert 0 < rates.ours_dpq < rates.ours_pq < 100
    assert rates.loops_pq == pytest.approx(rates.ours_pq, abs=1e-9)
    assert rates.loops_dpq == pytest.approx(rates.ours_dpq, abs=1e-9)
    assert rates.agree
    assert rates.to_dict()["ratio"] == rates.ours_per_s / rates.loops_per_s
    assert (rates.images, rates.height, rates.width) == (6, 40, 60)


def test_the_usual_loops_by_hand():
    """Two roads of which 9 and 7 of 10 pixels are right, the rest void: IoU 0.9 and 0.7; one car missed."""
    road, car, void = pack(0, 0), pack(13, 1), pack(255, 0)
    truth = np.array([[road] * 10 + [car]], np.uint16)
    plain = PlainScores(CITYSCAPES, [0.5])
    depth = np.ones((1, 11), np.float32)
    for right in (9, 7):
        plain.add(np.array([[road] * right + [void] * (11 - right)], np.uint16), depth, truth, depth)
    assert plain.pq() == pytest.approx((80 + 0) / 2)
    assert plain.dpq() == pytest.approx(40)


def test_street_pairs_are_neither_perfect_nor_hopeless():
    ((prediction, sample),) = scoring.pairs(1, (128, 256))
    evaluator = Evaluator(CITYSCAPES)
    evaluator.update(prediction.panoptic, prediction.depth_m, sample.panoptic, sample.depth_m)
    scores = evaluator.compute()
    assert 10 < scores.dpq < scores.pq < 95


def test_growth_of_time_is_measured_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(scale, "SIZES", ((32, 64), (64, 64), (64, 128)))
    monkeypatch.setattr(scale, "QUERIES", (4, 8))
    monkeypatch.setattr(scale, "SEGMENTS", (2, 5))
    monkeypatch.setattr(scale, "preset", lambda name, **changes: replace(TINY, **changes))
    monkeypatch.setattr(run, "AFTER_SIZE", (64, 128))
    monkeypatch.setattr(run, "_street", lambda size: Sample(np.zeros((*size, 3), np.uint8), None, None, None, ""))
    monkeypatch.setattr(scoring, "pairs", lambda number, size: [random_pair(seed) for seed in range(number)])
    weights = random_weights("tiny", TINY, tmp_path)
    folder, path = tmp_path / "plots", tmp_path / "out.json"
    cli.command([
        "--weights", str(weights), "--image", str(_picture(tmp_path)), "--scale", str(folder), "--evaluation",
        "--after-network", "--no-ros", "--runs", "1", "--device", "auto", "--precision", "fp32", "--json", str(path),
    ])  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == ["scale_queries.png", "scale_segments.png", "scale_size.png"]
    found = json.loads(path.read_text())
    assert found["scale"]["size"]["values"] == [2048 / 1e6, 4096 / 1e6, 8192 / 1e6]
    assert found["scale"]["queries"]["values"] == [4, 8]
    assert all(len(ms) == 2 for ms in found["scale"]["queries"]["median_ms"].values())
    assert "network" not in found["scale"]["segments"]["median_ms"]
    assert found["scale"]["segments"]["median_ms"]["fusion"][0] > 0
    subjects = dict.fromkeys(row["subject"] for row in found["timings"])
    assert list(subjects) == [f"after the network 64x128, {n} segments" for n in (50, 100)]
    assert found["evaluation"]["agree"]


def test_the_plot_has_a_line_for_each_stage(tmp_path):
    timings = [[Timing("x", stage, ms, ms, ms, 1) for stage in ("a", "together")] for ms in (1.0, 2.0)]
    axis = scale.Axis("size", "megapixels", [0.5, 1.0], timings)
    assert axis.to_dict()["median_ms"] == {"a": [1.0, 2.0], "together": [1.0, 2.0]}
    assert scale.plot(axis, tmp_path).stat().st_size > 5000


def _picture(folder):
    import cv2

    cv2.imwrite(str(folder / "p.png"), np.zeros((64, 128, 3), np.uint8))
    return folder / "p.png"


def test_a_network_stands_under_the_highest_peak_of_its_data_type():
    peaks = [Peak("bf16", 400.0, 450.0), Peak("bf16", 210.0, 230.0), Peak("fp32", 180.0, 220.0)]
    roofs = [Roof(str(number), 10**9, 10.0, peak) for number, peak in enumerate(peaks)]
    assert [roof.under(roofs).peak.best for roof in roofs] == [450, 450, 220]
    assert roofs[1].under(roofs).share == pytest.approx(2e9 / 0.01 / 450e9)

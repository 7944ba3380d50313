"""The node measured from outside: what is worked out from stamps and arrivals, and one run of everything."""

from pathlib import Path

import pytest

from dps_perception.benchmark.cli import main
from dps_perception.benchmark.node_rows import HEADER, cells
from dps_perception.benchmark.node_run import STAGES, measure_node, summary
from dps_perception.errors import ConfigError
from dps_perception.node.demo_processes import ChildError

MS = 1_000_000


def row(stamp, network, processing, dropped):
    stages = dict.fromkeys((f"{stage}_ms" for stage in STAGES), 0.0)
    stages |= {"inference_ms": network, "processing_ms": processing}
    return stages | {"stamp_ns": stamp, "frames_dropped": dropped, "backend": "torch", "precision": "fp32"}


def test_end_to_end_is_from_the_image_to_the_last_output_of_each_whole_frame():
    second = 1000 * MS
    sent = {s * second: (7 + s) * second for s in (1, 2, 3, 4)}  # on another clock than the stamps

    def after(*delays_ms):
        return [[stamp, sent[stamp] + delay * MS] for stamp, delay in zip(sent, delays_ms, strict=False)]

    outputs = {"panoptic": [[0, 5], *after(110, 120, 130)], "points": after(150, 220)}  # 0: before the measurement
    stats = [row(0, 1, 1, 0), *(row(s * second, 100.0, 140.0 if s == 1 else 180.0, s) for s in (1, 2, 3))]
    result = summary(sent, outputs, stats, cpu_s=0.6, wall_s=4.0)
    assert result["frames"] == {"sent": 4, "processed": 3, "dropped": 2}
    assert result["received"] == {"panoptic": 3, "points": 2}
    assert (result["end_to_end_ms"]["min"], result["end_to_end_ms"]["median"]) == (150, 185)
    assert result["network_ms"]["median"] == 100
    assert result["ratio"] == pytest.approx(1.85)
    assert result["ratio_in_node"] == pytest.approx(1.6)
    assert result["arrival_ms"] == {"panoptic": 115, "points": 185}
    assert (result["cpu_ms_per_frame"], result["cpu_cores"]) == (pytest.approx(200), pytest.approx(0.15))
    assert result["processed_hz"] == pytest.approx(1.0)


def test_without_a_whole_frame_it_says_what_came():
    with pytest.raises(ChildError, match=r"none of 1 frames .*'panoptic': 1, 'points': 0, 'stats': 0"):
        summary({1: 5}, {"panoptic": [[1, 9]], "points": []}, [], 1.0, 1.0)


@pytest.mark.parametrize(("values", "reason"), [({"outputs": ["point"]}, "'points'"), ({"frames": 0}, "above 0")])
def test_what_can_not_be_measured_is_refused_before_anything_starts(values, reason):
    with pytest.raises(ConfigError, match=reason):
        measure_node("", **values)


@pytest.mark.parametrize("option", [["--preset", "efficientdps_r18"], ["--compare", "docs/benchmark.json"]])
def test_options_that_a_node_has_no_use_for_are_refused(option, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).resolve().parent.parent)
    monkeypatch.setattr("sys.argv", ["dps_benchmark", "--node", *option])
    assert main() != 0
    assert "--node takes --weights" in capsys.readouterr().err


def test_a_node_a_subscriber_and_all_its_outputs(small_weights, monkeypatch):
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        monkeypatch.setenv(name, "0")  # what the measurement sets is undone after the test
    result = measure_node(
        str(small_weights), backend="torch", precision="fp32", size_hw=(64, 128), network_hw=(64, 128),
        frames=4, rate_hz=5.0,
        parameters={"device": "cpu", "score_threshold_stuff": "0.0", "score_threshold_things": "0.0"},
    )  # fmt: skip
    assert (result["backend"], result["precision"]) == ("torch", "fp32")
    assert result["frames"]["sent"] == 4
    assert min(result["received"].values()) == result["frames"]["processed"] >= 2
    assert result["end_to_end_ms"]["min"] > result["network_ms"]["min"] > 0
    assert result["ratio"] > result["ratio_in_node"] > 1
    assert 0 < result["cpu_cores"] < 64
    shown = dict(zip(HEADER, cells(result, result | {"processed_hz": 12.34}), strict=True))
    assert shown["node"] == "torch fp32"
    assert shown["frames/s"] == "12.3"
    assert shown["frames sent, all outputs received"] == f"4, {min(result['received'].values())}"
    assert float(shown["in the node / network"]) == pytest.approx(result["ratio_in_node"], abs=0.006)

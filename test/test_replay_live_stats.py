"""The sums over ~/stats, by hand."""

from __future__ import annotations

import math

import pytest

from dps_msgs.msg import PipelineStats
from dps_perception.node.live_stats import RunStats


def stats(received: int, processed: int, processing_ms: float, latency_ms: float = math.nan) -> PipelineStats:
    return PipelineStats(
        backend="torch",
        precision="fp32",
        frames_in=received,
        frames_processed=processed,
        frames_dropped=received - processed,
        processing_ms=processing_ms,
        latency_ms=latency_ms,
    )


def test_nothing_came() -> None:
    assert RunStats().summary() == "no ~/stats came: the node processed nothing"
    assert RunStats().to_dict()["rate_hz"] is None
    assert RunStats().typical_s == 0


def test_counts_rate_and_percentiles() -> None:
    run = RunStats()
    for i in range(5):
        run.add(stats(2 * i + 1, i + 1, 10.0 * (i + 1)), 100 + 0.5 * i)
    found = run.to_dict()
    assert found["frames"] == {"received": 9, "processed": 5, "dropped": 4}
    assert found["rate_hz"] == pytest.approx(2.0)
    assert found["times"]["processing_ms"]["p50"] == 30  # type: ignore[index]
    assert "latency_ms" not in found["times"]  # type: ignore[operator]
    assert run.typical_s == pytest.approx(0.03)
    assert "9 images received, 5 processed, 4 dropped, 2.00 frames/s" in run.summary()
    assert "in the node [ms]: 30 (50 %), 48 (95 %), 50 (99 %)" in run.summary()


def test_a_node_that_starts_again_counts_on() -> None:
    run = RunStats()
    for moment, (received, processed) in enumerate([(3, 3), (4, 4), (1, 1), (2, 2)]):
        run.add(stats(received, processed, 1.0), moment)
    assert run.to_dict()["frames"] == {"received": 6, "processed": 6, "dropped": 0}

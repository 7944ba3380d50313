"""What ~/stats says over a run: frames, rate, latency percentiles."""

from __future__ import annotations

import math

import numpy as np

from dps_msgs.msg import PipelineStats

_PERCENTILES = (50, 95, 99)
_TIMES = ("inference_ms", "processing_ms", "latency_ms")


class RunStats:
    """Sums up the ~/stats of one run; a node that starts again counts from zero, which is added."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {name: [] for name in _TIMES}
        self._arrivals_s: list[float] = []
        self._finished = np.zeros(3, np.int64)  # of runs of the node that are over: received, processed, dropped
        self._running = np.zeros(3, np.int64)
        self.backend = ""

    def add(self, message: PipelineStats, now_s: float) -> None:
        """Take a message that arrived at `now_s` [s, monotonic]."""
        counts = np.array([message.frames_in, message.frames_processed, message.frames_dropped], np.int64)
        if counts[1] < self._running[1]:
            self._finished += self._running
        self._running = counts
        self._arrivals_s.append(now_s)
        self.backend = f"{message.backend} {message.precision}"
        for name, values in self._times.items():
            value = float(getattr(message, name))
            if math.isfinite(value):
                values.append(value)

    @property
    def frames(self) -> int:
        """Messages taken."""
        return len(self._arrivals_s)

    @property
    def typical_s(self) -> float:
        """Median time of a frame in the node [s]; 0 where there was none."""
        return float(np.median(self._times["processing_ms"] or [0.0])) / 1000

    def to_dict(self) -> dict[str, object]:
        """All numbers, for a file; rate in frames/s, times in milliseconds by percentile."""
        received, processed, dropped = (int(n) for n in self._finished + self._running)
        times = {
            name: {f"p{p}": float(np.percentile(values, p)) for p in _PERCENTILES}
            for name, values in self._times.items()
            if values
        }
        counts = {"received": received, "processed": processed, "dropped": dropped}
        return {"frames": counts, "rate_hz": self._rate_hz(), "backend": self.backend, "times": times}

    def summary(self) -> str:
        """Two or three lines."""
        if not self.frames:
            return "no ~/stats came: the node processed nothing"
        received, processed, dropped = self._finished + self._running
        rate = self._rate_hz()
        lines = [
            f"node ({self.backend}): {received} images received, {processed} processed, {dropped} dropped"
            + ("" if rate is None else f", {rate:.2f} frames/s")
        ]
        for name, what in (("processing_ms", "in the node"), ("latency_ms", "age when published")):
            if values := self._times[name]:
                shown = ", ".join(f"{np.percentile(values, p):.0f} ({p} %)" for p in _PERCENTILES)
                lines.append(f"{what} [ms]: {shown}")
        return "\n".join(lines)

    def _rate_hz(self) -> float | None:
        if self.frames < 2 or self._arrivals_s[-1] <= self._arrivals_s[0]:
            return None
        return (self.frames - 1) / (self._arrivals_s[-1] - self._arrivals_s[0])

"""Where the time of a training step goes."""

from __future__ import annotations

from collections import defaultdict
from time import perf_counter

import torch

from ..evaluation.scores import text_table

STAGES = ("data", "forward", "matching", "losses", "backward", "optimiser", "other")
"""In this order: waiting for the loader and the copy to the device; the network; cost matrices, their transfer and the
assignment; the loss terms; back-propagation (with the exchange between processes); the optimiser; averaging,
checkpoints and logs."""


class StepClock:
    """Seconds of each stage; on a GPU every reading waits for the device, so that a stage pays for its own work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.images = 0
        self._window: dict[str, float] = {}
        self._window_images = 0
        self._last = perf_counter()

    def start(self) -> None:
        """Go on from here; the time since the last reading is nobody's (validation)."""
        self._last = _now()

    def lap(self, stage: str) -> None:
        """The time since the last reading was spent in `stage`."""
        now = _now()
        self.seconds[stage] += now - self._last
        self._last = now

    def window(self) -> dict[str, float]:
        """Share of each stage (sum one) and images per second since this was last asked; empty without any."""
        spent = {stage: self.seconds[stage] - self._window.get(stage, 0.0) for stage in STAGES}
        images, total = self.images - self._window_images, sum(spent.values())
        self._window, self._window_images = dict(self.seconds), self.images
        if not images or total <= 0:
            return {}
        return {stage: value / total for stage, value in spent.items()} | {"images_per_second": images / total}

    def table(self, processes: int = 1) -> str:
        """All stages so far, for the terminal; "" before the first step."""
        total = sum(self.seconds.values())
        if not self.images or total <= 0:
            return ""
        rows = [
            [stage, f"{1000 * self.seconds[stage] / self.images:.1f}", f"{100 * self.seconds[stage] / total:.1f} %"]
            for stage in STAGES
        ]
        rows.append(["all", f"{1000 * total / self.images:.1f}", "100.0 %"])
        speed = f"{processes * self.images / total:.2f} images per second"
        of = f" by {processes} processes (times: of the first)" if processes > 1 else ""
        return f"{text_table(['stage', 'ms per image', 'share'], rows)}\n{speed}{of}"


def _now() -> float:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return perf_counter()

"""`backend: auto`: measure the available backends and keep the fastest whose output agrees with the reference."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BackendError, DpsError
from ..types import Prediction, Sample
from .agreement import Agreement, agreement, predictions
from .backends.base import Backend, Progress
from .backends.devices import pick_device
from .backends.model_file import WEIGHTS, ModelFile
from .backends.registry import BACKENDS, availability, open_backend, precisions
from .export import street_image
from .predictor import Predictor

RUNS = 5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One candidate: its median time and agreement with the reference, or why it is out."""

    backend: str
    precision: str
    median_ms: float = float("nan")
    agreement: Agreement | None = None
    problem: str = ""

    def line(self) -> str:
        """The row as text."""
        head = f"{self.backend:<12}{self.precision:<6}"
        if self.agreement is None:
            return f"{head}{self.problem}"
        note = f"  {self.problem}" if self.problem else ""
        return f"{head}{self.median_ms:8.1f} ms  PQ {self.agreement.pq:6.2f}  depth {self.agreement.abs_rel:.1e}{note}"


def candidates(model: ModelFile, device: str, precision: str) -> list[tuple[str, str]]:
    """(backend, precision) pairs worth measuring; fp32 PyTorch, the reference, comes first where it can run."""
    pairs = []
    gpu = pick_device(device).type == "cuda"
    for name in BACKENDS:
        if availability()[name] or (name == "torch" and model.kind != WEIGHTS):
            continue
        allowed = precisions(name, model, device)
        if precision == "auto":
            # On a CPU fp16 is only stored, not computed in.
            pairs += [(name, p) for p in allowed if gpu or p != "fp16" or len(allowed) == 1]
        elif precision in allowed:
            pairs.append((name, precision))
    return sorted(pairs, key=lambda pair: pair != ("torch", "fp32"))


def fastest(
    model: ModelFile,
    device: str,
    precision: str,
    size: tuple[int, int],
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Open the fastest backend whose output agrees; one that can't be opened or disagrees is reported and left out.

    Args:
        model, device, precision, cache, progress: see `open_backend`.
        size: (height, width) of the network's input.

    Raises:
        BackendError: none is left; with the whole table.
    """
    say = progress or _LOG.info
    rows: list[Row] = []
    best: tuple[float, Backend] | None = None
    image = street_image(size)
    sample = Sample(image[0], None, None, None, "street")
    pairs = candidates(model, device, precision)
    reference = None
    if model.kind == WEIGHTS:
        reference = _reference(model, device, size, sample)
    for name, wanted in pairs:
        try:
            backend = open_backend(
                name, model, device=device, precision=wanted, input_size=size, cache=cache, progress=progress
            )
            backend.warm_up()
            median_ms = _median_ms(backend, image)
            seen = predictions(Predictor(model.info, backend, size), [sample])
        except DpsError as error:
            rows.append(Row(name, wanted, problem=str(error)))
            say(rows[-1].line())
            continue
        reference = reference or seen  # an exported file has no PyTorch beside it: its first backend is the measure
        agreed = agreement(model.info.label_space, reference, seen)
        good = agreed.reaches(wanted)
        rows.append(Row(name, wanted, median_ms, agreed, "" if good else "disagrees with the reference"))
        say(rows[-1].line())
        if good and (best is None or median_ms < best[0]):
            if best is not None:
                best[1].close()
            best = median_ms, backend
        else:
            backend.close()
    if best is None:
        table = "; ".join(" ".join(row.line().split()) for row in rows)
        raise BackendError(f"no backend can run {model.path} with device {device}, precision {precision}: {table}")
    say(f"backend auto: {best[1].name} {best[1].precision} on {best[1].device}")
    return best[1]


def _reference(model: ModelFile, device: str, size: tuple[int, int], sample: Sample) -> list[Prediction]:
    backend = open_backend("torch", model, device=device, precision="fp32", input_size=size)
    try:
        return predictions(Predictor(model.info, backend, size), [sample])
    finally:
        backend.close()


def _median_ms(backend: Backend, image: np.ndarray) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        backend.run(image)
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times))

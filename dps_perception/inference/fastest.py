"""`backend: auto`: measure the available backends and keep the fastest whose output agrees with the reference."""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import BackendError, DpsError
from ..types import Sample
from .backends.base import Backend, Progress
from .backends.devices import pick_device
from .backends.model_file import WEIGHTS, FileKind, ModelFile
from .backends.registry import BACKENDS, availability, open_backend, precisions
from .comparison import REFERENCE, UNCOMPARED, Row, study
from .export import street_image
from .predictor import Predictor

RUNS = 5
_LOG = logging.getLogger(__name__)


def choices(model: FileKind, device: str, precision: str) -> list[tuple[str, str]]:
    """(backend, precision) pairs that may be kept.

    Raises:
        ConfigError: no such device.
    """
    gpu = pick_device(device).type == "cuda"
    pairs = []
    for name, missing in availability().items():
        if missing or (name == "torch" and model.kind != WEIGHTS):
            continue
        allowed = precisions(name, model, device)
        # On a CPU fp16 is only stored, not computed in.
        useful = [p for p in allowed if gpu or p != "fp16" or len(allowed) == 1]
        pairs += [(name, p) for p in (useful if precision == "auto" else allowed) if precision in ("auto", p)]
    return pairs


def fastest(
    model: ModelFile,
    device: str,
    precision: str,
    size: tuple[int, int],
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Open the fastest backend whose output agrees; one that can't be opened or disagrees is reported and left out.

    Where the reference itself can't be opened, that is reported too, and the fastest is taken unchecked.

    Args:
        model, device, precision, cache, progress: see `open_backend`.
        size: (height, width) of the network's input.

    Raises:
        BackendError: none is left; with the reason for each.
    """
    say = progress or _LOG.info
    sample = Sample(street_image(size)[0], None, None, None, "street")
    eligible = choices(model, device, precision)
    # An exported file has no PyTorch beside it: its first backend is the measure.
    pairs = [REFERENCE, *(p for p in eligible if p != REFERENCE)] if model.kind == WEIGHTS else eligible
    best: tuple[Row, Backend] | None = None
    reference, problems = None, []
    for number, (name, wanted) in enumerate(pairs):
        try:
            backend = open_backend(
                name, model, device=device, precision=wanted, input_size=size, cache=cache, progress=progress
            )
            row, seen = study(Predictor(model.info, backend, size), [sample], reference, RUNS)
        except DpsError as error:
            problems.append(f"{name} {wanted}: {error}")
            say(f"backend auto: {problems[-1]}{UNCOMPARED if number == 0 else ''}")
            continue
        if number == 0:
            reference = seen
        if row.note():
            problems.append(row.note())
        say(f"backend auto: {name} {wanted} takes {row.total_ms:.1f} ms{'; ' if row.note() else ''}{row.note()}")
        if row.note() or (name, wanted) not in eligible or (best is not None and best[0].total_ms <= row.total_ms):
            backend.close()
            continue
        if best is not None:
            best[1].close()
        best = row, backend
    if best is None:
        able = ", ".join(n for n in BACKENDS if not availability()[n])
        raise BackendError(
            f"no backend can run {model.path} with device {device}, precision {precision} (available: {able}): "
            f"{'; '.join(problems) or 'none has that precision'}"
        )
    say(f"backend auto keeps {best[1].name} {best[1].precision} on {best[1].device}")
    return best[1]

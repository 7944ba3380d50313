"""`dps_benchmark --parity`: every available backend and precision against fp32 PyTorch, on street images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import ConfigError, DpsError
from .agreement import TARGETS, agreement, predictions
from .backends.model_file import WEIGHTS, open_model
from .backends.registry import BACKENDS, availability, precisions
from .predictor import Predictor
from .sources import STREET, open_source


def parity(
    weights: str,
    *,
    device: str = "auto",
    input_size: tuple[int, int] | None = None,
    images: int = 20,
    dataset: str = f"{STREET}test",
    cache: Path | str | None = None,
) -> list[dict[str, Any]]:
    """Compare all available backends and precisions with fp32 PyTorch.

    Args:
        weights: a weights file, see `Predictor.load`.
        device: for the backends that can choose.
        input_size: of the network; None takes the weights' own.
        images: how many to compare on.
        dataset: see `open_source`.
        cache: for exported files.

    Returns:
        A row each: backend, precision, mode, pq, depth_abs_rel, median_ms of the network, target (or None), reached;
        or backend, precision and problem.

    Raises:
        ConfigError: the weights are an exported file, or `images` is not positive.
    """
    if open_model(weights).kind != WEIGHTS:
        raise ConfigError(f"{weights}: parity compares with PyTorch, so it needs a .safetensors file")
    if images < 1:
        raise ConfigError(f"{images} images: at least 1 is needed")
    samples = list(open_source(dataset, split="test", limit=images))
    model = open_model(weights)
    pairs = [("torch", "fp32")]
    for name in BACKENDS:
        if not availability()[name]:
            pairs += [(name, p) for p in precisions(name, model, device) if (name, p) not in pairs]
    rows: list[dict[str, Any]] = []
    reference = None
    for name, precision in tqdm(pairs, unit="backend", disable=None):
        try:
            predictor = Predictor.load(
                weights, backend=name, device=device, precision=precision, input_size=input_size, cache=cache
            )
        except DpsError as error:
            rows.append({"backend": name, "precision": precision, "problem": str(error)})
            continue
        predictor.warm_up()
        seen = predictions(predictor, samples)
        reference = reference or seen
        agreed = agreement(predictor.model.label_space, reference, seen)
        rows.append(
            {
                "backend": name,
                "precision": precision,
                "mode": predictor.backend.describe()["mode"],
                "version": predictor.backend.describe()["version"],
                "device": predictor.device,
                "pq": agreed.pq,
                "depth_abs_rel": agreed.abs_rel,
                "images": agreed.images,
                "median_ms": float(np.median([p.timings_ms["inference"] for p in seen])),
                "target": TARGETS[precision],
                "reached": agreed.reaches(precision),
            }
        )
        predictor.close()
    rows += [{"backend": n, "precision": "", "problem": why} for n, why in availability().items() if why]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'backend':<13}{'precision':<11}{'PQ':>8}{'depth':>10}{'network':>11}  target"]
    for row in rows:
        if "problem" in row:
            lines.append(f"{row['backend']:<13}{row['precision']:<11}{row['problem']}")
            continue
        least, most = row["target"]
        verdict = "reached" if row["reached"] else f"MISSED: PQ {least}, depth {most:g}"
        numbers = f"{row['pq']:8.2f}{row['depth_abs_rel']:10.1e}{row['median_ms']:8.1f} ms"
        lines.append(f"{row['backend']:<13}{row['precision']:<11}{numbers}  {verdict}")
    return "\n".join(lines)

"""`dps_benchmark --parity`: backends side by side, how well each agrees with fp32 PyTorch and with the labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..data.layout import read_image
from ..errors import ConfigError
from ..evaluation.marks import between_marks, put
from ..inference.backends.model_file import open_model
from ..inference.comparison import EVERY, REFERENCE, Candidate, candidates, compare, markdown, missing, table
from ..inference.machine import described, hardware, versions
from ..inference.sources import open_source
from ..types import Sample

NAME = "backends"


def run(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    """Measure, print a table, put it into --markdown, and return what --json gets.

    Raises:
        ConfigError: nothing to measure on, or a file without marks.
        DpsError: see `compare`.
    """
    if args.images < 1:
        raise ConfigError(f"--runs {args.runs}, --images {args.images}: both must be 1 or more")
    if args.markdown:
        between_marks(args.markdown, NAME)  # now, not after the measurements
    weights, backends = args.weights or [""], args.backend.split(",")
    every = EVERY in backends
    wanted = candidates(weights, backends, args.precision.split(","), args.device, args.mode)
    reference = Candidate(weights[0], *REFERENCE)
    wanted = [reference, *(c for c in wanted if c != reference)]
    samples = _samples(args)
    machine = hardware()  # its load before, not that of the measurements
    rows = compare(
        wanted, samples, device=args.device, input_size=size, runs=args.runs, keep_going=every, progress=print
    ) + (missing() if every else [])  # fmt: skip
    model = open_model(weights[0])
    height, width = model.input_size(size)
    image = samples[0].image.shape
    about = (
        f"{model.info.model_id}, network {height}x{width}, {len(samples)} images of {image[0]}x{image[1]}, "
        f"{max(args.runs, len(samples))} runs"
    )
    print(f"{about}\n{described(machine)}\n{table(rows)}")
    if args.markdown:
        put(args.markdown, NAME, f"{markdown(rows)}\n\n{about}; {described(machine)}.")
    return {
        "model_id": model.info.model_id,
        "weights_sha256": model.info.weights_sha256,
        "network_size": [height, width],
        "image_size": list(image[:2]),
        "images": args.data,
        "hardware": machine,
        "versions": versions(),
        "rows": [row.to_dict() for row in rows],
    }


def _samples(args: argparse.Namespace) -> list[Sample]:
    if args.image:
        return [Sample(read_image(Path(args.image)), None, None, None, Path(args.image).stem)]
    return list(open_source(args.data, split=args.split, limit=args.images))

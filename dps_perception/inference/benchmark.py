"""`dps_benchmark`: count a network's parameters and multiply-adds, or measure backends side by side on this machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .. import cli
from ..data.layout import read_image
from ..errors import ConfigError
from ..files import replacing
from ..models.config import PRESETS, EfficientDPSConfig, preset
from ..models.efficientdps import SIZE_MULTIPLE, EfficientDPS
from ..types import Sample
from .backends.model_file import open_model
from .comparison import EVERY, REFERENCE, Candidate, candidates, compare, markdown, missing, table
from .sources import STREET, open_source

MARKS = ("<!-- backends -->", "<!-- /backends -->")


def count(config: EfficientDPSConfig, size_hw: tuple[int, int]) -> dict[str, int]:
    """Parameters and multiply-adds of the inference network (one query group) for one image of `size_hw`.

    Counted by PyTorch's operator counter on meta tensors, so nothing is computed; one multiply-add is one MAC.

    Raises:
        ConfigError: the size is not a multiple of 32.
    """
    if any(n <= 0 or n % SIZE_MULTIPLE for n in size_hw):
        raise ConfigError(f"size {size_hw[0]}x{size_hw[1]}: both must be positive multiples of {SIZE_MULTIPLE}")
    with torch.device("meta"):
        network = EfficientDPS(replace(config, num_groups=1, auxiliary_semantic=False)).eval()
        image = torch.empty((1, *size_hw, 3), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return {"params": sum(p.numel() for p in network.parameters()), "macs": counter.get_total_flops() // 2}


def hardware() -> dict[str, Any]:
    """What the numbers were measured on; `load` above the number of threads in use: others were busy there too."""
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def command(argv: Sequence[str] | None) -> None:
    """Count or measure, print a table, and write it where asked."""
    args = _parser().parse_args(argv)
    size = cli.parse_size(args.size) if args.size else None
    result = _count(args.preset, size or (1024, 2048), args.panoptic_only) if args.count else _measure(args, size)
    if args.json:
        with replacing(args.json) as path:
            path.write_text(json.dumps(result, indent=1) + "\n")


def _count(name: str, size: tuple[int, int], panoptic_only: bool) -> dict[str, Any]:
    config = preset(name, depth=False, backup_depth=False) if panoptic_only else preset(name)
    counted = count(config, size)
    what = f"{name}{' without depth' if panoptic_only else ''} at {size[0]}x{size[1]}"
    print(f"{what}: {counted['params'] / 1e6:.2f} M parameters, {counted['macs'] / 1e9:.1f} G multiply-adds")
    return {"preset": name, "size": list(size), "panoptic_only": panoptic_only, **counted}


def _measure(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    if args.runs < 1 or args.images < 1:
        raise ConfigError(f"--runs {args.runs}, --images {args.images}: both must be 1 or more")
    if args.markdown:
        _between_marks(args.markdown)  # now, not after the measurements
    weights, backends = args.weights or [""], args.backend.split(",")
    precisions = args.precision.split(",")
    every = EVERY in backends
    wanted = candidates(weights, backends, precisions, args.device, args.mode)
    if args.parity:
        reference = Candidate(weights[0], *REFERENCE)
        wanted = [reference, *(c for c in wanted if c != reference)]
    samples = _samples(args)
    machine = hardware()  # its load before, not that of the measurements
    rows = compare(
        wanted, samples, device=args.device, input_size=size, runs=args.runs, agree=args.parity, keep_going=every,
        progress=print,
    ) + (missing() if every else [])  # fmt: skip
    model = open_model(weights[0])
    height, width = model.input_size(size)
    image = samples[0].image.shape
    about = (
        f"{model.info.model_id}, network {height}x{width}, {len(samples)} images of {image[0]}x{image[1]}, "
        f"{max(args.runs, len(samples))} runs"
    )
    described = ", ".join(f"{key} {value}" for key, value in machine.items())
    print(f"{about}\n{described}\n{table(rows)}")
    if args.markdown:
        before, after = _between_marks(args.markdown)
        with replacing(args.markdown) as path:
            path.write_text(f"{before}\n{markdown(rows)}\n\n{about}; {described}.\n{after}")
    return {
        "model_id": model.info.model_id,
        "weights_sha256": model.info.weights_sha256,
        "network_size": [height, width],
        "image_size": list(image[:2]),
        "images": args.data,
        "hardware": machine,
        "rows": [row.to_dict() for row in rows],
    }


def _samples(args: argparse.Namespace) -> list[Sample]:
    if args.image:
        return [Sample(read_image(Path(args.image)), None, None, None, Path(args.image).stem)]
    number = args.images if args.parity else 1
    return list(open_source(args.data, split=args.split, limit=number))


def _between_marks(path: Path) -> tuple[str, str]:
    """What stands before and after the table in a file, marks included.

    Raises:
        ConfigError: the file lacks the marks.
    """
    text = path.read_text() if path.is_file() else ""
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not start or not end:
        raise ConfigError(f"--markdown {path}: it needs the lines {MARKS[0]} and {MARKS[1]}; the table goes in between")
    return before + start, end + after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dps_benchmark", description=__doc__)
    parser.add_argument("--count", action="store_true", help="count parameters and multiply-adds instead of timing")
    parser.add_argument("--preset", default="efficientdps_r18", help=f"for --count, one of {', '.join(PRESETS)}")
    parser.add_argument("--panoptic-only", action="store_true", help="for --count, the model without depth")
    parser.add_argument("--size", help="network input HEIGHTxWIDTH (timing: the weights' own; --count: 1024x2048)")
    parser.add_argument(
        "--weights",
        nargs="+",
        metavar="FILE",
        help="weights, ONNX or engine files, or shipped names (default: shipped)",
    )
    parser.add_argument("--image", help="image file to measure on (default: the first of --data)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--backend", default="torch",
        help="one or more with commas: torch (default), onnxruntime, openvino, tensorrt, auto (the fastest); or all",
    )  # fmt: skip
    parser.add_argument(
        "--precision", default="auto", help="one or more with commas: auto, fp32, bf16, fp16, int8; or all"
    )
    parser.add_argument(
        "--mode", default="", help="torch: eager, compile, cuda_graphs; onnxruntime: tensorrt; tensorrt: tensorrt_rtx"
    )
    parser.add_argument(
        "--parity", action="store_true", help="compare with fp32 PyTorch and with the labels, on --images of --data"
    )
    parser.add_argument(
        "--data", default=f"{STREET}test", help="images to measure on, as for dps_evaluate (default: street:test)"
    )
    parser.add_argument("--split", default="test", help="subfolder of a dataset folder (default: test)")
    parser.add_argument("--images", type=int, default=20, help="for --parity, the number of images (default: 20)")
    parser.add_argument("--runs", type=int, default=30, help="timed images after a warm-up (default: 30)")
    parser.add_argument("--markdown", type=Path, help=f"put the table into this file, between {' and '.join(MARKS)}")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    return parser


def main() -> int:
    """Console entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

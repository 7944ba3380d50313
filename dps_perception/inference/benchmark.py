"""`dps_benchmark`: count a network's parameters and multiply-adds, or time the Predictor's stages on this machine."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from .. import cli
from ..errors import ConfigError
from ..files import replacing
from ..models.config import PRESETS, EfficientDPSConfig, preset
from ..models.efficientdps import SIZE_MULTIPLE, EfficientDPS
from .predictor import Predictor

STAGES = ("preprocess", "inference", "fusion")


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


def time_stages(predictor: Predictor, image: np.ndarray, runs: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each stage and in all: minimum, median and 95th percentile over `runs` after a warm-up."""
    for _ in range(3):
        predictor.predict(image)
    rows = []
    for _ in tqdm(range(runs), unit="run", disable=None):
        timings = predictor.predict(image).timings_ms
        rows.append([*(timings[s] for s in STAGES), sum(timings[s] for s in STAGES)])
    table = np.array(rows)
    return {
        name: {
            "min_ms": float(column.min()),
            "median_ms": float(np.median(column)),
            "p95_ms": float(np.percentile(column, 95)),
        }
        for name, column in zip((*STAGES, "total"), table.T, strict=True)
    }


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def command(argv: Sequence[str] | None) -> None:
    """Count or time, print a table, and write JSON where asked."""
    args = _parser().parse_args(argv)
    size = cli.parse_size(args.size) if args.size else None
    if args.count:
        result = _count(args.preset, size or (1024, 2048), args.panoptic_only)
    else:
        result = _parity(args, size) if args.parity else _time(args, size)
    if args.json:
        with replacing(args.json) as path:
            path.write_text(json.dumps(result, indent=1))


def _count(name: str, size: tuple[int, int], panoptic_only: bool) -> dict[str, Any]:
    config = preset(name, depth=False, backup_depth=False) if panoptic_only else preset(name)
    counted = count(config, size)
    what = f"{name}{' without depth' if panoptic_only else ''} at {size[0]}x{size[1]}"
    print(f"{what}: {counted['params'] / 1e6:.2f} M parameters, {counted['macs'] / 1e9:.1f} G multiply-adds")
    return {"preset": name, "size": list(size), "panoptic_only": panoptic_only, **counted}


def _parity(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    from .parity import parity, table

    rows = parity(args.weights, device=args.device, input_size=size, images=args.images)
    print(", ".join(f"{k} {v}" for k, v in hardware().items()))
    print(table(rows))
    return {"weights": args.weights or "shipped", "hardware": hardware(), "rows": rows}


def _time(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    if args.runs < 1:
        raise ConfigError(f"--runs {args.runs}: must be 1 or more")
    predictor = Predictor.load(
        args.weights, backend=args.backend, device=args.device, precision=args.precision, input_size=size,
        mode=args.mode, progress=print,
    )  # fmt: skip
    if args.image:
        from ..data.dvps import read_image

        image = read_image(Path(args.image))
    else:
        from ..data.street import single_image
        from ..data.street.seeds import TEST

        image = single_image(TEST[0], *predictor.input_size).image
    stages = time_stages(predictor, image, args.runs)
    counted = count(predictor.model.config, predictor.input_size)
    machine = hardware()
    print(
        f"{predictor.model.model_id}, {predictor.backend_name} {predictor.precision} on {predictor.device}, network "
        f"{predictor.input_size[0]}x{predictor.input_size[1]} ({counted['macs'] / 1e9:.1f} GMAC), "
        f"image {image.shape[0]}x{image.shape[1]}, {args.runs} runs"
    )
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    print(f"{'stage':<12}{'min':>9}{'median':>9}{'p95':>9}  ms")
    for name, row in stages.items():
        print(f"{name:<12}{row['min_ms']:9.1f}{row['median_ms']:9.1f}{row['p95_ms']:9.1f}")
    return {
        "model_id": predictor.model.model_id,
        "backend": predictor.backend_name,
        "runtime": predictor.backend.describe(),
        "precision": predictor.precision,
        "device": predictor.device,
        "network_size": list(predictor.input_size),
        "image_size": list(image.shape[:2]),
        "runs": args.runs,
        "hardware": machine,
        "stages": stages,
        **counted,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dps_benchmark", description=__doc__)
    parser.add_argument("--count", action="store_true", help="count parameters and multiply-adds instead of timing")
    parser.add_argument("--preset", default="efficientdps_r18", help=f"for --count, one of {', '.join(PRESETS)}")
    parser.add_argument("--panoptic-only", action="store_true", help="for --count, the model without depth")
    parser.add_argument("--size", help="network input HEIGHTxWIDTH (timing: the weights' own; --count: 1024x2048)")
    parser.add_argument(
        "--weights", default="", help="weights, ONNX or engine file, or shipped name (default: shipped)"
    )
    parser.add_argument("--image", help="image file to time on (default: a held-out street scene)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch (default), onnxruntime, openvino, tensorrt, or auto: the fastest",
    )
    parser.add_argument("--mode", default="", help="torch: eager, compile, cuda_graphs; onnxruntime: tensorrt")
    parser.add_argument(
        "--parity", action="store_true", help="compare all backends and precisions with fp32 PyTorch on street images"
    )
    parser.add_argument("--images", type=int, default=20, help="for --parity, the number of images (default 20)")
    parser.add_argument("--runs", type=int, default=30, help="timed runs after 3 to warm up (default 30)")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    return parser


def main() -> int:
    """Console entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

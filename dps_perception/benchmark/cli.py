"""`dps_benchmark`: times from image to message, beside the usual networks, the hardware and older runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import cli
from ..errors import ConfigError
from ..evaluation.marks import between_marks, put
from ..files import replacing
from ..inference.backends.devices import pick_device
from ..inference.sources import STREET
from ..models.families import PRESETS
from ..node.memory import keep_freed_memory
from . import backends, families, history, node_rows, run
from .count import count_preset
from .messages import OUTPUTS

DEFAULT_PRESET = "efficientdps_r18"


def command(argv: Sequence[str] | None) -> None:
    """Count, compare or measure; print tables, and write them where asked."""
    args = _parser().parse_args(argv)
    size = cli.parse_size(args.size) if args.size else None
    if len(args.compare) > 2 or (args.compare and args.count):
        raise ConfigError(
            f"--compare with {len(args.compare)} files: give one to measure against, or two; not with --count"
        )
    if len(args.compare) == 2:
        older, newer = map(history.read, args.compare)
        print(history.described(history.compare(older, newer)))
        return
    if args.runs < 1 or args.seconds <= 0:
        raise ConfigError(f"--runs {args.runs}, --images {args.images}: both must be 1 or more, --seconds above 0")
    keep_freed_memory()  # as the node does
    old = history.read(args.compare[0]) if args.compare else None  # before the measurements
    if args.count:
        names = args.preset or [DEFAULT_PRESET]
        counted = [count_preset(name, size or (1024, 2048), args.panoptic_only) for name in names]
        result: dict[str, Any] = counted[0] if len(counted) == 1 else {"presets": counted}
    elif args.parity:
        result = backends.run(args, size)
    elif args.families:
        if args.preset:
            raise ConfigError(
                f"--families compares weights, not --preset {' '.join(args.preset)}; name files by --weights"
            )
        result = families.run(args, size)
    elif args.node:
        result = node_rows.run(args, size)
    else:
        result = _measure(args, size)
    if old is not None:
        result["compared"] = history.compare(old, result)
        print(history.described(result["compared"]))
    if args.json:
        with replacing(args.json) as path:
            path.write_text(json.dumps(result, indent=1) + "\n")


def _measure(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    name = "speed-gpu" if pick_device(args.device).type == "cuda" else "speed"
    if args.markdown:
        between_marks(args.markdown, name)
    result = run.run(args, size)
    print(result.text())
    if args.markdown:
        put(args.markdown, name, result.markdown())
    return result.to_dict()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dps_benchmark", description=__doc__)
    add = parser.add_argument
    add(
        "--weights",
        nargs="+",
        metavar="FILE",
        help="weights, ONNX or engine files, or shipped names (default: shipped)",
    )
    add("--preset", nargs="+", metavar="NAME",
        help=f"with random weights, where there are no trained ones: {', '.join(PRESETS)}")  # fmt: skip
    add("--size", help="network input HEIGHTxWIDTH (timing: the weights' own; --count: 1024x2048)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add(
        "--backend",
        default="torch",
        help="one or more with commas: torch (default), onnxruntime, openvino, tensorrt, auto (the fastest); or all",
    )
    add("--precision", default="auto", help="one or more with commas: auto, fp32, bf16, fp16, int8; or all")
    add(
        "--mode",
        default="",
        help="torch: eager, compile, cuda_graphs (several with commas); onnxruntime: tensorrt; tensorrt: tensorrt_rtx",
    )
    add("--image", help="image file to measure on (default: the first of --data)")
    add("--image-size", help="measure on a street of HEIGHTxWIDTH instead")
    add("--data", default=f"{STREET}test", help="images to measure on, as for dps_evaluate (default: street:test)")
    add("--split", default="test", help="subfolder of a dataset folder (default: test)")
    add("--runs", type=int, default=30, help="timed images after a warm-up (default: 30)")
    add("--seconds", type=float, default=60.0, help="stop earlier after so many seconds, but not before 3 runs (60)")
    add("--json", type=Path, help="write the result to this file")
    add("--markdown", type=Path, metavar="FILE",
        help="put the tables into this file, between <!-- speed --> and <!-- /speed --> (on a GPU: speed-gpu; "
        "--parity: backends, --families: families, --node: speed-node)")  # fmt: skip
    add(
        "--compare",
        nargs="+",
        type=Path,
        default=[],
        metavar="JSON",
        help="ratios to an older --json, and what differs in hardware and versions; with two files nothing is measured",
    )

    stage = parser.add_argument_group("stages (what is measured unless something else is asked for)")
    add = stage.add_argument
    add("--outputs", help=f"topics to encode and publish (default: {','.join(OUTPUTS)}; --node: all there are)")
    add("--point-stride", type=int, default=1, help="every n-th row and column becomes points (default: 1)")
    add("--no-ros", action="store_true", help="leave out decode, encode, cloud and publish: ROS is then not needed")
    add("--segments", type=int, default=50, help="segments of the synthetic prediction beside random weights (50)")
    add("--peers", action="store_true", help="and Mask2Former + Depth Anything V2 beside it (needs transformers)")
    add("--roofline", action="store_true", help="and the share reached of what the machine can multiply")
    add("--after-network", action="store_true", help="fusion and messages at 1024x2048, 50 and 100 synthetic segments")
    add("--evaluation", action="store_true", help="images scored per second, beside the usual Python loops")
    add("--scale", type=Path, metavar="FOLDER", help="times by image size, queries and segments; plots into the folder")

    other = parser.add_argument_group("instead of the stages")
    add = other.add_argument
    add(
        "--parity",
        action="store_true",
        help="compare backends with fp32 PyTorch and with labels, on --images of --data",
    )
    add(
        "--node",
        action="store_true",
        help="whole nodes in processes of their own, all outputs received by another process: frames/s, time, CPU",
    )
    add(
        "--families",
        action="store_true",
        help="--weights (default: the shipped ones of each family) side by side: cost, times and scores on --images",
    )
    add("--images", type=int, default=20, help="for --parity and --families, the number of images (default: 20)")
    add("--count", action="store_true", help="count parameters and multiply-adds of --preset")
    add("--panoptic-only", action="store_true", help="for --count, the model without depth")
    return parser


def main() -> int:
    """Console entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""`dps_export`: weights -> ONNX file, TensorRT engine or INT8 model that alone can serve node and commands."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .. import cli
from ..errors import BackendError, ConfigError, ModelLoadError

_EPILOG = """examples:
  dps_export --output street.onnx
  dps_export my.safetensors --size 512x1024 --precision fp16 --output my.onnx
  dps_export my.safetensors --engine                     (for this GPU, into the cache: the node then starts at once)
  dps_export my.safetensors --engine --capability 8.6 --output my.engine
  dps_export --int8 --calibrate my_images --output street_int8.onnx
"""
LARGEST = {"fp32": 1e-3, "fp16": 5e-2}
"""Differences to PyTorch above this share of a tensor's largest value are an error: the export went wrong.

Held on the street image. On noise, queries may find nothing, all their activations lie below the -18 at which
ONNX Runtime cuts off its sigmoid, and their mean is then over other pixels; such queries become no segments.
"""


def command(argv: Sequence[str] | None) -> None:
    """Run the command line.

    Raises:
        DpsError: a bad argument, weights that can't be loaded, or an export that fails or differs from PyTorch.
    """
    args = _parser().parse_args(argv)
    suffix = ".engine" if args.engine else ".onnx"
    if args.output is None and not args.engine:
        raise ConfigError(f"--output is needed: give a file name ending in {suffix}")
    if args.output is not None and (args.output.is_dir() or args.output.suffix != suffix):
        raise ConfigError(f"--output {args.output}: give a file name ending in {suffix}")
    if (args.capability or args.runtime) and not args.engine:
        raise ConfigError("--capability and --runtime are for --engine")
    if args.engine and args.dynamic_batch and args.output is None:
        raise ConfigError("--dynamic-batch: engines in the cache are for one image; give --output")
    if args.calibrate and not args.int8:
        raise ConfigError("--calibrate is for --int8: it gives the images that the ranges are measured on")
    if args.int8 and (args.engine or args.precision not in (None, "fp32") or args.dynamic_batch):
        raise ConfigError("--int8 makes an ONNX file from fp32 with batch one; it goes without --engine, --precision "
                          "and --dynamic-batch")  # fmt: skip
    if args.images < 1:
        raise ConfigError(f"--images {args.images}: at least 1 is needed")
    size = cli.parse_size(args.size) if args.size else None
    if args.engine:
        written = _engine(args, size)
    else:
        written = args.output
        (_int8 if args.int8 else _onnx)(args, size, written)
    print(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")


def _int8(args: argparse.Namespace, size: tuple[int, int] | None, output: Path) -> None:
    from .comparison import table
    from .quantise import COMPARED, quantise

    rows = quantise(args.weights, output, size, args.calibrate or "street:validation", args.split, args.images)
    print(table(rows) if rows else f"not compared: the data has no images left; give {COMPARED} more than --images")


def _onnx(args: argparse.Namespace, size: tuple[int, int] | None, output: Path) -> None:
    from ..models.weights import load_weights
    from .backends.model_file import WEIGHTS, open_model
    from .export import ExportOptions, export_onnx

    model = open_model(args.weights)
    if model.kind != WEIGHTS:
        raise ModelLoadError(f"{model.path} is exported already; give the .safetensors it was made from")
    precision = args.precision or ("fp16" if args.engine else "fp32")
    options = ExportOptions(model.input_size(size), precision, args.dynamic_batch)
    network, info = load_weights(model.path)
    export_onnx(network, info, options, output)
    if args.no_compare:
        return
    if precision == "bf16":
        print("not compared: ONNX Runtime has no bf16 convolutions on the CPU")
        return
    _compare(args.weights, output, options.size)


def _compare(weights: str, onnx: Path, size: tuple[int, int]) -> None:
    """Run the file and print the largest differences to fp32 PyTorch."""
    from .backends.model_file import open_model
    from .backends.registry import open_backend
    from .export import differences, photograph, random_image, street_image

    ours = open_backend("onnxruntime", open_model(onnx), device="cpu")
    reference = open_backend("torch", open_model(weights), device="cpu", precision="fp32", input_size=size)
    print(f"largest differences to fp32 PyTorch, absolute and as a share of the largest value ({ours.precision}):")
    worst = 0.0
    images = {"photo": photograph(size), "street": street_image(size), "random": random_image(size)}
    for what, image in images.items():
        if image is None:
            continue  # a picture that is not installed
        for name, (largest, share) in differences(reference.run(image), ours.run(image)).items():
            print(f"  {what:<8}{name:<22}{largest:12.2e}{share:12.2e}")
            worst = max(worst, 0.0 if what == "random" else share)
    if not worst < LARGEST[ours.precision]:
        onnx.unlink()
        raise BackendError(
            f"the exported network differs from PyTorch by {worst:.1e} of the largest value, allowed is "
            f"{LARGEST[ours.precision]:g}; nothing was written"
        )


def _engine(args: argparse.Namespace, size: tuple[int, int] | None) -> Path:
    """Build an engine, for this GPU into the cache or for a named one into a file; its path."""
    from .backends.model_file import ENGINE, WEIGHTS, open_model
    from .backends.prepare import engine_for, onnx_for
    from .backends.tensorrt_build import build_apart
    from .backends.tensorrt_runtime import capabilities, find_tensorrt, own_gpu

    runtime, model = find_tensorrt(args.runtime), open_model(args.weights)
    if model.kind == ENGINE:
        raise ModelLoadError(f"{model.path} is an engine already; give the weights or ONNX file it was made from")
    gpu = args.capability or own_gpu(runtime)
    if not gpu:
        known = ", ".join(capabilities(runtime)) or "only this machine's"
        raise ConfigError(f"no GPU here: name the compute capability to build for with --capability; there is: {known}")
    precision = args.precision or model.precision or "fp16"
    input_size = model.input_size(size)
    if args.output is None:
        return engine_for(model, input_size, precision, runtime, gpu, None, print)
    with tempfile.TemporaryDirectory() as folder:
        if args.dynamic_batch and model.kind == WEIGHTS:
            onnx = Path(folder) / "dynamic.onnx"
            _onnx(args, size, onnx)
        else:
            onnx = onnx_for(model, input_size, precision, None, print)
        build_apart(onnx, args.output, runtime, gpu, print)
    return Path(args.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dps_export", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "weights", nargs="?", default="", metavar="WEIGHTS",
        help="weights file or name of shipped weights (default: the shipped ones); with --engine also an ONNX file",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, help="file to write: .onnx, or .engine with --engine (default there: into the cache)"
    )
    parser.add_argument("--size", metavar="HxW", help="network input HEIGHTxWIDTH (default: that of the training)")
    parser.add_argument("--precision", help="fp32, fp16 or bf16 (default: fp32; of engines fp16)")
    parser.add_argument("--dynamic-batch", action="store_true", help="leave the batch size open (default: one image)")
    parser.add_argument(
        "--no-compare", action="store_true", help="don't run the file and compare it with PyTorch on three images"
    )
    engine = parser.add_argument_group("TensorRT engine")
    engine.add_argument("--engine", action="store_true", help="build a TensorRT engine")
    engine.add_argument(
        "--capability", default="", metavar="X.Y", help="compute capability to build for (default: this machine's GPU)"
    )
    engine.add_argument("--runtime", default="", help="tensorrt or tensorrt_rtx (default: the first there is)")
    int8 = parser.add_argument_group("INT8")
    int8.add_argument("--int8", action="store_true", help="quantise weights and activations to 8 bit")
    int8.add_argument(
        "--calibrate", metavar="DATASET",
        help="images to measure the ranges on: a folder of pictures, or what dps_evaluate takes (default: "
        "street:validation)",
    )  # fmt: skip
    int8.add_argument("--split", default="train", help="subfolder of a dataset folder (default: train)")
    int8.add_argument("--images", type=int, default=32, help="number of images to calibrate on (default: 32)")
    return parser


def main() -> int:
    """Entry point of `dps_export`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""`dps_evaluate`: score weights on a dataset, a bag or the street world, or score any system's files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import cli
from ..data.street.cli import SIZE_LIMITS
from ..errors import ConfigError, nearest
from ..evaluation import DPQ_LAMBDAS, MAX_DEPTH_M, Evaluator, Scores
from ..evaluation.provenance import provenance
from ..evaluation.report import Block, Report, Section, write_report
from ..evaluation.score_report import class_legend, latency_summary, latency_table, score_numbers, score_tables
from ..files import replacing
from ..labels import CITYSCAPES, LABEL_SPACES
from ..ranks import rank_and_size
from .score_files import file_pictures, pair_files, score_files
from .score_weights import Run, join, require_label_space, score_weights
from .sources import open_source
from .spread import cores_each, gather, local_device

FORMAT = 1
_EPILOG = """examples:
  dps_evaluate street:test --json scores.json --html scores.html
  dps_evaluate --weights my.safetensors data/cityscapes_dvps --split val
  dps_evaluate drive_bag
  dps_evaluate --predictions theirs --ground-truth data/cityscapes_dvps/val
  torchrun --nproc_per_node 4 -m dps_perception.inference.evaluate data/cityscapes_dvps --split val
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_evaluate`."""
    parser = argparse.ArgumentParser(
        prog="dps_evaluate",
        description="PQ, DPQ, depth errors and mIoU of weights on annotated images, or of files of any system.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset",
        nargs="?",
        metavar="DATASET",
        help="folder in the Cityscapes-DVPS layout, rosbag2 folder or .mcap file with ground-truth topics, or the "
        "held-out images street:test, street:validation, street:test-hard or street:validation-hard "
        "(rendered on the fly)",
    )
    run = parser.add_argument_group("running weights")
    run.add_argument(
        "--weights", default="", help="weights, ONNX or engine file, or name of shipped weights (default: shipped)"
    )
    run.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    run.add_argument(
        "--backend",
        default="torch",
        help="torch (default), onnxruntime, openvino, tensorrt, or auto: the fastest",
    )
    run.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    run.add_argument("--input-size", metavar="HxW", help="input size of the network (default: that of its training)")
    run.add_argument("--size", metavar="HxW", help="size of rendered street images (default: 512x1024)")
    run.add_argument("--save-predictions", metavar="DIR", type=Path, help="write predictions in the DVPS layout")
    files = parser.add_argument_group("scoring files")
    files.add_argument("--predictions", metavar="DIR", type=Path, help="predicted files in the Cityscapes-DVPS layout")
    files.add_argument("--ground-truth", metavar="DIR", type=Path, help="true files in the same layout")
    data = parser.add_argument_group("what is scored")
    data.add_argument("--split", default="test", help="subfolder of a dataset folder (default: test)")
    data.add_argument("--limit", metavar="N", type=int, help="use the first N images")
    data.add_argument(
        "--label-space", default=CITYSCAPES.name, help=f"classes of the data: {', '.join(LABEL_SPACES)} (the default)"
    )
    data.add_argument(
        "--lambdas",
        type=float,
        nargs="+",
        default=list(DPQ_LAMBDAS),
        metavar="L",
        help="relative depth errors above which DPQ takes a pixel away (default: 0.5 0.25 0.1)",
    )
    data.add_argument(
        "--min-depth", type=float, default=0.0, metavar="M", help="depth errors skip nearer ground truth (default: 0 m)"
    )
    data.add_argument(
        "--max-depth",
        type=float,
        default=MAX_DEPTH_M,
        metavar="M",
        help=f"depth errors skip farther ground truth; inf for no cap (default: {MAX_DEPTH_M:g} m). DPQ has no caps",
    )
    out = parser.add_argument_group("output")
    out.add_argument("--json", metavar="FILE", type=Path, help="write all numbers and settings")
    out.add_argument("--html", metavar="FILE", type=Path, help="write a report with pictures")
    out.add_argument("--pictures", metavar="N", type=int, default=8, help="images shown in the report (default: 8)")
    parser.add_argument(
        "--processes",
        metavar="N",
        type=int,
        default=cores_each(),
        help="that render street images or score files (default: one per core)",
    )
    return parser


def command(argv: Sequence[str] | None) -> None:
    """Run the command line.

    Raises:
        DpsError: a bad argument, or data or weights that can't be used.
    """
    args = make_parser().parse_args(argv)
    _check(args)
    space = LABEL_SPACES[args.label_space]
    evaluator = Evaluator(space, min_depth_m=args.min_depth, max_depth_m=args.max_depth, lambdas=args.lambdas)
    about, run = _run_files(args, evaluator) if args.predictions else _run_weights(args, evaluator)
    parts = gather((evaluator, run))
    if not parts:  # the first process has everything now
        return
    for other, _ in parts[1:]:
        evaluator.merge(other)
    run = join([one for _, one in parts])
    scores = evaluator.compute()
    about["provenance"] = {**about.pop("made_with", {}), **provenance("dps_evaluate", argv)}
    latency = latency_summary(run.timings_ms)
    print(scores.table())
    if latency:
        means = ", ".join(f"{stage} {values['mean']:.1f} ms" for stage, values in latency.items())
        print(f"Mean per image: {means}.")
    if args.json:
        result = {"format": FORMAT, **about, "scores": scores.to_dict(), "latency_ms": latency}
        with replacing(args.json) as beside:
            beside.write_text(json.dumps(result, indent=1, allow_nan=False))
    if args.html:
        write_report(args.html, _report(about, scores, run, latency))
    for path in filter(None, (args.json, args.html)):
        print(f"wrote {path}")


def _check(args: argparse.Namespace) -> None:
    """Refuse what can't work before hours are spent on it."""
    if bool(args.predictions) != bool(args.ground_truth):
        raise ConfigError("--predictions and --ground-truth go together: give both folders")
    if bool(args.predictions) == bool(args.dataset):
        raise ConfigError(
            "give either a DATASET to run weights on, or --predictions DIR --ground-truth DIR to score files"
        )
    if args.predictions:
        for name in ("weights", "size", "input_size", "save_predictions"):
            if getattr(args, name):
                raise ConfigError(
                    f"--{name.replace('_', '-')} is for running weights; --predictions scores files as they are"
                )
    if args.label_space not in LABEL_SPACES:
        raise ConfigError(
            f"no label space '{args.label_space}'{nearest(args.label_space, LABEL_SPACES)}; "
            f"there is: {', '.join(LABEL_SPACES)}"
        )
    for name in ("limit", "processes"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ConfigError(f"--{name} {getattr(args, name)}: at least 1 is needed")
    if args.pictures < 0:
        raise ConfigError(f"--pictures {args.pictures}: 0 or more")
    for path in filter(None, (args.json, args.html)):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; give the name of a file to write")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"can't write {path}: {error.strerror} ({error.filename})") from error
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(f"can't write {path}: no permission for {path.parent}")


def _run_files(args: argparse.Namespace, evaluator: Evaluator) -> tuple[dict[str, Any], Run]:
    pairs = pair_files(args.predictions, args.ground_truth, args.split, args.limit)
    first = rank_and_size()[0] == 0
    for warning in pairs.warnings if first else ():
        print(f"warning: {warning}", file=sys.stderr)
    evaluator.merge(score_files(pairs, evaluator, args.processes))
    about = {
        "title": f"{pairs.predictions}",
        "dataset": str(pairs.ground_truth),
        "predictions": str(pairs.predictions),
        "limit": args.limit,
        "warnings": list(pairs.warnings),
    }
    pictures = file_pictures(pairs, evaluator.label_space, args.pictures) if args.html and first else []
    return about, Run({}, pictures, list(range(len(pictures))))


def _run_weights(args: argparse.Namespace, evaluator: Evaluator) -> tuple[dict[str, Any], Run]:
    size = cli.parse_size(args.size, *SIZE_LIMITS) if args.size else None
    source = open_source(args.dataset, split=args.split, size=size, limit=args.limit, processes=args.processes)
    from .predictor import Predictor  # here, so that scoring files does not wait for torch

    input_size = cli.parse_size(args.input_size) if args.input_size else None
    predictor = Predictor.load(
        args.weights, backend=args.backend, device=local_device(args.device), precision=args.precision,
        input_size=input_size,
    )  # fmt: skip
    model = predictor.model
    require_label_space(model.label_space, evaluator.label_space)
    run = score_weights(
        predictor,
        source,
        evaluator,
        pictures=args.pictures if args.html else 0,
        save_to=args.save_predictions,
        split=args.split,
    )
    height, width = predictor.input_size
    about = {
        "title": f"{model.model_id} on {source.name}",
        "dataset": source.name,
        "limit": args.limit,
        "weights": {
            "model_id": model.model_id,
            "family": model.family,
            "preset": model.preset,
            "sha256": model.weights_sha256,
            "input_size": [height, width],
        },
        "inference": {
            "backend": predictor.backend_name,
            "device": predictor.device,
            "precision": predictor.precision,
            "thresholds": asdict(predictor.thresholds),
        },
        "made_with": {
            "weights": model.model_id,
            "weights sha256": model.weights_sha256,
            "inference": f"{predictor.backend_name} on {_device_name(predictor.device)}, {predictor.precision}, "
            f"input {height}x{width}",
        },
    }
    predictor.close()
    return about, run


def _device_name(device: str) -> str:
    """A GPU with its model; the processor is in the provenance anyway."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def _report(about: dict[str, Any], scores: Scores, run: Run, latency: dict[str, dict[str, float]]) -> Report:
    blocks: list[Block] = [score_numbers(scores), *score_tables(scores)]
    sections = [Section("Scores", blocks)]
    if run.pictures:
        legend = class_legend(scores.panoptic.label_space)
        text = f"{len(run.pictures)} images, evenly spaced over the data. Click a picture to enlarge it."
        sections.append(Section("Pictures", [legend, *run.pictures], text=text))
    if latency:
        sections.append(Section("Latency", [latency_table(latency, title="")], text="Per image, after one warm-up."))
    upper = scores.settings["max_depth_m"]
    caps = f"{scores.settings['min_depth_m']:g} m to {'any' if upper is None else f'{upper:g} m'}"
    settings = {"data": about["dataset"], "depth range": caps}
    return Report(
        "dps_perception evaluation", sections, subtitle=about["title"], provenance=settings | about["provenance"]
    )


def main() -> int:
    """Entry point of `dps_evaluate`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

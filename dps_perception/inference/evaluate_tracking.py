"""`dps_evaluate_tracking`: count how often tracked things change their number on annotated drives."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from .. import cli
from ..data.drive_reader import Drive, DriveFrame
from ..errors import ConfigError, DatasetError
from ..evaluation.panoptic import segment_tables
from ..evaluation.provenance import provenance
from ..evaluation.scores import markdown_table, number
from ..evaluation.tracking import TrackingEvaluator, TrackingScores
from ..files import replacing
from ..labels import CITYSCAPES, LABEL_DIVISOR, LabelSpace
from .predictor import Predictor
from .score_weights import require_label_space
from .tracking import Tracker

HEADER = ("masks", "every n-th frame", "method", "objects", "matches", "ID switches", "per 100 matches", "IDF1", "ms")
BASELINE, STILL, MOVING = "mask IoU to the last frame", "tracker, motion unknown", "tracker, motion from TF"
BASELINE_IOU = 0.1


class MaskIou:
    """What trackers are compared with: things of one class that overlap most in two consecutive images are the same."""

    def __init__(self, label_space: LabelSpace) -> None:
        self._space = label_space
        self._last: tuple[NDArray[np.uint16], dict[int, int]] | None = None
        self._next = 1

    def update(self, panoptic: NDArray[np.uint16], things: Sequence[int]) -> dict[int, int]:
        """Track numbers of the next frame's things, by panoptic id."""
        numbers: dict[int, int] = {}
        if self._last is not None:
            before, old = self._last
            (table,) = segment_tables(panoptic, before, self._space)
            pixels = table.pixels
            iou = pixels / (pixels.sum(axis=1)[:, None] + pixels.sum(axis=0) - pixels).clip(min=1)
            same = (table.gt_ids[:, None] // LABEL_DIVISOR == table.pred_ids // LABEL_DIVISOR) & (iou >= BASELINE_IOU)
            same &= np.isin(table.gt_ids, list(old))[:, None] & np.isin(table.pred_ids, things)
            for row, column in zip(*linear_sum_assignment(np.where(same, iou, 0), maximize=True), strict=True):
                if same[row, column]:
                    numbers[int(table.pred_ids[column])] = old[int(table.gt_ids[row])]
        for thing in things:
            if thing not in numbers:
                numbers[thing], self._next = self._next, self._next + 1
        self._last = panoptic, numbers
        return numbers


class Trial:
    """One way of tracking, on every n-th frame of all drives."""

    def __init__(self, masks: str, method: str, step: int, label_space: LabelSpace) -> None:
        self.masks, self.method, self.step, self._space = masks, method, step, label_space
        self._evaluator = TrackingEvaluator(label_space)
        self.milliseconds: list[float] = []
        self.start()

    def start(self) -> None:
        """Another drive begins."""
        self._evaluator.start()
        self._tracker, self._baseline = Tracker(), MaskIou(self._space)

    def update(self, frame: DriveFrame, panoptic: NDArray[np.uint16], depth_m: NDArray[np.float32]) -> None:
        """Take a frame with the masks and depth to track by."""
        started = time.perf_counter()
        if self.method == BASELINE:
            numbers = self._baseline.update(panoptic, things_in(panoptic, self._space))
        else:
            pose = frame.pose if self.method == MOVING else None
            numbers = self._tracker.update(
                panoptic, depth_m, frame.sample.intrinsics, pose, frame.stamp_ns, self._space
            )
        self.milliseconds.append(1e3 * (time.perf_counter() - started))
        assert frame.sample.panoptic is not None
        self._evaluator.update(panoptic, numbers, frame.sample.panoptic)

    @property
    def median_ms(self) -> float:
        """Of one update."""
        return float(np.median(self.milliseconds))

    def compute(self) -> TrackingScores:
        return self._evaluator.compute()

    def to_dict(self) -> dict[str, Any]:
        """Settings and scores, ready for JSON."""
        settings = {"masks": self.masks, "every": self.step, "method": self.method}
        return settings | self.compute().to_dict() | {"median_ms": self.median_ms}


def things_in(panoptic: NDArray[np.uint16], label_space: LabelSpace) -> list[int]:
    """Panoptic ids of an image's things, sorted; a crowd is none."""
    ids = np.unique(panoptic)
    return ids[label_space.is_instance(ids)].tolist()


def renumbered(panoptic: NDArray[np.uint16], label_space: LabelSpace, rng: np.random.Generator) -> NDArray[np.uint16]:
    """The same masks under other instance ids, so that the ids of the truth tell a tracker nothing."""
    table = np.arange(1 << 16, dtype=np.uint16)
    for class_id in np.flatnonzero(label_space.is_thing):
        numbers = class_id * LABEL_DIVISOR + np.arange(1, LABEL_DIVISOR)
        table[numbers] = rng.permutation(numbers)
    return table[panoptic]


def run(drives: Sequence[Drive], steps: Sequence[int], predictor: Any, label_space: LabelSpace) -> list[Trial]:
    """Track by the true masks and depth, and by those that weights predict.

    Args:
        drives: annotated.
        steps: every n-th frame is used, one trial for each.
        predictor: see `Predictor`; None leaves its trials out.
        label_space: of the drives.

    Raises:
        DatasetError: a frame can't be read.
    """
    kinds = ["true"] + (["predicted"] if predictor is not None else [])
    trials = [Trial(m, w, s, label_space) for m in kinds for s in steps for w in (BASELINE, STILL, MOVING)]
    rng = np.random.default_rng(0)
    for drive in drives:
        for trial in trials:
            trial.start()
        for index, frame in enumerate(tqdm(drive, total=len(drive), unit="frame", desc=drive.path.name)):
            wanted = [trial for trial in trials if index % trial.step == 0]
            sample = frame.sample
            if sample.panoptic is None or sample.depth_m is None:
                raise DatasetError(f"frame {sample.sample_id} of '{drive.path}' lacks labels or depth")
            given = {"true": (renumbered(sample.panoptic, label_space, rng), sample.depth_m)}
            if wanted and predictor is not None:
                prediction = predictor.predict(sample.image, sample.intrinsics)
                given["predicted"] = prediction.panoptic, prediction.depth_m
            for trial in wanted:
                trial.update(frame, *given[trial.masks])
    return trials


def rows(trials: Sequence[Trial]) -> list[list[str]]:
    """Cells below `HEADER`."""
    made = []
    for trial in trials:
        scores = trial.compute()
        counts = [str(n) for n in (scores.objects, scores.matches, scores.switches)]
        shares = [number(scores.switches_per_100), number(scores.idf1, 1), f"{trial.median_ms:.1f}"]
        made.append([trial.masks, str(trial.step), trial.method, *counts, *shares])
    return made


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_evaluate_tracking`."""
    parser = argparse.ArgumentParser(
        prog="dps_evaluate_tracking",
        description="Track the things of annotated drives, by their true masks and by those that weights predict, with "
        "and without the camera's motion, and count ID switches and IDF1. True instance ids must stay over a drive.",
        epilog="example: dps_synthesize bag drive && dps_evaluate_tracking drive --every 1 2 5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="drives with ground-truth topics and TF")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 2, 5], metavar="N", help="use every n-th frame")
    parser.add_argument("--true-only", action="store_true", help="only by the true masks; no weights are loaded")
    parser.add_argument("--weights", default="", help="weights, ONNX or engine file, or name (default: shipped)")
    parser.add_argument("--backend", default="torch", help="torch (default), onnxruntime, openvino, tensorrt, or auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers and settings")
    return parser


def command(argv: Sequence[str] | None) -> None:
    """Run the command line.

    Raises:
        DpsError: a bad argument, or bags or weights that can't be used.
    """
    args = make_parser().parse_args(argv)
    if min(args.every) < 1:
        raise ConfigError(f"--every {min(args.every)}: 1 or more")
    drives, predictor = [Drive(path) for path in args.bags], None
    about: dict[str, Any] = {"provenance": provenance("dps_evaluate_tracking", argv)}
    if not args.true_only:
        predictor = Predictor.load(args.weights, backend=args.backend, device=args.device, precision=args.precision)
        require_label_space(predictor.model.label_space, CITYSCAPES)
        predictor.warm_up()
        about |= {"model": predictor.model.model_id, "weights_sha256": predictor.model.weights_sha256}
    trials = run(drives, args.every, predictor, CITYSCAPES)
    print(markdown_table(HEADER, rows(trials)))
    if args.json:
        results = about | {"trials": [trial.to_dict() for trial in trials]}
        with replacing(args.json) as beside:
            beside.write_text(json.dumps(results, indent=1, allow_nan=False))
        print(f"wrote {args.json}")
    if predictor is not None:
        predictor.close()


def main() -> int:
    """Entry point of `dps_evaluate_tracking`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

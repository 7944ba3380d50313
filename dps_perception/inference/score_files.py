"""Scoring files: predictions of any system against ground truth, both in the Cityscapes-DVPS layout.

A prediction has the name of its ground truth: `<id>_gtFine_instanceTrainIds.png` and, for depth, `<id>_depth.png`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.dvps import DEPTH, IMAGE, LABELS, read_depth, read_image, read_panoptic
from ..errors import DatasetError
from ..evaluation import Evaluator
from ..evaluation.report import Pictures
from ..evaluation.score_report import sample_pictures
from ..labels import LabelSpace
from .spread import share

Ids = NDArray[np.uint16]
Depth = NDArray[np.float32]
_CHUNK = 8


@dataclass(frozen=True)
class FilePairs:
    """Which files are scored.

    Attributes:
        predictions: folder of the predicted files.
        ground_truth: folder of the true files.
        sample_ids: with labels on both sides, sorted.
        with_depth: those of `sample_ids` with depth on both sides.
        warnings: what was left out, in sentences.
    """

    predictions: Path
    ground_truth: Path
    sample_ids: tuple[str, ...]
    with_depth: frozenset[str]
    warnings: tuple[str, ...]


def pair_files(predictions: Path, ground_truth: Path, split: str, limit: int | None = None) -> FilePairs:
    """Find the files of both folders; each may hold them itself or in a subfolder `split`.

    Raises:
        DatasetError: a folder is missing or has no labels, or predictions are missing (they are named).
    """
    truth_folder, folder = _folder(ground_truth, split, "ground truth"), _folder(predictions, split, "predictions")
    truth_ids, ids = _ids(truth_folder, LABELS), _ids(folder, LABELS)
    for where, found in ((truth_folder, truth_ids), (folder, ids)):
        if not found:
            raise DatasetError(f"{where} holds no *_{LABELS}.png (16-bit class * 1000 + instance, void 32000)")
    chosen = sorted(truth_ids)[:limit]
    _require_all(chosen, ids, folder, LABELS)
    warnings = []
    extra = sorted(ids - truth_ids)
    if extra:
        warnings.append(f"{len(extra)} predictions in {folder} have no ground truth: {_some(extra)}")
    truth_depth, depth = _ids(truth_folder, DEPTH).intersection(chosen), _ids(folder, DEPTH)
    if truth_depth and not depth:
        warnings.append(f"{folder} holds no *_{DEPTH}.png, so depth and DPQ are not scored")
        truth_depth = set()
    _require_all(sorted(truth_depth), depth, folder, DEPTH)
    return FilePairs(folder, truth_folder, tuple(chosen), frozenset(truth_depth), tuple(warnings))


def score_files(pairs: FilePairs, empty: Evaluator, processes: int = 1) -> Evaluator:
    """Score this process' pairs (all of them without torchrun); `empty` holds the settings and is not changed.

    Raises:
        DatasetError: a file can't be read, sizes differ, or ids are not of the label space; it names the sample.
    """
    own = share(len(pairs.sample_ids))
    ids = [pairs.sample_ids[index] for index in own]
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    work = partial(_score_chunk, pairs, empty)
    total = _score_chunk(pairs, empty, ())
    with tqdm(total=len(ids), unit="image", desc="scoring", disable=own.start > 0) as bar:
        if processes <= 1 or len(chunks) <= 1:
            for sample_id in ids:
                total.merge(work((sample_id,)))
                bar.update()
            return total
        with multiprocessing.get_context("spawn").Pool(min(processes, len(chunks))) as pool:
            for part in pool.imap_unordered(work, chunks):
                total.merge(part)
                bar.update(part.images)
    return total


def file_pictures(pairs: FilePairs, label_space: LabelSpace, number: int) -> list[Pictures]:
    """Pictures of up to `number` pairs, evenly spaced over those whose ground truth has the camera image beside it."""
    with_image = sorted(_ids(pairs.ground_truth, IMAGE).intersection(pairs.sample_ids))
    shown = np.linspace(0, len(with_image) - 1, min(number, len(with_image))).round().astype(int)
    rows = []
    for sample_id in (with_image[index] for index in shown):
        prediction, depth_m, truth, gt_depth_m = _read_pair(pairs, sample_id)
        rgb = read_image(pairs.ground_truth / f"{sample_id}_{IMAGE}.png")
        if rgb.shape[:2] != truth.shape:
            raise DatasetError(
                f"sample {sample_id} of {pairs.ground_truth}: image {rgb.shape[:2]}, labels {truth.shape}"
            )
        rows.append(sample_pictures(sample_id, rgb, label_space, prediction, depth_m, truth, gt_depth_m))
    return rows


def _read_pair(pairs: FilePairs, sample_id: str) -> tuple[Ids, Depth | None, Ids, Depth | None]:
    """Predicted ids and depth, true ids and depth."""
    labels, depth = f"{sample_id}_{LABELS}.png", f"{sample_id}_{DEPTH}.png"
    has_depth = sample_id in pairs.with_depth
    return (
        read_panoptic(pairs.predictions / labels),
        read_depth(pairs.predictions / depth) if has_depth else None,
        read_panoptic(pairs.ground_truth / labels),
        read_depth(pairs.ground_truth / depth) if has_depth else None,
    )


def _score_chunk(pairs: FilePairs, empty: Evaluator, sample_ids: Sequence[str]) -> Evaluator:
    evaluator = empty.fresh()
    for sample_id in sample_ids:
        arrays = _read_pair(pairs, sample_id)
        try:
            evaluator.update(*arrays)
        except DatasetError as error:
            raise DatasetError(f"sample {sample_id} of {pairs.predictions}: {error}") from error
    return evaluator


def _folder(root: Path, split: str, what: str) -> Path:
    if not root.is_dir():
        raise DatasetError(f"no folder '{root}' for the {what}")
    return root / split if (root / split).is_dir() else root


def _ids(folder: Path, kind: str) -> set[str]:
    suffix = f"_{kind}.png"
    return {p.name[: -len(suffix)] for p in folder.glob(f"*{suffix}") if p.name[0] != "."}


def _require_all(wanted: Sequence[str], found: Collection[str], folder: Path, kind: str) -> None:
    missing = [sample_id for sample_id in wanted if sample_id not in found]
    if missing:
        raise DatasetError(
            f"{folder} lacks *_{kind}.png for {len(missing)} of {len(wanted)} images of the ground truth: "
            f"{_some(missing)}; a score over a part of the data is not comparable"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""Pages to judge labels by eye: image, panoptic overlay and depth side by side, as read back from the files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.dvps import DvpsFolder
from ..data.layout import spread
from ..errors import DatasetError
from ..evaluation.pictures import Scale, color_depth, depth_scale, overlay
from ..files import replacing
from ..labels import VOID_CLASS_ID, LabelSpace, unpack
from ..types import Sample
from .labeller import sky_of

FOLDER = "sheets"
ROWS, CELL_WIDTH = 4, 480
_GAP, _LINE, _PAPER, _INK = 6, 22, 255, (40, 40, 40)


def write_sheets(root: Path, splits: Sequence[str], label_space: LabelSpace, number: int) -> list[Path]:
    """Draw `number` samples of these splits, evenly spread, as PNG pages in `root`/sheets; return their paths.

    Depth is drawn from the 2nd to the 98th percentile of a page; the legend says what they are.

    Raises:
        DatasetError: a sample can't be read, or a page can't be written.
    """
    folders = [DvpsFolder(root, split, label_space) for split in splits]
    everything = [(folder, index) for folder in folders for index in range(len(folder))]
    chosen = [everything[i] for i in spread(len(everything), number)]
    paths = []
    for page, start in enumerate(range(0, len(chosen), ROWS)):
        samples = [folder[index] for folder, index in chosen[start : start + ROWS]]
        path = root / FOLDER / f"sheet_{page:03d}.png"
        with replacing(path) as beside:
            if not cv2.imwrite(str(beside), cv2.cvtColor(draw_page(samples, label_space), cv2.COLOR_RGB2BGR)):
                raise DatasetError(f"can't write {path}: is the disk full or the folder read-only?")
        paths.append(path)
    return paths


def draw_page(samples: Sequence[Sample], label_space: LabelSpace) -> NDArray[np.uint8]:
    """One page (H, W, 3) uint8 RGB: a row for each sample, then the legends."""
    known = [s.depth_m[np.isfinite(s.depth_m)] for s in samples if s.depth_m is not None]
    depths = np.concatenate(known) if known else np.empty(0)
    range_m = _range(depths) if depths.size else (1.0, 2.0)
    parts = [_row(sample, label_space, range_m) for sample in samples]
    parts.append(_class_legend(samples, label_space))
    if depths.size:
        parts.append(_depth_legend(depth_scale(range_m[1], range_m[0])))
    return np.concatenate([np.pad(p, ((0, _GAP), (0, 0), (0, 0)), constant_values=_PAPER) for p in parts])


def _range(depths: NDArray[np.floating]) -> tuple[float, float]:
    """Nearest and farthest depth of a page's colours, of one digit, so that the legend can be read."""
    near, far = (float(p) for p in np.percentile(depths, [2, 98]))
    unit_near, unit_far = (10.0 ** math.floor(math.log10(max(m, 1e-2))) for m in (near, far))
    near_m = max(unit_near, math.floor(near / unit_near) * unit_near)
    return near_m, max(2 * near_m, math.ceil(far / unit_far) * unit_far)


def _row(sample: Sample, label_space: LabelSpace, range_m: tuple[float, float]) -> NDArray[np.uint8]:
    height = max(1, round(CELL_WIDTH * sample.image.shape[0] / sample.image.shape[1]))
    cells = [sample.image, np.full_like(sample.image, _PAPER), np.full_like(sample.image, _PAPER)]
    said = sample.sample_id
    if sample.panoptic is not None:
        cells[1] = overlay(sample.image, sample.panoptic, label_space)
        said += f"   void {100 * float((unpack(sample.panoptic)[0] == VOID_CLASS_ID).mean()):.0f} %"
    if sample.depth_m is not None:
        depth = sample.depth_m.copy()
        if sample.panoptic is not None:  # the files have no infinity; the class says where it was
            depth[sky_of(sample.panoptic, label_space) & np.isnan(depth)] = np.inf
        finite = depth[np.isfinite(depth)]
        if finite.size:
            cells[2] = color_depth(depth, range_m[1], range_m[0])
            said += f"   depth {finite.min():.1f} to {finite.max():.1f} m, median {np.median(finite):.1f} m"
        else:
            said += "   no depth"
    row = np.full((height + _LINE, 3 * CELL_WIDTH + 2 * _GAP, 3), _PAPER, np.uint8)
    for place, cell in enumerate(cells):
        left = place * (CELL_WIDTH + _GAP)
        row[_LINE:, left : left + CELL_WIDTH] = cv2.resize(cell, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    _write(row, said, 2, _LINE - 7)
    return row


def _class_legend(samples: Sequence[Sample], label_space: LabelSpace) -> NDArray[np.uint8]:
    """Colours and names of the classes on a page."""
    seen = {int(c) for s in samples if s.panoptic is not None for c in np.unique(unpack(s.panoptic)[0])}
    columns, width = 6, 3 * CELL_WIDTH + 2 * _GAP
    ids = sorted(i for i in seen if i < len(label_space))
    legend = np.full((_LINE * max(1, math.ceil(len(ids) / columns)), width, 3), _PAPER, np.uint8)
    for place, class_id in enumerate(ids):
        top, left = _LINE * (place // columns), (width // columns) * (place % columns)
        legend[top + 4 : top + 18, left + 2 : left + 24] = label_space.classes[class_id].color
        _write(legend, label_space.names[class_id], left + 30, top + 16)
    if not ids:
        _write(legend, "no labels", 2, 16)
    return legend


def _depth_legend(scale: Scale) -> NDArray[np.uint8]:
    width = 3 * CELL_WIDTH + 2 * _GAP
    legend = np.full((2 * _LINE, width, 3), _PAPER, np.uint8)
    bar = width - 80
    places = np.linspace(0, 1, bar)
    anchors = np.linspace(0, 1, len(scale.colors))
    colors = np.stack([np.interp(places, anchors, [c[i] for c in scale.colors]) for i in range(3)], -1)
    legend[4:18, :bar] = colors.astype(np.uint8)
    for place, text in scale.marks:
        _write(legend, text, min(int(place * bar), width - 70), 2 * _LINE - 6)
    return legend


def _write(picture: NDArray[Any], text: str, left: int, bottom: int) -> None:
    cv2.putText(picture, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)

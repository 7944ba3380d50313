"""The parts of a report that show scores, pictures of one image, and latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..labels import LabelSpace
from .pictures import color_depth, color_error, depth_scale, error_scale, overlay
from .report import Block, Legend, Number, Numbers, Picture, Pictures, Table, Text
from .scores import Scores, number


def score_numbers(scores: Scores) -> Numbers:
    """The headline numbers."""
    items = [
        Number("PQ", number(scores.pq, 1), f"things {number(scores.pq_things, 1)}, stuff {number(scores.pq_stuff, 1)}"),
        Number("mIoU", number(scores.miou, 1), f"{np.count_nonzero(~np.isnan(scores.iou))} classes occur"),
    ]
    if scores.images_with_depth:
        at = ", ".join(f"{value:.1f}" for value in scores.dpq_at.values())
        items.insert(1, Number("DPQ", number(scores.dpq, 1), f"at λ {_lambdas(scores)}: {at}"))
        items += [
            Number("depth abs rel", number(scores.abs_rel, 3), "mean |d - d*| / d*"),
            Number("depth RMSE", f"{number(scores.rmse_m)} m", f"SILog {number(scores.depth.silog, 1)}"),
            Number("δ < 1.25", f"{number(100 * scores.delta1, 1)} %", "of depth pixels"),
        ]
    return Numbers(items)


def score_tables(scores: Scores) -> list[Block]:
    """Quality of all, things and stuff; of each class; depth errors; and what the means are over."""
    colors = {info.name: info.color for info in scores.panoptic.label_space.classes}
    header, rows = scores.class_table()
    blocks: list[Block] = [
        Table(*scores.headline(), title="Panoptic quality"),
        Table(
            header,
            rows,
            title="Per class",
            left=2,
            swatches=[colors[row[0]] for row in rows],
            bars={i: 100.0 for i, name in enumerate(header) if name in ("PQ", "IoU")},
            note="In percent. TP, FP and FN are segments.",
        ),
    ]
    if scores.images_with_depth:
        blocks.append(Table(*scores.depth_table(), title="Depth", left=0))
    return [*blocks, Text(" ".join(scores.notes()))]


def sample_pictures(
    title: str,
    rgb: NDArray[np.uint8],
    label_space: LabelSpace,
    panoptic: NDArray[np.uint16],
    depth_m: NDArray[np.float32] | None,
    gt_panoptic: NDArray[np.uint16] | None = None,
    gt_depth_m: NDArray[np.float32] | None = None,
    *,
    max_m: float = 80.0,
    min_m: float = 2.0,
    note: str = "",
) -> Pictures:
    """Input, panoptic overlays, depths and depth error of one image; what is None is left out.

    Args:
        title: above the pictures.
        rgb: (H, W, 3) uint8; the arrays below are on its pixel grid.
        label_space: of both panoptic images.
        panoptic: predicted panoptic ids.
        depth_m: predicted metres.
        gt_panoptic: true panoptic ids.
        gt_depth_m: true metres; NaN unknown, +Inf sky.
        max_m: distance at the end of the depth colours.
        min_m: distance at their start.
        note: below the pictures.
    """
    items = [Picture(rgb, "input"), Picture(overlay(rgb, panoptic, label_space), "predicted panoptic segmentation")]
    if gt_panoptic is not None:
        items.append(Picture(overlay(rgb, gt_panoptic, label_space), "true panoptic segmentation"))
    scale = depth_scale(max_m, min_m)
    if depth_m is not None:
        items.append(Picture(color_depth(depth_m, max_m, min_m), "predicted depth", scale))
    if gt_depth_m is not None:
        items.append(Picture(color_depth(gt_depth_m, max_m, min_m), "true depth (pale grey: sky)", scale))
    if depth_m is not None and gt_depth_m is not None:
        items.append(
            Picture(color_error(depth_m, gt_depth_m), "relative depth error (dark: not scored)", error_scale())
        )
    return Pictures(items, title=title, note=note)


def class_legend(label_space: LabelSpace) -> Legend:
    """Colours of all classes."""
    return Legend([(info.name, info.color) for info in label_space.classes])


def latency_summary(timings_ms: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Stage -> mean, median, 95th percentile and maximum, milliseconds, of the frames of each stage."""
    return {
        stage: {
            "mean": float(np.mean(values)),
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
            "max": float(np.max(values)),
            "frames": len(values),
        }
        for stage, values in timings_ms.items()
        if len(values)
    }


def latency_table(summary: Mapping[str, Mapping[str, float]], title: str = "Latency", note: str = "") -> Table:
    """A table of `latency_summary`."""
    rows = [
        [stage, *(f"{values[key]:.1f}" for key in ("mean", "median", "p95", "max")), f"{values['frames']:.0f}"]
        for stage, values in summary.items()
    ]
    return Table(["stage", "mean [ms]", "median [ms]", "95 % [ms]", "max [ms]", "frames"], rows, title=title, note=note)


def _lambdas(scores: Scores) -> str:
    return ", ".join(f"{threshold:g}" for threshold in scores.dpq_at)

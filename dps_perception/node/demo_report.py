"""The demo's page: real camera images, the street drive, its point cloud and instances, latencies, what arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.bag_messages import cloud_colors, decode_cloud
from ..data.calibration import intrinsics_of
from ..evaluation import Scores
from ..evaluation.pictures import color_depth, color_error, depth_scale, error_scale
from ..evaluation.report import Block, Number, Numbers, Picture, Pictures, Section, Table, Text
from ..evaluation.score_report import class_legend, sample_pictures, score_numbers, score_tables
from ..evaluation.splat import oblique_view, render_points
from ..labels import VOID_CLASS_ID, LabelSpace
from .demo_images import CameraImage
from .demo_measure import END_TO_END, Shown, depth_errors
from .demo_session import POINT_STRIDE, Recording

CLOUD_RANGE_M = 40.0
_CLOUD_HW = (560, 900)
_VOID_COLOR = (178, 184, 192)


def camera_section(images: Sequence[CameraImage], frames: Sequence[Shown], absent: Sequence[str]) -> Section:
    """Pictures of each real image; where depth was measured, the error with and without a common scale."""
    blocks: list[Block] = []
    for image, frame in zip(images, frames, strict=True):
        near, far = _depth_range([frame.depth_m] if image.depth_m is None else [frame.depth_m, image.depth_m])
        items = [
            Picture(frame.rgb, "input"),
            Picture(frame.overlay, "~/overlay"),
            Picture(color_depth(frame.depth_m, far, near), "~/depth", depth_scale(far, near)),
        ]
        note = f"Camera {image.calibration}."
        if frame.gt_depth_m is not None:
            errors = depth_errors(frame.depth_m, frame.gt_depth_m)
            scaled = (frame.depth_m * np.float32(errors["ratio"])).astype(np.float32)
            items += [
                Picture(color_depth(frame.gt_depth_m, far, near), "measured depth (stereo)", depth_scale(far, near)),
                Picture(color_error(frame.depth_m, frame.gt_depth_m), "depth error", error_scale()),
                Picture(color_error(scaled, frame.gt_depth_m), "depth error after median scaling", error_scale()),
            ]
            note += (
                f" Mean relative depth error against the measured depth: {100 * errors['abs_rel']:.1f} % as published; "
                f"{100 * errors['abs_rel_scaled']:.1f} % after scaling by the ratio of medians, {errors['ratio']:.2f}; "
                f"over the {100 * errors['coverage']:.0f} % of measured pixels for which there is a depth."
            )
        blocks.append(Pictures(items, title=image.name, note=note))
    text = (
        "The weights have seen nothing but the synthetic street. These images show how far that carries on a real "
        "camera, and that any calibrated stream goes through the node; they are no claim of accuracy. "
        "Scenes unlike a street seen from a car, as the motorcycle in a garage, are outside what was learned."
    )
    return Section("Real camera images", [*blocks, *(Text(f"Left out: {line}.") for line in absent)], text)


def drive_section(
    scores: Scores, frames: Sequence[Shown], label_space: LabelSpace, about: str, start_ns: int
) -> Section:
    """Scores of the drive, which began at `start_ns`, and pictures of some of its frames."""
    pictures = [
        sample_pictures(
            f"After {(frame.stamp_ns - start_ns) * 1e-9:.1f} s",
            frame.rgb,
            label_space,
            frame.panoptic,
            frame.depth_m,
            frame.gt_panoptic,
            frame.gt_depth_m,
        )
        for frame in frames
    ]
    blocks: list[Block] = [score_numbers(scores), class_legend(label_space), *pictures, *score_tables(scores)]
    return Section("A drive through a street the network has never seen", blocks, about)


def cloud_section(frame: Shown, label_space: LabelSpace) -> Section:
    """The PointCloud2 message of one frame, seen from behind and above the camera."""
    cloud = decode_cloud(frame.points).reshape(-1)
    xyz = np.stack([cloud["x"], cloud["y"], cloud["z"]], -1).astype(np.float32)
    shown = np.isfinite(xyz).all(axis=1) & (xyz[:, 2] < CLOUD_RANGE_M)
    xyz, cloud = xyz[shown], cloud[shown]
    focal_px = intrinsics_of(frame.camera_info).fx
    radius_m = 0.6 * POINT_STRIDE * xyz[:, 2] / focal_px
    colors = label_space.colors.copy()
    colors[VOID_CLASS_ID] = _VOID_COLOR  # black would look like a class
    tones = {"colour of the image": cloud_colors(cloud), "colour of the class": colors[cloud["label"]]}
    items = [Picture(_draw(xyz, rgb, radius_m), name, lossless=True) for name, rgb in tones.items()]
    text = (
        f"{len(xyz)} points of ~/points nearer than {CLOUD_RANGE_M:g} m (every {POINT_STRIDE}nd row and column; "
        "sky has no points, grey ones have no class), drawn from behind and above the camera. "
        "What the camera did not see stays empty."
    )
    return Section("Point cloud", [Pictures(items, columns=2)], text)


def instance_section(frame: Shown, label_space: LabelSpace) -> Section:
    """The things of ~/instances in one frame: boxes with distances, and a table."""
    rows, swatches = [], []
    for thing in frame.things:
        place = (thing.centroid.x, thing.centroid.y, thing.centroid.z)
        where = ", ".join(f"{round(v, 1) + 0.0:.1f}" for v in place) if thing.has_position else "unknown"
        size = thing.box_size
        extent = f"{size.x:.1f} x {size.y:.1f} x {size.z:.1f}" if thing.has_box else "unknown"
        depth = thing.depth
        rows.append(
            [
                f"{thing.class_name} {thing.instance_id}",
                f"{thing.depth.median:.1f}",
                f"{depth.p05:.1f} to {depth.p95:.1f}",
                where,
                extent,
                f"{thing.score:.2f}",
                str(thing.pixel_count),
            ]
        )
        swatches.append(label_space.classes[thing.class_id].color)
    header = [
        "instance",
        "distance [m]",
        "5 to 95 % [m]",
        "centre x, y, z [m]",
        "box [m]",
        "score",
        "pixels",
    ]
    note = "Optical frame: x right, y down, z forward. Boxes hold the visible surface."
    table = Table(header, rows, swatches=swatches, note=note) if rows else None
    picture = Pictures([Picture(_boxes(frame, label_space), "~/instances drawn over the image")], columns=1)
    blocks: list[Block] = [picture, table] if table else [picture]
    title = f"Instances of one frame: {len(rows)} things with their distances"
    return Section(title, blocks)


def latency_section(timings: Mapping[str, Mapping[str, Sequence[float]]], rates: Mapping[str, float]) -> Section:
    """One table for each recording: minimum, median and 95th percentile of each stage."""
    blocks: list[Block] = []
    for title, stages in timings.items():
        rows = [
            [stage, *(f"{value:.1f}" for value in np.percentile(values, [0, 50, 95])), str(len(values))]
            for stage, values in stages.items()
            if values
        ]
        note = f"{rates[title]:.2f} frames per second over the whole replay, one after the other."
        blocks.append(Table(["stage", "min [ms]", "median [ms]", "95 % [ms]", "frames"], rows, title=title, note=note))
    text = (
        "Stages as ~/stats reports them ('processing' is from the mailbox to the last published output); "
        f"'{END_TO_END}' is measured in the recording process, which gets the image a few milliseconds after the node: "
        "it includes the transport of every output between processes."
    )
    return Section("Latency", blocks, text)


def arrival_section(recordings: Mapping[str, Recording]) -> Section:
    """Whether every output came for every image, with the image's own stamp."""
    rows = []
    for topic in next(iter(recordings.values())).received:
        cells = [f"{recording.received[topic]} of {recording.frames}" for recording in recordings.values()]
        rows.append([topic, *cells, str(sum(recording.strangers[topic] for recording in recordings.values()))])
    complete = all(recording.complete for recording in recordings.values())
    text = (
        "Every output arrived for every image, with exactly the image's stamp."
        if complete
        else "NOT every output arrived for every image: see the counts below."
    )
    table = Table(["topic", *recordings, "messages with another stamp"], rows)
    return Section("What arrived", [table], text)


def headline(scores: Scores, timings: Mapping[str, Sequence[float]], recordings: Sequence[Recording]) -> Numbers:
    """The numbers on top of the page."""
    end_to_end = timings[END_TO_END]
    frames = sum(recording.frames for recording in recordings)
    complete = sum(r.frames for r in recordings if r.complete)
    return Numbers(
        [
            Number("DPQ, unseen street", f"{scores.dpq:.1f}", "panoptic quality with depth right to 50, 25, 10 %"),
            Number("PQ", f"{scores.pq:.1f}", f"things {scores.pq_things:.1f}, stuff {scores.pq_stuff:.1f}"),
            Number("depth error", f"{100 * scores.abs_rel:.1f} %", "mean |d - d*| / d*, unseen street"),
            Number("latency", f"{np.median(end_to_end):.0f} ms", "median, image in to last output received"),
            Number("frames", f"{complete} of {frames}", "with every output, exactly stamped"),
        ]
    )


def _depth_range(depths_m: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Ends of the depth colours that suit all these images: round numbers, nearly all pixels between."""
    finite = np.concatenate([depth[np.isfinite(depth) & (depth > 0)] for depth in depths_m])
    if not finite.size:
        return 2.0, 80.0
    steps = np.array([0.2, 0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 80])
    low, high = np.percentile(finite, [1, 99])
    near = steps[max(0, np.searchsorted(steps, low, "right") - 1)]
    far = steps[min(len(steps) - 1, np.searchsorted(steps, max(high, 2 * near)))]
    return float(min(near, far / 2)), float(far)


def _draw(xyz: NDArray[np.float32], rgb: NDArray[np.uint8], radius_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The points from an oblique view, drawn twice as large and reduced, so that edges are smooth."""
    height, width = _CLOUD_HW
    view = oblique_view(xyz, (2 * height, 2 * width))
    picture, _ = render_points(xyz, rgb, view, radius_m=radius_m, min_radius_px=2, max_radius_px=7)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _boxes(frame: Shown, label_space: LabelSpace) -> NDArray[np.uint8]:
    """The image with a rectangle and the distance for each thing; far ones first, so that near ones stay readable."""
    picture: Any = frame.rgb.copy()
    size = max(0.4, frame.rgb.shape[0] / 1100)
    for thing in reversed(frame.things):
        color = tuple(int(c) for c in label_space.classes[thing.class_id].color)
        roi = thing.roi
        left, top = int(roi.x_offset), int(roi.y_offset)
        cv2.rectangle(picture, (left, top), (left + roi.width - 1, top + roi.height - 1), color, 2)
        text = f"{thing.class_name} {thing.depth.median:.1f} m"
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        bottom = max(top, height + 6)
        cv2.rectangle(picture, (left, bottom - height - 6), (left + width + 4, bottom), color, -1)
        origin = (left + 2, bottom - 4)
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)

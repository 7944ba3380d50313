"""Segments as messages: areas, boxes, run-length masks, depth statistics and 3D of the visible surface.

Pixels are visited by NumPy only; Python loops over segments. All is derived from the runs of equal panoptic ids.
"""

from __future__ import annotations

import array
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from dps_msgs.msg import DepthStats, Instance, InstanceArray, InstanceMask

from ..camera import Intrinsics
from ..labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace
from ..types import Segment

MIN_BOX_POINTS = 10
OUTLIER_MADS = 3 * 1.4826  # three standard deviations of a normal distribution
MIN_SPREAD = 0.05  # share of the median depth that is never taken for an outlier
BOX_QUANTILES = (0.01, 0.99)
EXACT_UP_TO = 16384


@dataclass(frozen=True)
class Region:
    """The pixels of one panoptic id.

    Attributes:
        top, left, height, width: tight box, half-open.
        starts: (R,) index of the first pixel of each run, row-major in the whole image; a run stays in one row.
        lengths: (R,) pixels of each run.
        pixels: (A,) index of every pixel.
    """

    panoptic_id: int
    top: int
    left: int
    height: int
    width: int
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    pixels: NDArray[np.int32]


@dataclass(frozen=True)
class Box:
    """Axis-aligned box of the visible surface in the optical frame, metres: centre, edge lengths (3,)."""

    center: NDArray[np.float64]
    size: NDArray[np.float64]


def regions(panoptic: NDArray[np.uint16]) -> list[Region]:
    """The regions of all ids but void, in order of their ids."""
    width = panoptic.shape[1]
    flat = np.ascontiguousarray(panoptic).reshape(-1)
    begins = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=flat.size)
    ids = flat[starts]
    order = np.argsort(ids, kind="stable")
    ids, starts, lengths = ids[order], starts[order], lengths[order]
    first = np.flatnonzero(np.diff(ids, prepend=np.int64(-1)))
    if not len(first):
        return []
    ends = np.cumsum(lengths)
    pixels = np.repeat((starts - (ends - lengths)).astype(np.int32), lengths)
    pixels += np.arange(flat.size, dtype=np.int32)
    rows, columns = np.divmod(starts, width)
    boxes = np.stack(
        [
            np.minimum.reduceat(rows, first),
            np.minimum.reduceat(columns, first),
            np.maximum.reduceat(rows, first) + 1,
            np.maximum.reduceat(columns + lengths, first),
        ],
        1,
    ).tolist()
    found = []
    for (top, left, bottom, right), begin, end in zip(boxes, first, [*first[1:], len(ids)], strict=True):
        if ids[begin] == VOID_PANOPTIC_ID:
            continue
        inside = pixels[ends[begin] - lengths[begin] : ends[end - 1]]
        of_region = (starts[begin:end], lengths[begin:end], inside)
        found.append(Region(int(ids[begin]), top, left, bottom - top, right - left, *of_region))
    return found


def run_lengths(region: Region, image_width: int) -> NDArray[np.uint32]:
    """Runs inside the region's box, background first, row-major; they sum to its height * width."""
    rows, columns = np.divmod(region.starts, image_width)
    starts = (rows - region.top) * region.width + columns - region.left
    gaps = np.diff(starts, prepend=0)
    gaps[1:] -= region.lengths[:-1]
    separate = gaps > 0  # a run that fills the box's width goes on in the next row
    separate[0] = True
    first = np.flatnonzero(separate)
    foreground = np.add.reduceat(region.lengths, first)
    counts = np.stack([gaps[first], foreground], 1).reshape(-1)
    rest = region.height * region.width - int(counts.sum())
    return (np.append(counts, rest) if rest else counts).astype(np.uint32)


def decode_mask(counts: NDArray[np.integer] | Iterable[int], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) mask of an `InstanceMask`'s run lengths."""
    counts = np.asarray(counts, np.int64)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)


def quantiles(values: NDArray[np.float32], at: Sequence[float]) -> list[float]:
    """Quantiles of a non-empty array, interpolated linearly as np.quantile does.

    Above `EXACT_UP_TO` values they are rounded to 1/65535 of their range: 16 bit integers sort ten times faster.
    """
    offset, step = 0.0, 1.0
    places = [share * (len(values) - 1) for share in at]
    if len(values) > EXACT_UP_TO:
        offset, step = float(values.min()), float(np.ptp(values)) / 65535 or 1.0
        levels = (values - np.float32(offset)) * np.float32(1 / step) + np.float32(0.5)
        ordered = np.sort(levels.astype(np.uint16), kind="stable").astype(np.float32)
    else:
        ordered = np.partition(values, sorted({int(p) for p in places} | {math.ceil(p) for p in places}))
    found = []
    for place in places:
        below, above = float(ordered[int(place)]), float(ordered[math.ceil(place)])
        found.append(offset + step * (below + (above - below) * (place - int(place))))
    return found


def depth_stats(depth_m: NDArray[np.float32]) -> DepthStats:
    """Statistics of valid depths (N,) in metres; NaN where there are none."""
    if not len(depth_m):
        nan = float("nan")
        return DepthStats(valid_pixels=0, min=nan, p05=nan, median=nan, p95=nan, max=nan, mean=nan, stddev=nan)
    p05, median, p95 = quantiles(depth_m, (0.05, 0.5, 0.95))
    return DepthStats(
        valid_pixels=len(depth_m),
        min=float(depth_m.min()),
        p05=p05,
        median=median,
        p95=p95,
        max=float(depth_m.max()),
        mean=float(depth_m.mean(dtype=np.float64)),
        stddev=float(depth_m.std(dtype=np.float64)),
    )


def surface(points: NDArray[np.float32], median_m: float) -> tuple[list[float], Box | None]:
    """Robust centre [x, y, z] and box of the visible surface, in the optical frame, metres.

    Depth bleeds from the background at a mask's border: points whose depth is farther from the median than three
    standard deviations (estimated from the median absolute deviation), and by more than 5 %, are left out. The
    centre is the median of the rest along each axis, the box spans their 1st to 99th percentile; None below 10 points.

    Args:
        points: (3, N), N > 0.
        median_m: median of their z.
    """
    off = np.abs(points[2] - np.float32(median_m))
    limit = max(OUTLIER_MADS * quantiles(off, (0.5,))[0], MIN_SPREAD * median_m)
    kept = off <= limit
    if not kept.all():
        points = points[:, kept]
    spread = np.array([quantiles(axis, (0.5, *BOX_QUANTILES)) for axis in points])
    center, low, high = spread.T
    box = Box((low + high) / 2, high - low) if points.shape[1] >= MIN_BOX_POINTS else None
    return center.tolist(), box


def instance_array(
    panoptic: NDArray[np.uint16],
    depth_m: NDArray[np.float32],
    segments: Iterable[Segment],
    intrinsics: Intrinsics | None,
    label_space: LabelSpace,
    header: Header,
    model_id: str,
    *,
    masks: bool = True,
) -> InstanceArray:
    """All segments of an image as a message, in order of their panoptic ids.

    Args:
        panoptic: (H, W) uint16.
        depth_m: (H, W) float32 metres; only finite values above 0 count.
        segments: class and score of every id in `panoptic`.
        intrinsics: of this pixel grid; None leaves positions and boxes out. Stuff never has them: what one image
            shows of a road or a wall has no centre that means anything.
        masks: fill run-length masks.
    """
    height, width = panoptic.shape
    by_id = {segment.panoptic_id: segment for segment in segments}
    depth = np.ascontiguousarray(depth_m).reshape(-1)
    message = InstanceArray(header=header, height=height, width=width, label_divisor=LABEL_DIVISOR, model_id=model_id)
    for region in regions(panoptic):
        segment = by_id[region.panoptic_id]
        instance = _instance(region, segment, label_space)
        if masks:
            instance.mask = _mask(run_lengths(region, width))
        z = depth[region.pixels]
        valid = np.isfinite(z) & (z > 0)
        all_valid = bool(valid.all())
        z = z if all_valid else z[valid]
        instance.depth = depth_stats(z)
        if intrinsics is not None and segment.is_thing and len(z):
            pixels = region.pixels if all_valid else region.pixels[valid]
            points = _points(pixels, z, width, intrinsics)
            _set_geometry(instance, *surface(points, instance.depth.median))
        message.instances.append(instance)
    return message


def _points(
    pixels: NDArray[np.int32], z: NDArray[np.float32], width: int, intrinsics: Intrinsics
) -> NDArray[np.float32]:
    rows, columns = np.divmod(pixels, np.int32(width))
    x = ((columns - intrinsics.cx) / intrinsics.fx).astype(np.float32) * z
    y = ((rows - intrinsics.cy) / intrinsics.fy).astype(np.float32) * z
    return np.stack([x, y, z])


def _instance(region: Region, segment: Segment, label_space: LabelSpace) -> Instance:
    nan = float("nan")
    instance = Instance(
        panoptic_id=region.panoptic_id,
        class_id=segment.class_id,
        class_name=label_space.names[segment.class_id],
        is_thing=bool(segment.is_thing),
        instance_id=segment.instance_id,
        score=float(segment.score),
        roi=RegionOfInterest(
            x_offset=region.left, y_offset=region.top, height=region.height, width=region.width, do_rectify=False
        ),
        pixel_count=len(region.pixels),
        centroid=Point(x=nan, y=nan, z=nan),
        box_size=Vector3(x=nan, y=nan, z=nan),
    )
    instance.box_center.position = Point(x=nan, y=nan, z=nan)
    return instance


def _mask(counts: NDArray[np.uint32]) -> InstanceMask:
    values = array.array("I")
    values.frombytes(counts.tobytes())
    return InstanceMask(encoding=InstanceMask.ENCODING_RLE, counts=values)


def _set_geometry(instance: Instance, center: Sequence[float], box: Box | None) -> None:
    instance.has_position = True
    instance.centroid = _point(center)
    if box is not None:
        instance.has_box = True
        instance.box_center = Pose(position=_point(box.center))
        instance.box_size = Vector3(x=float(box.size[0]), y=float(box.size[1]), z=float(box.size[2]))


def _point(xyz: Sequence[float] | NDArray[np.float64]) -> Point:
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))

"""Segments as messages: areas, boxes, run-length masks, depth statistics and 3D of the visible surface."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header

from dps_msgs.msg import Instance, InstanceArray, InstanceMask

from ..camera import Intrinsics
from ..kernels.cloud import OPTICAL
from ..kernels.depth import DepthRule
from ..kernels.regions import Regions, regions, run_lengths
from ..kernels.surfaces import Scratch, Surfaces, measure
from ..labels import LABEL_DIVISOR, LabelSpace
from ..types import Segment

MIN_BOX_POINTS = 10


def decode_mask(counts: NDArray[np.integer] | Iterable[int], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) mask of an `InstanceMask`'s run lengths."""
    counts = np.asarray(counts, np.int64)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)


def instance_array(
    panoptic: NDArray[np.uint16],
    depth_m: NDArray[np.float32],
    segments: Iterable[Segment],
    intrinsics: Intrinsics | None,
    label_space: LabelSpace,
    header: Header,
    model_id: str,
    *,
    rule: DepthRule,
    masks: bool = True,
    scratch: Scratch | None = None,
    pose: NDArray[np.float64] = OPTICAL,
    track_ids: Mapping[int, int] | None = None,
) -> InstanceArray:
    """All segments of an image as a message, in order of their panoptic ids.

    A thing's centroid is the median of its surface along each axis of the header's frame, its box spans the 1st to 99th
    percentile along these axes (none below 10 points); `kernels.surfaces` says what belongs to the surface.

    Args:
        panoptic: (H, W) uint16.
        depth_m: (H, W) float32 metres.
        segments: class and score of every id in `panoptic`.
        intrinsics: of this pixel grid; None leaves positions and boxes out. Stuff never has them: what one image
            shows of a road or a wall has no centre that means anything.
        rule: which depths count.
        masks: fill run-length masks.
        scratch: memory to use again.
        pose: (4, 4) takes optical coordinates to those of the header's frame; by default it is the optical one.
        track_ids: by panoptic id; what is not in it is not tracked.
    """
    height, width = panoptic.shape
    by_id = {segment.panoptic_id: segment for segment in segments}
    found = regions(panoptic)
    ordered = [by_id[id_] for id_ in found.ids.tolist()]
    is_thing = np.array([segment.is_thing for segment in ordered], bool)
    surfaces = measure(found, depth_m, rule, intrinsics, is_thing, scratch or Scratch(), pose)
    message = InstanceArray(header=header, height=height, width=width, label_divisor=LABEL_DIVISOR, model_id=model_id)
    message.instances = _instances(ordered, found, surfaces, label_space, track_ids or {})
    if masks:
        for instance, counts in zip(message.instances, run_lengths(found), strict=True):
            instance.mask.encoding = InstanceMask.ENCODING_RLE
            instance.mask.counts.frombytes(counts.view(np.uint8))
    return message


def _instances(
    segments: Iterable[Segment],
    found: Regions,
    surfaces: Surfaces,
    label_space: LabelSpace,
    track_ids: Mapping[int, int],
) -> list[Instance]:
    lists = (found.areas, found.boxes, surfaces.valid, surfaces.stats, surfaces.points, surfaces.places)
    made = []
    for segment, area, box, valid, stats, points, places in zip(segments, *(a.tolist() for a in lists), strict=True):
        instance = Instance(
            panoptic_id=segment.panoptic_id,
            class_id=segment.class_id,
            class_name=label_space.names[segment.class_id],
            is_thing=bool(segment.is_thing),
            instance_id=segment.instance_id,
            track_id=track_ids.get(segment.panoptic_id, 0),
            score=float(segment.score),
            pixel_count=area,
            has_position=points > 0,
            has_box=points >= MIN_BOX_POINTS,
        )
        top, left, bottom, right = box
        roi, depth = instance.roi, instance.depth  # filled where they are: a quarter less time
        roi.y_offset, roi.x_offset, roi.height, roi.width = top, left, bottom - top, right - left
        depth.valid_pixels = valid
        depth.min, depth.p05, depth.median, depth.p95, depth.max, depth.mean, depth.stddev = stats
        center, low, high = zip(*places, strict=True)
        _set(instance.centroid, center)
        if not instance.has_box:
            low = high = (math.nan,) * 3
        _set(instance.box_center.position, [(a + b) / 2 for a, b in zip(low, high, strict=True)])
        _set(instance.box_size, [b - a for a, b in zip(low, high, strict=True)])
        made.append(instance)
    return made


def _set(message: Point | Vector3, xyz: Sequence[float]) -> None:
    message.x, message.y, message.z = xyz

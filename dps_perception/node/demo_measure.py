"""What the demo's recordings say: scores against ground truth, latencies, frames to show. Reads bags, knows no ROS."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.bag import BagReader, header_stamp_ns
from ..data.bag_messages import decode_depth, decode_raw, decode_rgb, label_space_of
from ..data.drive_bag import DRIVE_TOPICS
from ..errors import DatasetError
from ..evaluation import Evaluator, Scores
from ..evaluation.depth import DepthSums, has_depth
from ..labels import LabelSpace
from .demo_session import PER_FRAME, Recording
from .replay_plan import output

STAGES = ("decode", "preprocess", "inference", "fusion", "publish", "processing")
END_TO_END = "image received to last output received"


@dataclass(frozen=True)
class Model:
    """What the node says about its model, on ~/panoptic_info and ~/stats."""

    model_id: str
    weights_sha256: str
    backend: str
    precision: str
    label_space: LabelSpace


@dataclass(frozen=True)
class Shown:
    """One recorded frame with everything the node published for it; arrays on the image's pixel grid.

    `camera_info`, `points` and `instances` are messages.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    panoptic: NDArray[np.uint16]
    depth_m: NDArray[np.float32]
    camera_info: Any
    points: Any
    instances: Any
    gt_panoptic: NDArray[np.uint16] | None = None
    gt_depth_m: NDArray[np.float32] | None = None

    @property
    def things(self) -> list[Any]:
        """Things that have a distance, nearest first."""
        known = [i for i in self.instances.instances if i.is_thing and np.isfinite(i.depth.median)]
        return sorted(known, key=lambda i: float(i.depth.median))


def read_model(reader: BagReader) -> Model:
    """The model behind a recording.

    Raises:
        DatasetError: the recording holds no ~/panoptic_info or no ~/stats.
    """
    found = {}
    for topic in (output("panoptic_info"), output("stats")):
        message = next(reader.raw_messages([topic]), None)
        if message is None:
            raise DatasetError(f"recording '{reader.path}' holds no message of {topic}")
        found[topic] = reader.deserialize(message)
    info, stats = found[output("panoptic_info")], found[output("stats")]
    return Model(info.model_id, info.weights_sha256, stats.backend, stats.precision, label_space_of(info))


def score_drive(reader: BagReader, label_space: LabelSpace) -> Scores:
    """Scores of the recorded predictions against the recorded ground truth, paired by exact stamp."""
    evaluator = Evaluator(label_space)
    topics = (output("panoptic"), output("depth"), DRIVE_TOPICS.panoptic, DRIVE_TOPICS.depth)
    for _, group in reader.synchronised(topics):
        panoptic, depth, gt_panoptic, gt_depth = (group[topic] for topic in topics)
        evaluator.update(decode_raw(panoptic), decode_depth(depth), decode_raw(gt_panoptic), decode_depth(gt_depth))
    return evaluator.compute()


def depth_errors(depth_m: NDArray[np.float32], gt_depth_m: NDArray[np.float32]) -> dict[str, float]:
    """Mean relative depth error ("abs_rel"), the same after scaling by the ratio of medians, and that "ratio".

    "coverage" is the share of pixels with true depth for which there is a predicted one; only they count.
    """
    valid = has_depth(gt_depth_m) & has_depth(depth_m)
    ratio = float(np.median(gt_depth_m[valid]) / np.median(depth_m[valid])) if valid.any() else float("nan")

    def abs_rel(depth: NDArray[np.float32]) -> float:
        sums = DepthSums(0.0, float("inf"))
        sums.add(depth, gt_depth_m)
        return float(sums.scores().abs_rel)

    return {
        "abs_rel": abs_rel(depth_m),
        "abs_rel_scaled": abs_rel((depth_m * np.float32(ratio)).astype(np.float32)),
        "ratio": ratio,
        "coverage": float(valid[has_depth(gt_depth_m)].mean()) if has_depth(gt_depth_m).any() else float("nan"),
    }


def latencies_ms(recording: Recording) -> dict[str, list[float]]:
    """Milliseconds of each stage by ~/stats, and end to end: from the image's to the last output's arrival at us."""
    timings: dict[str, list[float]] = {stage: [] for stage in STAGES}
    began: dict[int, int] = {}
    ended: dict[int, int] = {}
    outputs = {output(name) for name in PER_FRAME}
    with BagReader(recording.bag) as reader:
        for raw in reader.raw_messages({DRIVE_TOPICS.image, *outputs}):
            stamp_ns = header_stamp_ns(raw.data)
            if raw.topic == DRIVE_TOPICS.image:
                began[stamp_ns] = raw.stamp_ns
            else:
                ended[stamp_ns] = max(raw.stamp_ns, ended.get(stamp_ns, 0))
            if raw.topic == output("stats"):
                stats = reader.deserialize(raw)
                for stage in STAGES:
                    timings[stage].append(float(getattr(stats, f"{stage}_ms")))
    timings[END_TO_END] = [(ended[stamp] - began[stamp]) * 1e-6 for stamp in sorted(set(began) & set(ended))]
    return timings


def busiest_stamp(reader: BagReader) -> int:
    """Stamp of the recorded frame with the most things that have a place in space.

    Raises:
        DatasetError: the recording holds no ~/instances.
    """
    things = {
        stamp_ns: sum(i.is_thing and i.has_position for i in group[output("instances")].instances)
        for stamp_ns, group in reader.synchronised([output("instances")])
    }
    if not things:
        raise DatasetError(f"recording '{reader.path}' holds no message of {output('instances')}")
    return max(things, key=lambda stamp_ns: things[stamp_ns])


def shown_frames(reader: BagReader, stamps_ns: Collection[int]) -> list[Shown]:
    """These frames of a recording, in order of their stamps, with ground truth where there is some."""
    names = ("overlay", "panoptic", "depth", "camera_info", "points", "instances")
    topics = [DRIVE_TOPICS.image, *(output(name) for name in names)]
    truths: dict[str, dict[int, Any]] = {DRIVE_TOPICS.panoptic: {}, DRIVE_TOPICS.depth: {}}
    for topic, found in truths.items():
        if topic in reader.topics():
            found.update({stamp: group[topic] for stamp, group in reader.synchronised([topic], stamps_ns)})
    frames = []
    for stamp_ns, group in reader.synchronised(topics, stamps_ns):
        gt_panoptic, gt_depth = (found.get(stamp_ns) for found in truths.values())
        frames.append(
            Shown(
                stamp_ns=stamp_ns,
                rgb=decode_rgb(group[DRIVE_TOPICS.image]),
                overlay=decode_rgb(group[output("overlay")]),
                panoptic=decode_raw(group[output("panoptic")]),
                depth_m=decode_depth(group[output("depth")]),
                camera_info=group[output("camera_info")],
                points=group[output("points")],
                instances=group[output("instances")],
                gt_panoptic=None if gt_panoptic is None else decode_raw(gt_panoptic),
                gt_depth_m=None if gt_depth is None else decode_depth(gt_depth),
            )
        )
    return sorted(frames, key=lambda frame: frame.stamp_ns)

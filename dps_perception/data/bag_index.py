"""What a bag holds for training: which messages make a sample, found in one pass over header stamps and transforms."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import ConfigError, nearest
from .bag import BagReader, header_stamp_ns
from .bag_topics import TF_TYPE, BagTopics, find_topics
from .lidar import OCCLUSION, Occlusion
from .tf_tree import TransformError, TransformTree

SECOND = 1_000_000_000
FIXED_FRAMES = ("odom", "map", "world")
"""Frames in which the world stands still, the smoothest first (REP 105)."""

Split = Literal["train", "val", "all"]
Keep = Literal["supervised", "labelled", "all"]


@dataclass(frozen=True)
class BagOptions:
    """How samples are made of a bag's messages.

    Attributes:
        tolerance_s: depth belongs to an image if its stamp is at most this far away; None: 0.01 s for a depth image,
            0.1 s for a cloud, whose motion in between is undone. Labels are of exactly the image's stamp.
        keep: which images are samples: "supervised" those with labels or depth, "labelled" those with labels and, where
            there is a source of it, depth; "all" every image.
        fixed_frame: in which the world stands still while the robot moves; "" takes the first of odom, map and world
            that is above camera and LiDAR.
        camera_frame: optical frame; "" takes the image's frame_id.
        occlusion: which LiDAR points the camera can't see; None drops none.
        rectify: undistort raw images; without it a distorted raw image is an error.
        val_share: share of each bag's time, at its end, that is for validation.
        gap_s: images this long before the validation part belong to neither split, so that no near-twin of a
            validation image is trained on.

    Raises:
        ConfigError: a value is out of range.
    """

    tolerance_s: float | None = None
    keep: Keep = "supervised"
    fixed_frame: str = ""
    camera_frame: str = ""
    occlusion: Occlusion | None = OCCLUSION
    rectify: bool = False
    val_share: float = 0.2
    gap_s: float = 1.0

    def __post_init__(self) -> None:
        if self.keep not in get_args(Keep):
            raise ConfigError(f"keep '{self.keep}' is not one of {', '.join(get_args(Keep))}")
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share {self.val_share} must be between 0 and 1")
        if self.gap_s < 0 or (self.tolerance_s is not None and self.tolerance_s < 0):
            raise ConfigError(f"gap_s {self.gap_s} and tolerance_s {self.tolerance_s} must be 0 or more")


class Message(NamedTuple):
    """One message: header stamp and time of recording, nanoseconds. Sorts by stamp."""

    stamp_ns: int
    recorded_ns: int


class Entry(NamedTuple):
    """The messages of one sample; `depth` is of the depth image or the cloud."""

    image: Message
    camera_info: Message
    depth: Message | None
    panoptic: Message | None


@dataclass(frozen=True)
class BagIndex:
    """One bag's samples.

    Attributes:
        path: of the bag.
        name: unique within the dataset; begins the sample ids.
        topics: the topics used.
        entries: in order of the images' stamps.
        skipped: images that are not samples, counted by reason.
        transforms: only filled where there is a cloud.
        camera_frame, fixed_frame: "" for the image's own, or where no fixed frame is known (then the LiDAR's place is
            looked up at the image's stamp: right for rigid mounts and slow robots only).
    """

    path: Path
    name: str
    topics: BagTopics
    entries: list[Entry]
    skipped: Counter[str]
    transforms: TransformTree
    camera_frame: str
    fixed_frame: str


def index_bag(path: Path, name: str, split: str, topics: BagTopics, options: BagOptions) -> BagIndex:
    """Find a bag's samples of a split.

    Raises:
        DatasetError: the bag is damaged, topics are missing or ambiguous, or camera and LiDAR are not connected.
        ConfigError: no such split.
    """
    if split not in get_args(Split):
        raise ConfigError(
            f"split '{split}' of a bag{nearest(split, get_args(Split))}; there are: {', '.join(get_args(Split))} "
            f"(val is the last {100 * options.val_share:g} % of each bag)"
        )
    with BagReader(path) as reader:
        topics = find_topics(reader, topics)
        messages, transforms = _read_index(reader, topics)
        camera = lidar = fixed = ""
        if topics.cloud:
            camera = options.camera_frame or _frame_of(reader, messages, topics.image)
            lidar = _frame_of(reader, messages, topics.cloud)
            try:
                fixed = _fixed_frame(transforms, camera, lidar, options.fixed_frame)
            except TransformError as error:
                raise TransformError(f"bag '{path}': {error}") from error
            transforms.keep_above(camera, lidar, fixed or camera)
    source = topics.depth or topics.cloud
    depths = messages[source] if source else []
    panoptics = {m.stamp_ns: m for m in messages[topics.panoptic]} if topics.panoptic else {}
    tolerance_s = (0.1 if topics.cloud else 0.01) if options.tolerance_s is None else options.tolerance_s
    images = _of_split(messages[topics.image], split, options)
    needs_depth = options.keep == "labelled" and source is not None
    entries, skipped, no_transform = [], Counter[str](), ""
    for image in images:
        depth = _nearest_to(depths, image.stamp_ns) if depths else None
        reason = "" if source else "no topic with depth"
        if depth is not None and abs(depth.stamp_ns - image.stamp_ns) > tolerance_s * SECOND:
            depth, reason = None, f"no depth within {tolerance_s:g} s"
        if depth is not None and topics.cloud:
            try:
                _check_moving(transforms, camera, image.stamp_ns, lidar, depth.stamp_ns, fixed)
            except TransformError as error:
                no_transform = no_transform or f"no transform (first: {error})"
                depth, reason = None, no_transform
        panoptic = panoptics.get(image.stamp_ns)
        if options.keep == "labelled" and panoptic is None:
            skipped["no labels of its stamp"] += 1
        elif depth is None and (panoptic is None if options.keep == "supervised" else needs_depth):
            skipped[reason] += 1
        else:
            entries.append(Entry(image, _calibration_at(messages[topics.camera_info], image.stamp_ns), depth, panoptic))
    return BagIndex(path, name, topics, entries, skipped, transforms, camera, fixed)


def _check_moving(
    transforms: TransformTree, camera: str, camera_ns: int, lidar: str, lidar_ns: int, fixed: str
) -> None:
    """Raise the TransformError that `camera_from_lidar` would."""
    if fixed:
        transforms.check(fixed, camera, camera_ns)
        transforms.check(fixed, lidar, lidar_ns)
    else:
        transforms.check(camera, lidar, camera_ns)


def camera_from_lidar(
    transforms: TransformTree, camera: str, camera_ns: int, lidar: str, lidar_ns: int, fixed: str
) -> NDArray[np.float64]:
    """(4, 4), takes points of the LiDAR as it was at its stamp to the camera as it was at the image's.

    Without a fixed frame the place of the LiDAR at the image's stamp counts.

    Raises:
        TransformError: the transforms of that time are not in the bag.
    """
    if fixed:
        return transforms.lookup_moving(camera, camera_ns, lidar, lidar_ns, fixed)
    return transforms.lookup(camera, lidar, camera_ns)


def _read_index(reader: BagReader, topics: BagTopics) -> tuple[dict[str, list[Message]], TransformTree]:
    """Messages by topic, sorted by stamp and one of each, and for a cloud the transforms; one pass over the bag."""
    types = reader.topics()
    moving = [n for n, t in types.items() if topics.cloud and t.type_name == TF_TYPE]
    wanted = [*topics.stamped, *moving]
    found: dict[str, list[Message]] = {name: [] for name in topics.stamped}
    transforms = TransformTree()
    total = sum(types[name].message_count for name in set(wanted))
    # Only a bag that takes a while gets a bar, and only on a terminal.
    bar = tqdm(reader.raw_messages(wanted), reader.path.name, total, leave=False, unit="msg", delay=2, disable=None)
    for raw in bar:
        if raw.topic in moving:
            transforms.add_message(reader.deserialize(raw), static=raw.topic.endswith("tf_static"))
        else:
            found[raw.topic].append(Message(header_stamp_ns(raw.data), raw.stamp_ns))
    for name, messages in found.items():
        messages.sort()
        found[name] = [m for i, m in enumerate(messages) if i == 0 or m.stamp_ns != messages[i - 1].stamp_ns]
    return found, transforms


def _frame_of(reader: BagReader, messages: dict[str, list[Message]], topic: str) -> str:
    first = messages[topic][0]
    return str(reader.message_at(topic, first.recorded_ns, first.stamp_ns).header.frame_id)


def _fixed_frame(transforms: TransformTree, camera: str, lidar: str, asked: str) -> str:
    """The fixed frame to use; "" where there is none but camera and LiDAR are connected without one.

    Raises:
        TransformError: camera and LiDAR are not connected, or not with the frame asked for.
    """
    transforms.require(camera, lidar)
    if asked:
        transforms.require(asked, camera)
        return asked
    known = transforms.frames
    return next((f for f in FIXED_FRAMES if f in known and transforms.connected(f, camera)), "")


def _of_split(images: list[Message], split: str, options: BagOptions) -> list[Message]:
    """Images of a split, see `split_bounds`."""
    if split == "all" or not images:
        return images
    train_ns, val_ns = split_bounds(images[0].stamp_ns, images[-1].stamp_ns, options.val_share, options.gap_s)
    return [m for m in images if (m.stamp_ns >= val_ns if split == "val" else m.stamp_ns < train_ns)]


def split_bounds(first_ns: int, last_ns: int, val_share: float, gap_s: float) -> tuple[int, int]:
    """Training ends before the first of these stamps, validation begins with the second: the last `val_share` of time.

    What lies in between, `gap_s` long, belongs to neither.
    """
    boundary = last_ns - round(val_share * (last_ns - first_ns))
    return boundary - round(gap_s * SECOND), boundary


def _nearest_to(messages: list[Message], stamp_ns: int) -> Message:
    """The message nearest in time."""
    i = bisect_left(messages, stamp_ns, key=_stamp)
    return min(messages[max(0, i - 1) : i + 1], key=lambda m: abs(m.stamp_ns - stamp_ns))


def _calibration_at(infos: list[Message], stamp_ns: int) -> Message:
    """The calibration in force: the last one up to this stamp, else the first (many bags hold it only once)."""
    return infos[max(0, bisect_right(infos, stamp_ns, key=_stamp) - 1)]


def _stamp(message: Message) -> int:
    return message.stamp_ns

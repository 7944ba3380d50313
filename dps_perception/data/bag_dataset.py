"""A robot's own bags as training data: images with depth from a depth image or a LiDAR, and labels where there are any.

    BagDataset("my_bags", "train")

Depth of a LiDAR is sparse: NaN wherever no point fell. Where the cloud has its own stamp, it is moved to the image's
through a fixed frame (odom, map). A single sweep is taken as instantaneous: what the robot moves while the LiDAR turns
is not undone, unless the driver did it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter, OrderedDict
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..errors import CameraInfoError, DatasetError, ImageError
from ..labels import CITYSCAPES, VOID_CLASS_ID, LabelSpace, unpack
from ..types import Sample
from .bag import BagReader
from .bag_index import BagIndex, BagOptions, Entry, Message, camera_from_lidar, index_bag
from .bag_messages import decode_depth, decode_raw, decode_rgb
from .bag_topics import BagTopics
from .calibration import Rectifier, intrinsics_of, is_distorted, names_rectified_image
from .lidar import project_cloud, read_points
from .tf_tree import TransformError

_SUFFIXES = (".mcap", ".db3")
_OPEN_BAGS = 32
_KEPT_MESSAGES = 8  # a cloud or calibration serves several images in a row


class BagDataset:
    """Samples of a bag, or of all bags in a folder and its subfolders, by index; messages are read when needed.

    Copies in other processes (a DataLoader's workers) open the bags anew.

    Attributes:
        sample_ids: `<bag>_<stamp of the image in nanoseconds>`, bag by bag in order of time.
        stamps_ns: of the images, likewise.
        label_space: what the class ids of the labels mean.
        skipped: images that are not samples, counted by reason.
        depth_topics: for each bag by name the topic that depth comes from, "" where there is none.

    Args:
        path: a rosbag2 folder, a .mcap or .db3 file, or a folder of such.
        split: "train", "val" (the last part of each bag, see `BagOptions`) or "all".
        label_space: None takes that of our own drives, Cityscapes.
        topics: names, or how they are found.
        options: how samples are made.

    Raises:
        DatasetError: no bag, a damaged one, topics missing or ambiguous, or not a single sample.
        ConfigError: no such split.
    """

    def __init__(
        self,
        path: Path | str,
        split: str = "all",
        label_space: LabelSpace | None = None,
        topics: BagTopics | None = None,
        options: BagOptions | None = None,
    ) -> None:
        self.path, self.label_space = Path(path), label_space or CITYSCAPES
        self._options = options or BagOptions()
        self._bags = [index_bag(p, name, split, topics or BagTopics(), self._options) for name, p in _bags(self.path)]
        self._ends = list(accumulate(len(bag.entries) for bag in self._bags))
        self.sample_ids = [f"{bag.name}_{entry.image.stamp_ns}" for bag in self._bags for entry in bag.entries]
        self.stamps_ns = [entry.image.stamp_ns for bag in self._bags for entry in bag.entries]
        self.depth_topics = {bag.name: bag.topics.depth or bag.topics.cloud or "" for bag in self._bags}
        self.skipped: Counter[str] = sum((bag.skipped for bag in self._bags), Counter())
        self._forget()
        if not self.sample_ids:
            raise self._empty(split)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        """One sample; `panoptic` is None where the image has no labels, `depth_m` where it has no depth.

        Raises:
            DatasetError: a message is damaged or does not fit the others; names bag, stamp and cure.
            IndexError: no such index.
        """
        index = range(len(self))[index]
        bag_index = bisect_right(self._ends, index)
        bag = self._bags[bag_index]
        entry = bag.entries[index - self._ends[bag_index]]
        try:
            return self._sample(bag, entry, self.sample_ids[index])
        except (ImageError, CameraInfoError, TransformError) as error:
            stamp_s = entry.image.stamp_ns / 1e9
            raise DatasetError(
                f"bag '{bag.path}', image at {stamp_s:.3f} s of '{bag.topics.image}': {error}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": OrderedDict(), "_messages": OrderedDict()}

    def close(self) -> None:
        """Close the bags that are open; the next access opens them again."""
        for reader in self._readers.values():
            reader.close()
        self._forget()

    def _sample(self, bag: BagIndex, entry: Entry, sample_id: str) -> Sample:
        message = self._read(bag, bag.topics.image, entry.image)
        info = self._read(bag, bag.topics.camera_info, entry.camera_info)
        image = decode_rgb(message)
        size = (image.shape[0], image.shape[1])
        panoptic = self._panoptic(bag, entry.panoptic, size)
        rectifier = self._rectifier(bag, info, size)
        intrinsics = rectifier.intrinsics if rectifier else intrinsics_of(info, size)
        depth = self._depth_image(bag, entry.depth, size)
        if rectifier:
            image = rectifier.image(image)
            panoptic = None if panoptic is None else rectifier.panoptic(panoptic)
            depth = None if depth is None else rectifier.depth(depth)
        if bag.topics.cloud and entry.depth is not None:
            depth = self._lidar_depth(bag, entry.image, entry.depth, intrinsics)
        return Sample(image, panoptic, depth, intrinsics, sample_id)

    def _rectifier(self, bag: BagIndex, info: Any, size_hw: tuple[int, int]) -> Rectifier | None:
        """None where the image is rectified already: no distortion, or a name like image_rect, image_rect_color."""
        if not is_distorted(info) or names_rectified_image(bag.topics.image):
            return None
        if not self._options.rectify:
            raise CameraInfoError(
                f"the image is raw and the lens distorts ({info.distortion_model}, d = {list(map(float, info.d))}); "
                "set rectify to undistort it here, or record the rectified image (ros2 run image_proc rectify_node)"
            )
        return Rectifier(info, size_hw)

    def _panoptic(self, bag: BagIndex, message: Message | None, size_hw: tuple[int, int]) -> NDArray[np.uint16] | None:
        if message is None or not bag.topics.panoptic:
            return None
        panoptic = decode_raw(self._read(bag, bag.topics.panoptic, message))
        if panoptic.dtype != np.uint16:
            raise ImageError(f"labels of '{bag.topics.panoptic}' are {panoptic.dtype}; panoptic ids are 16UC1")
        _require_size(panoptic, size_hw, f"labels of '{bag.topics.panoptic}'")
        class_id = unpack(panoptic)[0]
        wrong = class_id[(class_id >= len(self.label_space)) & (class_id != VOID_CLASS_ID)]
        if wrong.size:
            raise ImageError(
                f"labels of '{bag.topics.panoptic}' have class {wrong.max()}; label space '{self.label_space.name}' "
                f"has {len(self.label_space)} classes (panoptic id = class * 256 + instance, void 65535)"
            )
        return panoptic

    def _depth_image(
        self, bag: BagIndex, message: Message | None, size_hw: tuple[int, int]
    ) -> NDArray[np.float32] | None:
        if message is None or not bag.topics.depth:
            return None
        depth = decode_depth(self._read(bag, bag.topics.depth, message))
        _require_size(depth, size_hw, f"depth of '{bag.topics.depth}'")
        return np.where(depth > 0, depth, np.float32(np.nan))  # REP 117: -Inf is too near; many drivers write 0

    def _lidar_depth(
        self, bag: BagIndex, image: Message, cloud: Message, intrinsics: Intrinsics
    ) -> NDArray[np.float32]:
        message = self._read(bag, str(bag.topics.cloud), cloud)
        moved = camera_from_lidar(
            bag.transforms,
            bag.camera_frame,
            image.stamp_ns,
            message.header.frame_id,
            cloud.stamp_ns,
            bag.fixed_frame,
        )
        return project_cloud(read_points(message), moved, intrinsics, self._options.occlusion)

    def _read(self, bag: BagIndex, topic: str, message: Message) -> Any:
        """A message object; the last few are kept."""
        if self._process != os.getpid():  # a fork shares the parent's files and their positions
            self._forget()
        key = (bag.name, topic, message)
        if key not in self._messages:
            self._messages[key] = self._reader(bag).message_at(topic, message.recorded_ns, message.stamp_ns)
            if len(self._messages) > _KEPT_MESSAGES:
                self._messages.popitem(last=False)
        self._messages.move_to_end(key)
        return self._messages[key]

    def _reader(self, bag: BagIndex) -> BagReader:
        if bag.name not in self._readers:
            self._readers[bag.name] = BagReader(bag.path)
            if len(self._readers) > _OPEN_BAGS:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(bag.name)
        return self._readers[bag.name]

    def _forget(self) -> None:
        self._process = os.getpid()
        self._readers: OrderedDict[str, BagReader] = OrderedDict()
        self._messages: OrderedDict[tuple[str, str, Message], Any] = OrderedDict()

    def _empty(self, split: str) -> DatasetError:
        why = "; ".join(f"{reason} ({number} images)" for reason, number in self.skipped.items())
        used = ", ".join(self._bags[0].topics.stamped)
        return DatasetError(
            f"'{self.path}', split '{split}': no image of {len(self._bags)} bag(s) makes a sample: "
            f"{why or 'too short for this split (use all, or a smaller gap_s)'}; topics used: {used}"
        )


def _require_size(array: NDArray[Any], size_hw: tuple[int, int], what: str) -> None:
    if array.shape != size_hw:
        raise ImageError(
            f"{what} is {array.shape[1]}x{array.shape[0]}, the image {size_hw[1]}x{size_hw[0]}; it must be registered "
            "to the image (depth: ros2 run depth_image_proc register_node, or the driver's align_depth)"
        )


def _bags(path: Path) -> list[tuple[str, Path]]:
    """Name and path of every bag; a folder without metadata.yaml is searched for bags, subfolders too.

    Raises:
        DatasetError: there is none, or two have one name.
    """
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [(path.stem, path)]
    folders = [p.parent for p in path.rglob("metadata.yaml")]
    files = [p for suffix in _SUFFIXES for p in path.rglob(f"*{suffix}") if p.parent not in folders]
    visible = [p for p in [*folders, *files] if not any(part[0] == "." for part in p.relative_to(path).parts)]
    if not visible:
        raise DatasetError(f"folder '{path}' holds no bag: no metadata.yaml and no {' or '.join(_SUFFIXES)} file in it")
    named: dict[str, Path] = {}
    for bag in sorted(visible):
        name = "_".join((bag.relative_to(path) if bag.is_dir() else bag.relative_to(path).with_suffix("")).parts)
        if name in named:
            raise DatasetError(f"bags '{named[name]}' and '{bag}' would share the name '{name}'; rename one")
        named[name] = bag
    return list(named.items())

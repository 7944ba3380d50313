"""Frames of an annotated drive in order, with where the camera was: what evaluation over time reads of a bag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..types import Sample
from .bag import BagReader
from .bag_dataset import BagDataset
from .bag_index import FIXED_FRAMES, BagOptions
from .bag_topics import TF_TYPE, BagTopics, find_topics
from .tf_tree import TransformTree


@dataclass(frozen=True)
class DriveFrame:
    """One annotated image of a drive.

    Attributes:
        sample: with panoptic labels.
        stamp_ns: of the image.
        pose: (4, 4) takes optical coordinates to a frame in which the world stands still.
    """

    sample: Sample
    stamp_ns: int
    pose: NDArray[np.float64]


class Drive:
    """The labelled frames of one bag, with poses from its /tf and /tf_static.

    Args:
        path: rosbag2 folder, or .mcap or .db3 file.

    Raises:
        DatasetError: the bag can't be read, or lacks labels, calibration, or the camera's way in odom, map or world.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._transforms = TransformTree()
        with BagReader(path) as reader:
            topics = find_topics(reader, BagTopics(cloud=None))
            if not topics.panoptic:
                raise DatasetError(
                    f"bag '{path}' has no topic with panoptic labels; its topics are: {reader.described()}"
                )
            moving = [topic.name for topic in reader.topics().values() if topic.type_name == TF_TYPE]
            for raw in reader.raw_messages(moving):
                self._transforms.add_message(reader.deserialize(raw), static=raw.topic.endswith("tf_static"))
            image = next(reader.raw_messages([topics.image]))
            self._camera = str(reader.deserialize(image).header.frame_id)
        connected = (name for name in FIXED_FRAMES if self._transforms.connected(name, self._camera))
        self._fixed = next(connected, "")
        if not self._fixed:
            raise DatasetError(
                f"bag '{path}': none of the frames {', '.join(FIXED_FRAMES)} is connected to the camera's "
                f"'{self._camera}'; frames there are: {', '.join(self._transforms.frames) or 'none'}"
            )
        self._samples = BagDataset(path, topics=topics, options=BagOptions(keep="labelled"))

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[DriveFrame]:
        """Raises DatasetError where a message is damaged, or the pose at an image's stamp is not known."""
        for i, stamp_ns in enumerate(self._samples.stamps_ns):
            yield DriveFrame(self._samples[i], stamp_ns, self._transforms.lookup(self._fixed, self._camera, stamp_ns))

"""Which topics of a bag are the image, its calibration, its depth and its labels; found by type where that is clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, DatasetError
from .bag import BagReader
from .bag_messages import COLOR_ENCODINGS
from .drive_bag import DRIVE_TOPICS

IMAGE_TYPE, COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO_TYPE, CLOUD_TYPE = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/PointCloud2"
TF_TYPE = "tf2_msgs/msg/TFMessage"
_DEPTH_ENCODINGS = ("32FC1", "16UC1")
_GREY_ENCODINGS = ("mono8", "8UC1", "mono16")
_TRANSPORT = "/compressed"


@dataclass(frozen=True)
class BagTopics:
    """Topic names; "" is found by type, None (where allowed) is not wanted.

    Attributes:
        image: Image or CompressedImage in colour, or grey where there is none in colour. Found if there is one; an
            image that is recorded raw and compressed counts once.
        camera_info: CameraInfo. Found beside the image (`/camera/camera_info` for `/camera/image_raw`), or if there is
            one.
        depth: depth image registered to the image (32FC1 metres, 16UC1 millimetres; REP 118). Found if one has the
            image's size and frame.
        cloud: PointCloud2 of a LiDAR, projected into the image. Looked for only where there is no depth image; found
            if there is one.
        panoptic: 16UC1 panoptic ids. Found if it is called `/ground_truth/panoptic`, as in our own drives.
    """

    image: str = ""
    camera_info: str = ""
    depth: str | None = ""
    cloud: str | None = ""
    panoptic: str | None = ""

    def __post_init__(self) -> None:
        if self.depth and self.cloud:
            raise ConfigError(f"depth comes from an image ('{self.depth}') or a cloud ('{self.cloud}'): give one")

    @property
    def stamped(self) -> tuple[str, ...]:
        """All that are used."""
        return tuple(name for name in (self.image, self.camera_info, self.depth, self.cloud, self.panoptic) if name)


def find_topics(reader: BagReader, asked: BagTopics, ignore: tuple[str, ...] = ()) -> BagTopics:
    """The topics to use of a bag: those asked for, the others found by type; none of the answer's are "".

    Topics whose names begin with one of `ignore` are not found by type.

    Raises:
        DatasetError: a topic is missing, of another type, or several could be meant; lists those there are.
    """
    finder = _Finder(reader, asked, ignore)
    image = finder.image()
    camera_info = finder.camera_info(image)
    panoptic = finder.panoptic()
    depth = finder.depth(image, panoptic)
    return BagTopics(image, camera_info, depth, finder.cloud() if depth is None else None, panoptic)


def find_image(reader: BagReader, ignore: tuple[str, ...] = ()) -> str:
    """The image topic alone, as `find_topics` finds it; raises the same."""
    return _Finder(reader, BagTopics(), ignore).image()


class _Finder:
    def __init__(self, reader: BagReader, asked: BagTopics, ignore: tuple[str, ...]) -> None:
        self.reader, self.asked, self.ignore = reader, asked, ignore
        self.types = {t.name: t.type_name for t in reader.topics().values() if t.message_count}
        self._firsts: dict[str, Any] = {}

    def image(self) -> str:
        if self.asked.image:
            return self.named(self.asked.image, "image", IMAGE_TYPE, COMPRESSED_TYPE)
        colored = [n for n in self.of_type(IMAGE_TYPE) if self.first(n).encoding in COLOR_ENCODINGS]
        colored += [n for n in self.of_type(COMPRESSED_TYPE) if "compressedDepth" not in self.first(n).format]
        colored = [n for n in colored if not (n.endswith(_TRANSPORT) and n.removesuffix(_TRANSPORT) in colored)]
        grey = [n for n in colored if getattr(self.first(n), "encoding", "") in _GREY_ENCODINGS]
        found = [n for n in colored if n not in grey] or grey
        return self.only(found, "image", f"{IMAGE_TYPE} or {COMPRESSED_TYPE} in colour or grey")

    def camera_info(self, image: str) -> str:
        if self.asked.camera_info:
            return self.named(self.asked.camera_info, "camera_info", INFO_TYPE)
        beside = f"{image.removesuffix(_TRANSPORT).rpartition('/')[0]}/camera_info"
        found = self.of_type(INFO_TYPE)
        return beside if beside in found else self.only(found, "camera_info", INFO_TYPE)

    def panoptic(self) -> str | None:
        if self.asked.panoptic:
            return self.named(self.asked.panoptic, "panoptic", IMAGE_TYPE)
        ours = DRIVE_TOPICS.panoptic
        return ours if self.asked.panoptic == "" and self.types.get(ours) == IMAGE_TYPE else None

    def depth(self, image: str, panoptic: str | None) -> str | None:
        if self.asked.depth:
            return self.named(self.asked.depth, "depth", IMAGE_TYPE)
        if self.asked.depth is None or self.asked.cloud:
            return None
        frame = self.first(image).header.frame_id
        depths = [n for n in self.of_type(IMAGE_TYPE) if n != panoptic and self.first(n).encoding in _DEPTH_ENCODINGS]
        found = [n for n in depths if self.first(n).header.frame_id == frame and self._fits(n, image)]
        return self.only(found, "depth", f"{IMAGE_TYPE} with depth of the image's frame and size") if found else None

    def _fits(self, depth: str, image: str) -> bool:
        one, other = self.first(depth), self.first(image)
        return not hasattr(other, "height") or (one.height, one.width) == (other.height, other.width)

    def cloud(self) -> str | None:
        if self.asked.cloud:
            return self.named(self.asked.cloud, "cloud", CLOUD_TYPE)
        found = self.of_type(CLOUD_TYPE)
        return self.only(found, "cloud", CLOUD_TYPE) if found and self.asked.cloud == "" else None

    def of_type(self, type_name: str) -> list[str]:
        return [name for name, held in self.types.items() if held == type_name and not name.startswith(self.ignore)]

    def first(self, topic: str) -> Any:
        """The first message of a topic."""
        if topic not in self._firsts:
            self._firsts[topic] = self.reader.deserialize(next(self.reader.raw_messages([topic])))
        return self._firsts[topic]

    def named(self, topic: str, role: str, *types: str) -> str:
        self.reader.require([topic])
        if self.types.get(topic, types[0]) not in types:
            raise DatasetError(
                f"bag '{self.reader.path}': topic '{topic}' [{self.types[topic]}] can't be the {role} topic, which is "
                f"{' or '.join(types)}; the bag's topics are: {self.reader.described()}"
            )
        if topic not in self.types:
            raise DatasetError(
                f"bag '{self.reader.path}': {role} topic '{topic}' has no messages; the bag's topics are: "
                f"{self.reader.described()}"
            )
        return topic

    def only(self, found: list[str], role: str, wanted: str) -> str:
        """The one that was found."""
        if len(found) == 1:
            return found[0]
        several = f"{len(found)} topics could be" if found else "no topic is"
        cure = f"name one of {', '.join(found)} as topics.{role}" if found else f"name it as topics.{role}"
        raise DatasetError(
            f"bag '{self.reader.path}': {several} the {role} ({wanted}); {cure}. "
            f"The bag's topics are: {self.reader.described()}"
        )

"""Images to be labelled: a folder of images, a video, or bags; thinned out, and parted into training and validation."""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.bag_dataset import BagDataset
from ..data.bag_index import SECOND, BagOptions, split_bounds
from ..data.bag_topics import BagTopics
from ..data.camera_file import CameraFile, assumed_intrinsics
from ..data.layout import IMAGE_SUFFIXES, read_image
from ..data.tf_tree import TransformError
from ..errors import ConfigError, DatasetError, DpsError
from ..types import Sample

_BAG_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class Thinning:
    """Which frames are taken: every `every`-th, or at most `fps` a second of a video or bag, or all; then `limit`.

    Raises:
        ConfigError: a value is out of range.
    """

    every: int = 1
    fps: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or (self.fps is not None and not self.fps > 0) or (self.limit is not None and self.limit < 1):
            raise ConfigError(f"--every {self.every}, --fps {self.fps}, --limit {self.limit}: they must be positive")

    def of(self, stamps_ns: list[int]) -> list[int]:
        """Indices of the frames taken; with `fps` the first of each span of 1 / fps seconds."""
        if self.fps is not None and stamps_ns:
            spans = [int((stamp - stamps_ns[0]) / SECOND * self.fps + 1e-6) for stamp in stamps_ns]
            taken = [i for i, span in enumerate(spans) if i == 0 or span != spans[i - 1]]
        else:
            taken = list(range(0, len(stamps_ns), self.every))
        return taken[: self.limit]


@dataclass(frozen=True)
class Parting:
    """Training and validation: the last `val_share` of a sequence's time is for validation, `gap_s` before it unused.

    Raises:
        ConfigError: a value is out of range.
    """

    val_share: float = 0.2
    gap_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.val_share < 1 or self.gap_s < 0:
            raise ConfigError(f"--val-share {self.val_share} must be 0 or more and below 1, --gap-s {self.gap_s} >= 0")

    def split_of(self, stamps_ns: list[int]) -> list[str | None]:
        """ "train", "val" or None for each of these stamps, which ascend."""
        if not self.val_share or not stamps_ns:
            return ["train"] * len(stamps_ns)
        train_ns, val_ns = split_bounds(stamps_ns[0], stamps_ns[-1], self.val_share, self.gap_s)
        return ["val" if s >= val_ns else "train" if s < train_ns else None for s in stamps_ns]


@dataclass(frozen=True)
class FrameInfo:
    """One frame: its place in its source (which names its files), time of the source, and split."""

    place: int
    stamp_ns: int
    split: str


class Camera:
    """The camera of images without CameraInfo: a calibration file or an assumed horizontal field of view.

    Raises:
        ConfigError: neither or both are given.
        CameraInfoError: the file is unusable.
    """

    def __init__(self, file: Path | None, fov_deg: float | None, rectified: bool = False) -> None:
        if (file is None) == (fov_deg is None):
            raise ConfigError(
                "images and videos come without a calibration, and depth means nothing without: give --camera FILE "
                "(the .yaml of camera_calibration, or a Cityscapes camera .json), or --fov-deg, the field of view "
                "along the longer side"
            )
        self._file = CameraFile(file, rectified=rectified) if file is not None else None
        self._fov_deg = fov_deg

    def apply(self, rgb: NDArray[np.uint8], sample_id: str) -> Sample:
        """The undistorted image with its intrinsics."""
        size = (rgb.shape[0], rgb.shape[1])
        if self._file is None:
            assert self._fov_deg is not None
            return Sample(rgb, None, None, assumed_intrinsics(*size, self._fov_deg), sample_id)
        intrinsics, rectifier = self._file.of(size)
        return Sample(rectifier.image(rgb) if rectifier else rgb, None, None, intrinsics, sample_id)


class FrameSequence(ABC):
    """Frames of one folder, video or bag.

    Attributes:
        name: of the folder, file or bag.
        stamps_ns: of every frame there is.
        sensor: topic of a bag that measured depth comes from; "" where there is none.
        has_time: the stamps are real ones.
    """

    name: str
    stamps_ns: list[int]
    sensor = ""
    has_time = True

    @abstractmethod
    def read(self, places: Iterable[int]) -> Iterator[Sample | DpsError]:
        """The frames at these ascending places; for one that can't be read, why. Measured depth is in `depth_m`."""

    def frames(self, thinning: Thinning, parting: Parting) -> list[FrameInfo]:
        """The frames to be labelled."""
        places = thinning.of(self.stamps_ns)
        stamps = [self.stamps_ns[place] for place in places]
        splits = parting.split_of(stamps)
        return [FrameInfo(p, s, split) for p, s, split in zip(places, stamps, splits, strict=True) if split]

    def fingerprint(self) -> str:
        """Changes when frames are added, taken away or renamed."""
        return hashlib.sha256("\n".join([self.name, *self._frame_names()]).encode()).hexdigest()[:16]

    def _frame_names(self) -> list[str]:
        return [str(stamp) for stamp in self.stamps_ns]


class ImageFolder(FrameSequence):
    """Images of one folder by name. They have no time: they count as one second apart."""

    has_time = False

    def __init__(self, name: str, files: list[Path], camera: Camera) -> None:
        self.name, self._files, self._camera = name, files, camera
        self.stamps_ns = [i * SECOND for i in range(len(files))]

    def read(self, places: Iterable[int]) -> Iterator[Sample | DpsError]:
        for place in places:
            try:
                yield self._camera.apply(read_image(self._files[place]), self._files[place].stem)
            except DpsError as error:
                yield error

    def _frame_names(self) -> list[str]:
        return [path.name for path in self._files]


class Video(FrameSequence):
    """Frames of a video, counted by going through it once, since what its header says is often wrong."""

    def __init__(self, path: Path, camera: Camera) -> None:
        self.path, self._camera, self.name = path, camera, path.stem
        video = self._open()
        rate = video.get(cv2.CAP_PROP_FPS)
        number = sum(1 for _ in iter(video.grab, False))
        video.release()
        if not number or not 0 < rate < 1e4:
            raise DatasetError(
                f"video '{path}': {number} frames at {rate:g} frames a second; is it whole? "
                "ffmpeg -i VIDEO -c:v libx264 NEW.mp4 writes it anew"
            )
        self.stamps_ns = [round(i * SECOND / rate) for i in range(number)]

    def read(self, places: Iterable[int]) -> Iterator[Sample | DpsError]:
        video, following = self._open(), 0
        try:
            for place in places:
                for _ in range(place - following):
                    video.grab()
                following = place + 1
                good, bgr = video.read()
                try:
                    if not good:
                        raise DatasetError(f"video '{self.path}', frame {place} can't be decoded")
                    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
                    yield self._camera.apply(rgb, f"{self.name}_{place}")
                except DpsError as error:
                    yield error
        finally:
            video.release()

    def _open(self) -> cv2.VideoCapture:
        video = cv2.VideoCapture(str(self.path))
        if not video.isOpened():
            raise DatasetError(f"'{self.path}' is not a video that OpenCV can open")
        return video


class Bag(FrameSequence):
    """Images of one bag of a `BagDataset`, undistorted; its LiDAR or depth camera gives measured depth."""

    def __init__(self, dataset: BagDataset, name: str, indices: list[int]) -> None:
        self._dataset, self.name, self._indices = dataset, name, indices
        self.sensor = dataset.depth_topics[name]
        self.stamps_ns = [dataset.stamps_ns[i] for i in indices]

    def read(self, places: Iterable[int]) -> Iterator[Sample | DpsError]:
        for place in places:
            try:
                yield self._dataset[self._indices[place]]
            except DpsError as error:
                yield error


def open_frames(
    path: Path, camera: Path | None, fov_deg: float | None, rectified: bool, topics: BagTopics
) -> list[FrameSequence]:
    """The sequences of a source: each bag, each folder with images, or the video.

    Args:
        path: a folder (its subfolders count too), an image, a video, a bag, or a folder of bags.
        camera, fov_deg, rectified: see `Camera`; for images and videos only.
        topics: for bags only; `depth` and `cloud` None reads no measured depth.

    Raises:
        DatasetError: nothing usable is there.
        ConfigError: options that don't go with the source.
    """
    if not path.exists():
        raise DatasetError(f"'{path}' does not exist; give a folder of images, a video or a bag")
    if _is_bag(path):
        if camera is not None or fov_deg is not None or rectified:
            raise ConfigError("--camera, --fov-deg and --rectified are for images and videos; a bag has camera_info")
        return _open_bags(path, topics)
    if topics not in (BagTopics(panoptic=None), BagTopics(depth=None, cloud=None, panoptic=None)):
        raise ConfigError(f"--topic is for bags; '{path}' is none")
    given = Camera(camera, fov_deg, rectified)
    if path.is_dir():
        visible = (p for p in path.rglob("*") if not any(part[0] == "." for part in p.relative_to(path).parts))
        files = sorted(p for p in visible if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DatasetError(f"folder '{path}' holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}) and no bag")
        files.sort(key=lambda p: (p.parent, p.name))
        groups = itertools.groupby(files, lambda p: p.parent)
        return [ImageFolder(str(folder.relative_to(path)), list(group), given) for folder, group in groups]
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return [ImageFolder(path.stem, [path], given)]
    return [Video(path, given)]


def _is_bag(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix in _BAG_SUFFIXES
    return any(path.rglob("metadata.yaml")) or any(p.suffix in _BAG_SUFFIXES for p in path.rglob("*"))


def _open_bags(path: Path, topics: BagTopics) -> list[FrameSequence]:
    try:
        dataset = BagDataset(path, "all", topics=topics, options=BagOptions(keep="all", rectify=True))
    except TransformError as error:
        raise DatasetError(f"{error}; to do without the LiDAR: --sensor-scale off") from error
    except DatasetError as error:
        if " as topics." not in str(error):
            raise
        raise DatasetError(f"{error} (topics.image is --topic image=NAME here, and so on)") from error
    names = [sample_id.rpartition("_")[0] for sample_id in dataset.sample_ids]
    return [
        Bag(dataset, name, list(indices)) for name, indices in itertools.groupby(range(len(names)), names.__getitem__)
    ]

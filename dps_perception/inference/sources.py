"""Where annotated images come from: a DVPS folder, a bag with ground truth, or held-out seeds of the street world."""

from __future__ import annotations

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from ..data.bag_dataset import BagDataset
from ..data.bag_index import BagOptions
from ..data.bag_topics import BagTopics
from ..data.drive_bag import DRIVE_TOPICS
from ..data.dvps import DvpsFolder
from ..data.layout import images_in, read_image
from ..data.street import seeds, single_image
from ..data.street.dataset import HARD_VERSION, VERSION
from ..data.street.levels import HARD, STANDARD
from ..errors import ConfigError, DatasetError, nearest
from ..types import Sample

STREET = "street:"
STREET_SIZE = (512, 1024)
STREET_SPLITS = {
    "test": (seeds.TEST, STANDARD),
    "validation": (seeds.VALIDATION, STANDARD),
    "test-hard": (seeds.TEST, HARD),
    "validation-hard": (seeds.VALIDATION, HARD),
}
"""Seeds and level of each name."""
_SINGLE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Source(ABC):
    """Annotated images in a fixed order; `name` says what they are."""

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: range) -> Iterator[Sample]:
        """These images, in this order."""

    def __iter__(self) -> Iterator[Sample]:
        return self.read(range(len(self)))


def open_source(
    dataset: str, *, split: str, size: tuple[int, int] | None = None, limit: int | None = None, processes: int = 1
) -> Source:
    """The images that `dataset` names.

    Args:
        dataset: a DVPS folder, a rosbag2 folder, a .mcap or .db3 file, or one of
            `STREET_SPLITS` after "street:".
        split: subfolder of a DVPS folder.
        size: (height, width) to render street images at.
        limit: use the first so many.
        processes: that render street images.

    Raises:
        ConfigError: an option does not go with the dataset.
        DatasetError: there is no such dataset, or it lacks something.
    """
    if dataset.startswith(STREET):
        name = dataset[len(STREET) :]
        if name not in STREET_SPLITS:
            raise ConfigError(
                f"'{dataset}': the street world has {', '.join(STREET + known for known in STREET_SPLITS)}"
                f"{nearest(name, STREET_SPLITS)}"
            )
        return StreetSource(name, size or STREET_SIZE, limit, processes)
    if size is not None:
        raise ConfigError(
            f"--size is for rendering {STREET}... images, '{dataset}' has its own; "
            "the network's input size is --input-size"
        )
    path = Path(dataset)
    if path.suffix in (".mcap", ".db3") or (path.is_dir() and _holds_bag(path)):
        return BagSource(path, limit)
    if not path.is_dir():
        raise DatasetError(
            f"no dataset '{dataset}': give a folder in the Cityscapes-DVPS layout, a rosbag2 folder or .mcap file "
            f"with ground truth, a folder of pictures (where no labels are needed), or "
            f"{' or '.join(STREET + known for known in STREET_SPLITS)}"
        )
    if not (path / split).is_dir() and images_in(path):
        return ImageSource(path, limit)
    return FolderSource(path, split, limit)


def _holds_bag(folder: Path) -> bool:
    return (folder / "metadata.yaml").exists() or any(p.suffix in (".mcap", ".db3") for p in folder.iterdir())


class FolderSource(Source):
    """A split of a DVPS folder."""

    def __init__(self, root: Path, split: str, limit: int | None) -> None:
        self._folder = DvpsFolder(root, split)
        self._number = _limited(len(self._folder), limit)
        self.name = str(root / split)

    def __len__(self) -> int:
        return self._number

    def read(self, indices: range) -> Iterator[Sample]:
        return (self._folder[index] for index in indices)


class ImageSource(Source):
    """Pictures in a folder: no labels, no calibration."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        self._files = images_in(folder)[:limit]
        self.name = str(folder)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: range) -> Iterator[Sample]:
        files = (self._files[index] for index in indices)
        return (Sample(read_image(file), None, None, None, file.stem) for file in files)


class BagSource(Source):
    """A bag of a camera drive, or a folder of such, with ground truth of exactly the images' stamps."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self.name = str(path)
        topics = BagTopics(
            DRIVE_TOPICS.image, DRIVE_TOPICS.camera_info, depth=DRIVE_TOPICS.depth, panoptic=DRIVE_TOPICS.panoptic
        )
        self._bags = BagDataset(path, topics=topics, options=BagOptions(keep="labelled", tolerance_s=0))
        self._number = _limited(len(self._bags), limit)

    def __len__(self) -> int:
        return self._number

    def read(self, indices: range) -> Iterator[Sample]:
        return (self._bags[index] for index in indices)


@dataclass
class StreetSource(Source):
    """Images of fixed seeds, rendered by other processes a few ahead of their use.

    Attributes:
        split: one of `STREET_SPLITS`.
        size: (height, width).
        limit: use the first so many seeds.
        processes: 1 renders in this process.
    """

    split: str
    size: tuple[int, int]
    limit: int | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        self._seeds, self._level = STREET_SPLITS[self.split]
        self.name = f"{STREET}{self.split} at {self.size[0]}x{self.size[1]}, street world version {VERSION}"
        if self._level == HARD:
            self.name += f", hard level version {HARD_VERSION}"

    def __len__(self) -> int:
        return _limited(len(self._seeds), self.limit)

    def read(self, indices: range) -> Iterator[Sample]:
        chosen = [self._seeds[index] for index in indices]
        if self.processes <= 1:
            yield from (single_image(seed, *self.size, level=self._level) for seed in chosen)
            return
        # Spawned workers read their number of threads at import; one each, or they fight over the cores.
        before = {name: os.environ.get(name) for name in _SINGLE_THREAD}
        with ProcessPoolExecutor(self.processes, multiprocessing.get_context("spawn")) as pool:
            waiting: deque[Future[Sample]] = deque()
            try:
                os.environ.update(dict.fromkeys(_SINGLE_THREAD, "1"))
                for seed in chosen:
                    waiting.append(pool.submit(single_image, seed, *self.size, level=self._level))
                    if len(waiting) >= 2 * self.processes:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool as error:
                raise DatasetError(
                    "a process that rendered street images was killed (out of memory?); use fewer --processes"
                ) from error
            finally:
                _restore(before)
                pool.shutdown(cancel_futures=True)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _limited(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)

"""Every dataset format behind one door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, nearest
from ..labels import CITYSCAPES, LabelSpace
from ..types import Sample
from .bag_dataset import BagDataset
from .bag_index import BagOptions
from .bag_topics import BagTopics
from .cityscapes import Cityscapes, CityscapesDvps
from .coco import CocoPanoptic
from .dvps import DvpsFolder
from .mapillary import MapillaryVistas
from .semkitti import SemkittiDvps


class Dataset(Protocol):
    """Samples of one split, read when asked for.

    Attributes:
        sample_ids: one for each sample, unique.
        label_space: what the class ids in `Sample.panoptic` mean.
    """

    @property
    def sample_ids(self) -> Sequence[str]: ...
    @property
    def label_space(self) -> LabelSpace: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


_WITH_OWN_CLASSES: dict[str, type[Cityscapes | CityscapesDvps | SemkittiDvps | CocoPanoptic | MapillaryVistas]] = {
    "cityscapes": Cityscapes,
    "cityscapes_dvps": CityscapesDvps,
    "semkitti_dvps": SemkittiDvps,
    "coco": CocoPanoptic,
    "mapillary": MapillaryVistas,
}


FORMATS: tuple[str, ...] = ("dvps", *_WITH_OWN_CLASSES, "bag")
"""Names that `open_dataset` knows."""


def label_space_of(format: str) -> LabelSpace | None:
    """The classes that a format always has, or None where the run says what the class ids mean ("dvps", "bag").

    Raises:
        ConfigError: no such format.
    """
    if format not in FORMATS:
        raise ConfigError(f"no dataset format '{format}'{nearest(format, FORMATS)}; there are: {', '.join(FORMATS)}")
    return _WITH_OWN_CLASSES[format].label_space if format in _WITH_OWN_CLASSES else None


def open_dataset(
    format: str,
    root: Path | str,
    split: str,
    label_space: LabelSpace | None = None,
    topics: BagTopics | None = None,
    options: BagOptions | None = None,
) -> Dataset:
    """Open a split of a dataset; its folders and pairs of files are checked at once, its images when read.

    Args:
        format: one of `FORMATS`.
        root: folder of the dataset; for "bag" a bag or a folder of bags.
        split: as the dataset itself names it, e.g. "training" for Mapillary Vistas.
        label_space: classes of the run. Formats with classes of their own accept only these; None takes these, and
            Cityscapes' for "dvps" and "bag".
        topics: of bags; None finds them by type.
        options: how samples are made of bags; None takes the defaults.

    Raises:
        ConfigError: no such format, the format has other classes than `label_space`, or topics or options are given
            for another format than "bag".
        DatasetError: a folder or file is missing or can't be what the format says.
    """
    own = label_space_of(format)
    if format == "bag":
        return BagDataset(root, split, label_space, topics, options)
    if (topics or BagTopics()) != BagTopics() or (options or BagOptions()) != BagOptions():
        raise ConfigError(f"format '{format}' has no topics; topics and options of bags go with format 'bag' alone")
    if own is None:
        return DvpsFolder(root, split, label_space or CITYSCAPES)
    if label_space is not None and label_space != own:
        raise ConfigError(
            f"format '{format}' has the classes of label space '{own.name}', the run those of '{label_space.name}'; "
            f"set the run's label space to {own.name}"
        )
    return _WITH_OWN_CLASSES[format](root, split)

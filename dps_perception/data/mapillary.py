"""Mapillary Vistas with the 65 evaluated classes of v1.2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from ..labels import MAPILLARY_VISTAS, VOID_CLASS_ID
from ..types import Sample
from .layout import check_sizes, names_in, read_grey, read_image, require, split_folder
from .panoptic_ids import panoptic_of, refuse

_IGNORE, _DIVISOR = 65, 256


class MapillaryVistas:
    """A split ("training" or "validation") of Mapillary Vistas v1.2, or of v2.0 with its `v1.2` labels.

    `<root>/<split>/images/*.jpg` with `instances/*.png` (v2.0: `v1.2/instances/*.png`), 16 bit, class * 256 +
    instance, class 65 ignored. Things count instances from 0, so the format knows no crowds; they come to be only
    where a class has more than 255 instances. No depth, no cameras.

    Raises:
        DatasetError: a folder is missing or empty, an image lacks its labels, or the config file beside the splits
            lists other classes than v1.2.
    """

    label_space = MAPILLARY_VISTAS

    def __init__(self, root: Path | str, split: str) -> None:
        folder = split_folder(Path(root), split)
        self._images = folder / "images"
        self._instances = folder / "v1.2" / "instances"
        if not self._instances.is_dir():
            self._instances = folder / "instances"
        self.sample_ids = names_in(self._images, "*.jpg", ".jpg", "Mapillary Vistas' <split>/images", Path(root))
        require((self._instances / f"{i}.png" for i in self.sample_ids), "every image needs its v1.2 instances")
        config = Path(root) / "config_v1.2.json"
        if config.is_file():
            _check_config(config)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        sample_id = self.sample_ids[index]
        image_path, labels_path = self._images / f"{sample_id}.jpg", self._instances / f"{sample_id}.png"
        image = read_image(image_path)
        labels = read_grey(labels_path, [np.uint16], "class * 256 + instance")
        check_sizes(image_path, image, {labels_path: labels})
        classes, instances = np.divmod(labels.astype(np.int64), _DIVISOR)
        refuse(labels_path, labels, classes > _IGNORE, "class * 256 + instance with classes 0..65 of v1.2 (not v2.0)")
        classes[classes == _IGNORE] = VOID_CLASS_ID
        return Sample(image, panoptic_of(classes, instances + 1, MAPILLARY_VISTAS), None, None, sample_id)


def _check_config(path: Path) -> None:
    try:
        listed = [str(entry["readable"]).lower() for entry in json.loads(path.read_text())["labels"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not a Mapillary Vistas config with labels and their names ({error!r})") from error
    expected = [*MAPILLARY_VISTAS.names, "unlabeled"]
    if listed != expected:
        place = next((i for i, pair in enumerate(zip(listed, expected, strict=False)) if pair[0] != pair[1]), None)
        what = f"{len(listed)} classes" if place is None else f"class {place} is '{listed[place]}'"
        wanted = f"{len(expected)}" if place is None else f"'{expected[place]}'"
        raise DatasetError(f"{path}: {what}, expected {wanted} as in v1.2")

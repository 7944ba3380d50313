"""COCO panoptic (2017)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..labels import COCO_PANOPTIC, VOID_CLASS_ID
from ..types import Sample
from .layout import check_sizes, read_image, read_pixels
from .panoptic_ids import panoptic_of

_NEEDED = "annotations/panoptic_<split>2017.json"


@dataclass(frozen=True)
class _Annotation:
    """Files and segments of one image; arrays over its segments, sorted by segment id."""

    image: str
    png: str
    segment: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    instance: NDArray[np.int64]


class CocoPanoptic:
    """A split ("train" or "val") of COCO panoptic.

    `<root>/annotations/panoptic_<split>2017.json`, `<root>/annotations/panoptic_<split>2017/*.png` (also found
    beside `annotations`) and `<root>/<split>2017/*.jpg`. Segment id = R + 256 G + 65536 B; 0 is void. Segments with
    `iscrowd` become crowd, and so do the smallest where a class has more than 255 instances. No depth, no cameras.

    Raises:
        DatasetError: a file or folder is missing, the annotation file is damaged, its categories are not COCO's, or
            it lists no image.
    """

    label_space = COCO_PANOPTIC

    def __init__(self, root: Path | str, split: str) -> None:
        root = Path(root)
        self._json = root / "annotations" / f"panoptic_{split}2017.json"
        if not self._json.is_file():
            found = sorted(p.stem[9:-4] for p in self._json.parent.glob("panoptic_*2017.json"))
            raise DatasetError(f"no {self._json} (COCO's {_NEEDED}); splits there are: {', '.join(found) or 'none'}")
        self._images, self._pngs = root / f"{split}2017", self._json.with_suffix("")
        if not self._pngs.is_dir() and (root / self._pngs.name).is_dir():
            self._pngs = root / self._pngs.name
        self._annotations = _read_annotations(self._json)
        for folder, names in (
            (self._images, [a.image for a in self._annotations]),
            (self._pngs, [a.png for a in self._annotations]),
        ):
            if not folder.is_dir():
                raise DatasetError(f"no folder {folder}, which {self._json} is about")
            there = {path.name for path in folder.iterdir()}
            missing = [name for name in names if name not in there]
            if missing:
                raise DatasetError(f"missing {folder / missing[0]} ({len(missing)} in all), listed in {self._json}")
        self.sample_ids = [Path(a.png).stem for a in self._annotations]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        annotation = self._annotations[index]
        image_path, png_path = self._images / annotation.image, self._pngs / annotation.png
        image, segments = read_image(image_path), _read_segment_ids(png_path)
        check_sizes(image_path, image, {png_path: segments})
        ids, inverse = np.unique(segments, return_inverse=True)
        places = np.searchsorted(annotation.segment, ids)
        known = annotation.segment[np.minimum(places, len(annotation.segment) - 1)] == ids
        if not (known | (ids == 0)).all():
            raise DatasetError(
                f"{png_path}: segment id {ids[~known & (ids != 0)][0]} is not among the segments_info of "
                f"{annotation.png} in {self._json}"
            )
        classes, instances = np.full(len(ids), VOID_CLASS_ID), np.zeros(len(ids), np.int64)
        classes[known] = annotation.class_id[places[known]]
        instances[known] = annotation.instance[places[known]]
        inverse = inverse.reshape(segments.shape)
        panoptic = panoptic_of(classes[inverse], instances[inverse], COCO_PANOPTIC)
        return Sample(image, panoptic, None, None, self.sample_ids[index])


def _read_segment_ids(path: Path) -> NDArray[np.int64]:
    bgr = read_pixels(path, cv2.IMREAD_UNCHANGED)
    if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3:
        raise DatasetError(
            f"{path}: {bgr.dtype} with shape {bgr.shape}, expected an 8-bit RGB PNG (segment id = R + 256 G + 65536 B)"
        )
    return bgr.astype(np.int64) @ np.array([65536, 256, 1])


def _read_annotations(path: Path) -> list[_Annotation]:
    try:
        data = json.loads(path.read_text())
        classes = _class_of_category(path, data["categories"])
        images = {image["id"]: str(image["file_name"]) for image in data["images"]}
        annotations = [_annotation(path, a, images, classes) for a in data["annotations"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not a COCO panoptic annotation file ({error!r})") from error
    if not annotations:
        raise DatasetError(f"{path} lists no annotated image")
    return sorted(annotations, key=lambda a: a.png)


def _class_of_category(path: Path, categories: list[Mapping[str, Any]]) -> dict[int, int]:
    """Class id of each category id, by name."""
    class_of = {name: place for place, name in enumerate(COCO_PANOPTIC.names)}
    mapping = {}
    for category in categories:
        place = class_of.get(category["name"])
        if place is None or bool(category["isthing"]) != bool(COCO_PANOPTIC.is_thing[place]):
            raise DatasetError(
                f"{path}: category {category['id']} '{category['name']}' (isthing {category['isthing']}) is not one of "
                "COCO's 133 panoptic categories"
            )
        mapping[int(category["id"])] = place
    return mapping


def _annotation(
    path: Path, annotation: Mapping[str, Any], images: Mapping[int, str], classes: Mapping[int, int]
) -> _Annotation:
    name = annotation["file_name"]
    if annotation["image_id"] not in images:
        raise DatasetError(f"{path}: {name} is about image id {annotation['image_id']}, which 'images' does not list")
    segments = sorted(annotation["segments_info"], key=lambda s: int(s["id"]))
    for segment in segments:
        if segment["category_id"] not in classes:
            raise DatasetError(f"{path}: {name} has category {segment['category_id']}, which 'categories' lacks")
    return _Annotation(
        image=images[annotation["image_id"]],
        png=str(name),
        segment=np.array([s["id"] for s in segments] or [0], np.int64),
        class_id=np.array([classes[s["category_id"]] for s in segments] or [VOID_CLASS_ID], np.uint8),
        instance=np.array([0 if s["iscrowd"] else n for n, s in enumerate(segments, 1)] or [0], np.int64),
    )

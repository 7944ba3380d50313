"""One walk over a dataset: every file opened, faults collected, a summary to judge it by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..camera import Intrinsics
from ..errors import DpsError
from ..labels import VOID_CLASS_ID, LabelSpace, unpack
from ..types import Sample
from .bag_dataset import BagDataset
from .datasets import Dataset
from .depth_statistics import DepthStatistics


@dataclass
class DatasetSummary:
    """What a dataset holds. Counts are of images that could be read; pixel arrays are by class id.

    Attributes:
        label_space: meaning of the class ids.
        images: readable images.
        sizes: images of each (height, width).
        labelled: images with panoptic labels.
        segments: (C,) segments, a stuff region or a thing; crowds not counted.
        crowds: (C,) images with a crowd of the class.
        pixels: (C,) pixels, crowds included.
        void_px: pixels of labelled images without class.
        depth: of all images with depth.
        without_camera: images without intrinsics.
        focal_px: smallest and largest focal length fx of the images with intrinsics; None where there are none.
        off_centre: images whose principal point is not in their middle half.
        skipped: images of bags that are not samples, counted by reason.
        faults: what is wrong, with the file or sample; empty where all is well.
    """

    label_space: LabelSpace
    images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    labelled: int = 0
    segments: NDArray[np.int64] = field(init=False)
    crowds: NDArray[np.int64] = field(init=False)
    pixels: NDArray[np.int64] = field(init=False)
    void_px: int = 0
    depth: DepthStatistics = field(default_factory=DepthStatistics)
    without_camera: int = 0
    focal_px: tuple[float, float] | None = None
    off_centre: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.segments, self.crowds, self.pixels = np.zeros((3, len(self.label_space)), np.int64)

    @property
    def void_share(self) -> float | None:
        """Share of the pixels of labelled images without class, or None where no image has labels."""
        total = int(self.pixels.sum()) + self.void_px
        return self.void_px / total if total else None

    @property
    def warnings(self) -> list[str]:
        """What need not be wrong but probably is."""
        found = self.depth.warnings()
        if self.off_centre:
            found.append(
                f"the principal point is not in the middle half of {self.off_centre} images: are their cameras those "
                "of another image size? Then the focal length, and so the depth that is learnt, is wrong too"
            )
        return found

    def add(self, sample: Sample) -> None:
        """Count a sample; what is wrong with its values becomes a fault."""
        self.images += 1
        self.sizes[(sample.image.shape[0], sample.image.shape[1])] += 1
        self._add_camera(sample.intrinsics)
        if sample.panoptic is not None:
            self._add_labels(sample.panoptic, sample.sample_id)
        if sample.panoptic is None and sample.depth_m is None:
            self.faults.append(f"{sample.sample_id}: neither labels nor depth; training stops at it")
        if sample.depth_m is not None:
            if sample.intrinsics is None:
                self.faults.append(f"{sample.sample_id}: depth without camera; training can't scale it")
            if (sample.depth_m <= 0).any():
                self.faults.append(f"{sample.sample_id}: depth {np.nanmin(sample.depth_m)} m; it must be positive")
            self.depth.add(sample.depth_m)

    def table(self) -> str:
        """The summary as text."""
        sizes = ", ".join(f"{w}x{h} ({n})" for (h, w), n in self.sizes.most_common(5))
        more = f" and {len(self.sizes) - 5} other sizes" if len(self.sizes) > 5 else ""
        lines = [
            f"images {self.images}, {self.labelled} with labels, {self.depth.images} with depth, "
            f"{self.without_camera} without camera",
            f"width x height: {sizes or 'none'}{more}",
        ]
        if self.focal_px is not None:
            low, high = self.focal_px
            lines.append(
                f"focal length fx: {low:.4g} to {high:.4g} px" if low < high else f"focal length fx: {low:.4g} px"
            )
        lines += [f"left out: {reason} ({number} images)" for reason, number in self.skipped.items()]
        if self.void_share is not None:
            lines += ["", f"{'class':<26}{'kind':<7}{'segments':>10}{'crowds':>8}{'% of pixels':>13}"]
            total = int(self.pixels.sum()) + self.void_px
            for place, info in enumerate(self.label_space.classes):
                kind = "thing" if info.is_thing else "stuff"
                share = 100 * self.pixels[place] / total
                lines.append(f"{info.name:<26}{kind:<7}{self.segments[place]:>10}{self.crowds[place]:>8}{share:>13.3f}")
            lines.append(f"{'void':<51}{100 * self.void_share:>13.3f}")
        if self.depth.images:
            lines += ["", self.depth.line()]
        lines += [f"warning: {text}" for text in self.warnings]
        lines += ["", f"{len(self.faults)} faults" + (":" if self.faults else "")] + [f"  {f}" for f in self.faults]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {
            "label_space": self.label_space.name,
            "images": self.images,
            "sizes": {f"{w}x{h}": n for (h, w), n in self.sizes.items()},
            "labelled": self.labelled,
            "classes": {
                name: {"segments": int(s), "crowds": int(c), "pixels": int(p)}
                for name, s, c, p in zip(self.label_space.names, self.segments, self.crowds, self.pixels, strict=True)
            },
            "void_share": self.void_share,
            "depth": self.depth.to_dict(),
            "without_camera": self.without_camera,
            "focal_px": None if self.focal_px is None else list(self.focal_px),
            "off_centre": self.off_centre,
            "skipped": self.skipped,
            "warnings": self.warnings,
            "faults": list(self.faults),
        }

    def _add_camera(self, camera: Intrinsics | None) -> None:
        if camera is None:
            self.without_camera += 1
            return
        low, high = self.focal_px or (camera.fx, camera.fx)
        self.focal_px = min(low, camera.fx), max(high, camera.fx)
        along = (camera.cx + 0.5) / camera.width, (camera.cy + 0.5) / camera.height
        self.off_centre += not all(0.25 <= place <= 0.75 for place in along)

    def _add_labels(self, panoptic: NDArray[np.uint16], sample_id: str) -> None:
        self.labelled += 1
        ids, areas = np.unique(panoptic, return_counts=True)
        class_ids, instance_ids = unpack(ids)
        for class_id, instance_id, area in zip(class_ids.tolist(), instance_ids.tolist(), areas.tolist(), strict=True):
            if class_id == VOID_CLASS_ID:
                self.void_px += area
            elif class_id >= len(self.label_space):
                self.faults.append(
                    f"{sample_id}: class id {class_id} on {area} pixels; label space '{self.label_space.name}' has "
                    f"{len(self.label_space)} classes"
                )
            else:
                crowd = instance_id == 0 and bool(self.label_space.is_thing[class_id])
                self.pixels[class_id] += area
                self.crowds[class_id] += crowd
                self.segments[class_id] += not crowd
                if instance_id and not self.label_space.is_thing[class_id]:
                    name = self.label_space.names[class_id]
                    self.faults.append(f"{sample_id}: instance {instance_id} of '{name}', which is stuff")


def check_dataset(dataset: Dataset) -> DatasetSummary:
    """Read every sample once; a bad file is a fault in the summary and never stops the walk."""
    summary = DatasetSummary(dataset.label_space)
    if isinstance(dataset, BagDataset):
        summary.skipped = dict(dataset.skipped)
    for index in tqdm(range(len(dataset)), desc="checking", unit="images", disable=None):
        try:
            sample = dataset[index]
        except (DpsError, OSError) as error:
            summary.faults.append(str(error))
        else:
            summary.add(sample)
    return summary

"""SemKITTI-DVPS: KITTI odometry images with sparse labels and depth projected from SemanticKITTI's LiDAR scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..camera import Intrinsics
from ..errors import CameraInfoError, DatasetError
from ..labels import SEMKITTI_DVPS, VOID_CLASS_ID
from ..types import Sample
from .dvps import read_depth
from .layout import check_sizes, names_in, read_grey, read_image, require, split_folder
from .panoptic_ids import panoptic_of, refuse


class SemkittiDvps:
    """A split of SemKITTI-DVPS: `<root>/video_sequence/<split>/<seq>_<frame>_<kind>.png`.

    Kinds: `leftImg8bit`, `gtFine_class` (0..18, 255 void), `gtFine_instance` (0 for stuff; for a thing: crowd) and
    `depth_<focal length in pixels>` (metres * 256, 0 unknown). The dataset gives no principal point: the image's
    centre is taken, some 10 pixels off KITTI's true one.

    Raises:
        DatasetError: the folder is missing or empty, or an image lacks one of its files.
    """

    label_space = SEMKITTI_DVPS

    def __init__(self, root: Path | str, split: str) -> None:
        self._folder = split_folder(Path(root) / "video_sequence", split)
        suffix = "_leftImg8bit.png"
        self.sample_ids = names_in(self._folder, f"*{suffix}", suffix, "the SemKITTI-DVPS layout")
        for kind in ("gtFine_class", "gtFine_instance"):
            require((self._folder / f"{i}_{kind}.png" for i in self.sample_ids), f"every image needs its {kind}")
        self._depth: dict[str, Path] = {}
        for path in sorted(self._folder.glob("*_depth_*.png")):
            sample_id = path.name.split("_depth_")[0]
            if sample_id in self._depth:
                raise DatasetError(f"{path} and {self._depth[sample_id].name}: one depth image for each image expected")
            self._depth[sample_id] = path
        missing = [i for i in self.sample_ids if i not in self._depth]
        if missing:
            raise DatasetError(
                f"missing {self._folder / missing[0]}_depth_<focal length>.png ({len(missing)} such images): "
                "every image needs its depth, whose name holds the focal length"
            )

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        sample_id = self.sample_ids[index]
        image_path, classes_path, instances_path = (
            self._folder / f"{sample_id}_{kind}.png" for kind in ("leftImg8bit", "gtFine_class", "gtFine_instance")
        )
        image = read_image(image_path)
        classes = read_grey(classes_path, [np.uint8, np.uint16], "class ids")
        wrong = (classes >= len(SEMKITTI_DVPS)) & (classes != VOID_CLASS_ID)
        refuse(classes_path, classes, wrong, "classes 0..18, or 255 for void")
        instances = read_grey(instances_path, [np.uint8, np.uint16], "instance numbers")
        depth_path = self._depth[sample_id]
        depth = read_depth(depth_path)
        check_sizes(image_path, image, {classes_path: classes, instances_path: instances, depth_path: depth})
        intrinsics = _centred(depth_path, image.shape[0], image.shape[1])
        return Sample(image, panoptic_of(classes, instances, SEMKITTI_DVPS), depth, intrinsics, sample_id)


def _centred(depth_path: Path, height: int, width: int) -> Intrinsics:
    """Intrinsics with the focal length that the depth image's name ends with."""
    try:
        focal_px = float(depth_path.stem.split("_depth_")[1])
        return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, height, width)
    except (ValueError, CameraInfoError) as error:
        raise DatasetError(f"{depth_path}: the name must end with the focal length in pixels ({error})") from error

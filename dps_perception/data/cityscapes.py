"""Cityscapes itself, and the Cityscapes-DVPS folders as published."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..errors import DatasetError
from ..labels import CITYSCAPES, VOID_CLASS_ID
from ..types import Sample
from . import dvps
from .layout import check_sizes, names_in, read_grey, read_image, require, split_folder
from .panoptic_ids import panoptic_of, refuse

COMMON_INTRINSICS = Intrinsics(2262.52, 2265.30, 1096.98, 513.137, 1024, 2048)
"""Those of most Cityscapes recordings."""

RAW_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes label id of each class; the other ids up to 33 are not evaluated and become void."""

_TAILS = {
    "leftImg8bit": "leftImg8bit.png",
    "gtFine": "gtFine_instanceIds.png",
    "camera": "camera.json",
    "disparity": "disparity.png",
}
_LARGEST_RAW_ID, _FIRST_WITH_INSTANCES = 33, 24
_SNIPPET_FRAMES = 30
_DVPS_NAME = re.compile(r"\d{6}_\d{6}_(?P<city>[^_]+)_(?P<sequence>\d{6})_(?P<frame>\d{6})")
_DVPS_VOID_CLASS = dvps.VOID // dvps.CLASS_FACTOR


class Cityscapes:
    """A split of Cityscapes: `leftImg8bit`, `gtFine` and, where there, `disparity` and `camera` below `root`.

    Things without instance (groups) become crowd. Depth is baseline * fx / disparity with the numbers of that
    frame's own camera file; NaN where the disparity is invalid or zero.

    Raises:
        DatasetError: a folder is missing or empty, an image lacks one of its files, or there are disparities
            without cameras.
    """

    label_space = CITYSCAPES

    def __init__(self, root: Path | str, split: str) -> None:
        self._root, self._split = Path(root), split
        suffix = "_leftImg8bit.png"
        images = split_folder(self._root / "leftImg8bit", split)
        self.sample_ids = names_in(images, f"*/*{suffix}", suffix, "Cityscapes' <city>/<frame>_leftImg8bit.png")
        self._has_camera, self._has_disparity = (
            (self._root / kind / split).is_dir() for kind in ("camera", "disparity")
        )
        if self._has_disparity and not self._has_camera:
            raise DatasetError(
                f"{self._root / 'disparity' / split} without {self._root / 'camera' / split}: depth needs each frame's "
                "baseline and focal length; unpack camera_trainvaltest.zip beside it, or move the disparities away"
            )
        kinds = ["gtFine"] + ["camera"] * self._has_camera + ["disparity"] * self._has_disparity
        for kind in kinds:
            require((self._path(kind, i) for i in self.sample_ids), f"every image of split '{split}' needs its {kind}")

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        sample_id = self.sample_ids[index]
        paths = {kind: self._path(kind, sample_id) for kind in _TAILS}
        image = read_image(paths["leftImg8bit"])
        panoptic = read_instance_ids(paths["gtFine"])
        intrinsics = dvps.read_camera(paths["camera"], (image.shape[0], image.shape[1])) if self._has_camera else None
        depth = None
        if self._has_disparity and intrinsics is not None:
            depth = read_disparity(paths["disparity"], read_baseline(paths["camera"]) * intrinsics.fx)
        arrays = {paths["gtFine"]: panoptic, paths["disparity"]: depth}
        check_sizes(paths["leftImg8bit"], image, arrays, intrinsics)
        return Sample(image, panoptic, depth, intrinsics, sample_id)

    def _path(self, kind: str, sample_id: str) -> Path:
        city = sample_id.split("_")[0]
        return self._root / kind / self._split / city / f"{sample_id}_{_TAILS[kind]}"


class CityscapesDvps:
    """A split of Cityscapes-DVPS as published: `<root>/video_sequence/<split>/*.png`.

    Its things count instances from 0 and groups are void, so no thing is crowd (our own folders, `dvps.DvpsFolder`,
    take instance 0 of a thing for crowd). The dataset ships no cameras. Where `<root>/camera` holds Cityscapes' own
    (`camera/<split>/<city>/<city>_<sequence>_<frame>_camera.json`), a frame takes its own file or that of the same
    snippet (Cityscapes publishes one frame of each 30); without that folder all frames get `COMMON_INTRINSICS`,
    which is an approximation: cameras differ between cities by about 1 %.

    Raises:
        DatasetError: the folder is missing or empty, an image lacks labels or depth, a name is not of the published
            form, or `camera` has none for a frame.
    """

    label_space = CITYSCAPES

    def __init__(self, root: Path | str, split: str) -> None:
        self._folder = split_folder(Path(root) / "video_sequence", split)
        suffix = f"_{dvps.IMAGE}.png"
        self.sample_ids = names_in(self._folder, f"*{suffix}", suffix, "the published Cityscapes-DVPS layout")
        for kind in (dvps.LABELS, dvps.DEPTH):
            require((self._folder / f"{i}_{kind}.png" for i in self.sample_ids), f"every image needs its {kind}")
        cameras = Path(root) / "camera"
        self._cameras = _snippet_cameras(cameras, self.sample_ids) if cameras.is_dir() else None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        sample_id = self.sample_ids[index]
        image_path, labels, depth_path = (
            self._folder / f"{sample_id}_{kind}.png" for kind in (dvps.IMAGE, dvps.LABELS, dvps.DEPTH)
        )
        image = read_image(image_path)
        size_hw = (image.shape[0], image.shape[1])
        panoptic, depth = _read_published_labels(labels), dvps.read_depth(depth_path)
        intrinsics = (
            COMMON_INTRINSICS.resized(*size_hw)
            if self._cameras is None
            else dvps.read_camera(self._cameras[sample_id], size_hw)
        )
        check_sizes(image_path, image, {labels: panoptic, depth_path: depth}, intrinsics)
        return Sample(image, panoptic, depth, intrinsics, sample_id)


def read_instance_ids(path: Path) -> NDArray[np.uint16]:
    """(H, W) panoptic ids of a Cityscapes `*_instanceIds.png` (label id, or label id * 1000 + instance from 0).

    Raises:
        DatasetError: not such a file; names the value that can't be.
    """
    raw = read_grey(path, [np.uint16], "Cityscapes label id, or label id * 1000 + instance").astype(np.int64)
    counted = raw >= dvps.CLASS_FACTOR
    raw_id = np.where(counted, raw // dvps.CLASS_FACTOR, raw)
    wrong = (raw_id > _LARGEST_RAW_ID) | (counted & (raw_id < _FIRST_WITH_INSTANCES))
    refuse(path, raw, wrong, "label ids 0..33, and 24..33 as label id * 1000 + instance (is it labelTrainIds?)")
    classes = np.full(_LARGEST_RAW_ID + 1, VOID_CLASS_ID)
    classes[list(RAW_IDS)] = np.arange(len(RAW_IDS))
    return panoptic_of(classes[raw_id], np.where(counted, raw % dvps.CLASS_FACTOR + 1, 0), CITYSCAPES)


def read_disparity(path: Path, baseline_fx: float) -> NDArray[np.float32]:
    """(H, W) float32 metres of a Cityscapes disparity PNG, d = (p - 1) / 256; NaN where p is 0 (invalid) or 1 (d = 0).

    Args:
        path: 16-bit grey PNG.
        baseline_fx: baseline * focal length, metres * pixels.
    """
    stored = read_grey(path, [np.uint16], "disparity * 256 + 1").astype(np.float64)
    disparity_px = np.where(stored > 1, (stored - 1) / 256, np.nan)
    return (baseline_fx / disparity_px).astype(np.float32)


def read_baseline(path: Path) -> float:
    """Stereo baseline in metres of a Cityscapes camera file.

    Raises:
        DatasetError: it has none, or it is not positive.
    """
    try:
        baseline_m = float(json.loads(path.read_text())["extrinsic"]["baseline"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: no extrinsic baseline in metres ({error!r}); depth needs it") from error
    if not 0 < baseline_m < np.inf:
        raise DatasetError(f"{path}: baseline {baseline_m} m; it must be positive")
    return baseline_m


def _read_published_labels(path: Path) -> NDArray[np.uint16]:
    raw = read_grey(path, [np.uint16], "trainId * 1000 + instance").astype(np.int64)
    class_id, instance = np.divmod(raw, dvps.CLASS_FACTOR)
    wrong = (class_id >= len(CITYSCAPES)) & (raw != dvps.VOID)
    refuse(path, raw, wrong, "trainId * 1000 + instance with trainIds 0..18, or 32000 for void")
    return panoptic_of(np.where(class_id == _DVPS_VOID_CLASS, VOID_CLASS_ID, class_id), instance + 1, CITYSCAPES)


def _snippet_cameras(folder: Path, sample_ids: list[str]) -> dict[str, Path]:
    """Camera file of each sample."""
    by_sequence: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*/*/*_camera.json")):
        parts = path.name.split("_")
        if len(parts) == 4 and parts[2].isdecimal():
            by_sequence.setdefault((parts[0], parts[1]), []).append((int(parts[2]), path))
    chosen = {}
    for sample_id in sample_ids:
        name = _DVPS_NAME.fullmatch(sample_id)
        if name is None:
            raise DatasetError(f"'{sample_id}' is not of the form <seq>_<frame>_<city>_<sequence>_<frame>; rename it")
        frame = int(name["frame"])
        nearest = min(
            ((abs(number - frame), path) for number, path in by_sequence.get((name["city"], name["sequence"]), [])),
            default=(_SNIPPET_FRAMES, None),
        )
        if nearest[0] >= _SNIPPET_FRAMES or nearest[1] is None:
            raise DatasetError(
                f"{folder} has no */{name['city']}/{name['city']}_{name['sequence']}_*_camera.json within "
                f"{_SNIPPET_FRAMES} frames of {frame} for {sample_id}; unpack camera_trainvaltest.zip there, or move "
                "the folder away to use the common intrinsics"
            )
        chosen[sample_id] = nearest[1]
    return chosen

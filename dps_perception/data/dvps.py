"""The Cityscapes-DVPS folder layout, read and written: our own dataset format and the exchange format for predictions.

`<root>/<split>/{sequence:06d}_{frame:06d}_{name}_{kind}.png` with the kinds

- `leftImg8bit`: RGB;
- `gtFine_instanceTrainIds`: uint16 class * 1000 + instance, stuff with instance 0, void 32000;
- `panoptic`: instead of it, ours for label spaces of more than 32 classes, which don't fit: our panoptic ids, uint16
  class * 256 + instance, void 65535;
- `depth`: uint16 metres * 256, 0 where unknown (the format ends at 255.99 m; farther is written as unknown);

and `..._camera.json`: `{"intrinsic": {"fx", "fy", "u0", "v0"}, "size": {"height", "width"}}` (the Cityscapes camera
schema) with an optional `pose` (camera-to-map, 4x4 row-major) and `stamp_ns`. The camera file is written last: a
sample with a camera file is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..errors import CameraInfoError, DatasetError
from ..files import replacing
from ..labels import (
    CITYSCAPES,
    LABEL_DIVISOR,
    MAX_INSTANCE_ID,
    VOID_CLASS_ID,
    VOID_PANOPTIC_ID,
    LabelSpace,
    pack,
    unpack,
)
from ..types import Sample
from .layout import check_sizes, names_in, read_grey, read_image, split_folder

IMAGE, LABELS, PANOPTIC, DEPTH = "leftImg8bit", "gtFine_instanceTrainIds", "panoptic", "depth"
CLASS_FACTOR = 1000
VOID = 32000
DEPTH_FACTOR = 256.0
_FAST_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class DvpsFolder:
    """A split of a DVPS folder as a sequence of samples; labels, depth and camera are optional for each image.

    The layout names no classes: `label_space` is what its class ids stand for.

    Raises:
        DatasetError: the folder is missing or holds no `*_leftImg8bit.png`.
    """

    def __init__(self, root: Path | str, split: str, label_space: LabelSpace = CITYSCAPES) -> None:
        self.label_space = label_space
        self.folder = split_folder(Path(root), split)
        suffix = f"_{IMAGE}.png"
        self.sample_ids = names_in(self.folder, f"*{suffix}", suffix, "the Cityscapes-DVPS layout")

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        sample_id = self.sample_ids[index]
        image_path, labels, wide, depth, camera = (
            self.folder / f"{sample_id}_{tail}"
            for tail in (f"{IMAGE}.png", f"{LABELS}.png", f"{PANOPTIC}.png", f"{DEPTH}.png", "camera.json")
        )
        if not labels.exists() and wide.exists():
            labels = wide
        image = read_image(image_path)
        sample = Sample(
            image=image,
            panoptic=read_panoptic(labels) if labels.exists() else None,
            depth_m=read_depth(depth) if depth.exists() else None,
            intrinsics=read_camera(camera, (image.shape[0], image.shape[1])) if camera.exists() else None,
            sample_id=sample_id,
        )
        check_sizes(image_path, image, {labels: sample.panoptic, depth: sample.depth_m}, sample.intrinsics)
        return sample


def write_sample(
    root: Path | str,
    split: str,
    sequence: int,
    frame: int,
    sample: Sample,
    name: str = "street",
    pose: NDArray[np.floating] | None = None,
    stamp_ns: int | None = None,
    label_space: LabelSpace = CITYSCAPES,
) -> str:
    """Write a sample; return its id. The camera file comes last and marks it complete; a failure leaves no file.

    Raises:
        DatasetError: the sample has no intrinsics, so it can't be marked complete; or it can't be written.
    """
    folder, sample_id = Path(root) / split, sample_name(sequence, frame, name)
    if sample.intrinsics is None:
        raise DatasetError(f"sample {sample_id} has no intrinsics; a DVPS folder of ours needs them")
    arrays: dict[str, NDArray[Any]] = {IMAGE: cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)}
    if sample.panoptic is not None:
        if len(label_space) > VOID // CLASS_FACTOR:
            arrays[PANOPTIC] = sample.panoptic
        else:
            arrays[LABELS] = _to_train_ids(sample.panoptic)
    if sample.depth_m is not None:
        arrays[DEPTH] = _to_depth_png(sample.depth_m)
    k = sample.intrinsics
    camera: dict[str, Any] = {
        "intrinsic": {"fx": k.fx, "fy": k.fy, "u0": k.cx, "v0": k.cy},
        "size": {"height": k.height, "width": k.width},
    }
    if pose is not None:
        camera["pose"] = np.asarray(pose, np.float64).tolist()
    if stamp_ns is not None:
        camera["stamp_ns"] = int(stamp_ns)
    paths = {kind: folder / f"{sample_id}_{kind}.png" for kind in arrays}
    try:
        for kind, array in arrays.items():
            _write_png(paths[kind], array)
        with replacing(folder / f"{sample_id}_camera.json") as path:
            path.write_text(json.dumps(camera, indent=1))
    except BaseException as error:
        for path in paths.values():
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DatasetError(f"can't write sample {sample_id} to {folder}: {error.strerror or error}") from error
        raise
    return sample_id


def write_prediction(
    root: Path | str, split: str, sample_id: str, panoptic: NDArray[np.uint16], depth_m: NDArray[np.float32] | None
) -> None:
    """Write predicted panoptic ids (H, W) and depth in metres (H, W) under a sample's name."""
    folder = Path(root) / split
    _write_png(folder / f"{sample_id}_{LABELS}.png", _to_train_ids(panoptic))
    if depth_m is not None:
        _write_png(folder / f"{sample_id}_{DEPTH}.png", _to_depth_png(depth_m))


def sample_name(sequence: int, frame: int, name: str) -> str:
    """The sample id that `write_sample` gives."""
    return f"{sequence:06d}_{frame:06d}_{name}"


def is_complete(root: Path | str, split: str, sample_id: str) -> bool:
    """Whether `write_sample` finished this sample."""
    return (Path(root) / split / f"{sample_id}_camera.json").exists()


def read_panoptic(path: Path) -> NDArray[np.uint16]:
    """(H, W) uint16 panoptic ids of an instanceTrainIds PNG, or of one of panoptic ids (`*_panoptic.png`).

    Raises:
        DatasetError: unreadable, not 16 bit, or an instance id above 255.
    """
    if path.name.endswith(f"_{PANOPTIC}.png"):
        return read_grey(path, [np.uint16], f"class * {LABEL_DIVISOR} + instance").astype(np.uint16, copy=False)
    labels = read_grey(path, [np.uint16], f"class * {CLASS_FACTOR} + instance")
    class_id, instance_id = np.divmod(labels.astype(np.int32), CLASS_FACTOR)
    void = (labels == VOID) | (class_id >= VOID_CLASS_ID)
    if (instance_id[~void] > MAX_INSTANCE_ID).any():
        raise DatasetError(
            f"{path}: instance {instance_id[~void].max()}; at most {MAX_INSTANCE_ID} instances of a class fit"
        )
    return pack(np.where(void, VOID_CLASS_ID, class_id), instance_id)


def read_depth(path: Path) -> NDArray[np.float32]:
    """(H, W) float32 metres, NaN where unknown, of a uint16 metres * 256 PNG."""
    depth = read_grey(path, [np.uint16], "metres * 256")
    return np.where(depth == 0, np.float32(np.nan), depth.astype(np.float32) / np.float32(DEPTH_FACTOR))


def read_camera(path: Path, size_hw: tuple[int, int]) -> Intrinsics:
    """Intrinsics of a camera JSON; files without `size` (Cityscapes' own) are taken to be for `size_hw`."""
    try:
        camera: Mapping[str, Any] = json.loads(path.read_text())
        intrinsic, size = camera["intrinsic"], camera.get("size")
        height, width = (int(size["height"]), int(size["width"])) if size else size_hw
        fx, fy, cx, cy = (float(intrinsic[key]) for key in ("fx", "fy", "u0", "v0"))
        return Intrinsics(fx, fy, cx, cy, height, width)
    except CameraInfoError as error:
        raise DatasetError(f"{path}: {error}") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not a Cityscapes camera file with intrinsic fx, fy, u0, v0 ({error!r})") from error


def _to_train_ids(panoptic: NDArray[np.uint16]) -> NDArray[np.uint16]:
    class_id, instance_id = unpack(panoptic)
    known = class_id[class_id != VOID_CLASS_ID]
    if known.size and int(known.max()) >= VOID // CLASS_FACTOR:
        raise DatasetError(
            f"class id {known.max()} does not fit the DVPS layout (class * {CLASS_FACTOR} below the void of {VOID})"
        )
    labels = class_id.astype(np.uint16) * CLASS_FACTOR + instance_id
    labels[np.asarray(panoptic) == VOID_PANOPTIC_ID] = VOID
    return labels


def _to_depth_png(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    scaled = np.rint(np.nan_to_num(depth_m.astype(np.float64), nan=0.0, posinf=0.0) * DEPTH_FACTOR)
    return np.where((scaled < 0) | (scaled > 65535), 0, scaled).astype(np.uint16)


def _write_png(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as beside:
        if not cv2.imwrite(str(beside), array, _FAST_PNG):
            raise DatasetError(f"can't write {path}: is the disk full or the folder read-only?")

"""From frames to a dataset: teacher, mapping, scale, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.dvps import is_complete, sample_name, write_sample
from ..data.layout import spread
from ..errors import DatasetError, DpsError
from ..labels import CITYSCAPES, VOID_CLASS_ID, LabelSpace, unpack
from ..types import Sample
from .depth_scale import Scale, SensorScale, for_camera, ratio, robust
from .depth_teacher import TeacherDepth
from .frames import FrameInfo, FrameSequence
from .label_mapping import LabelMapping, fold
from .panoptic_teacher import TeacherSegments

NAME = "labelled"
"""Last part of the samples' names."""
SCALE_FRAMES = 50
"""Frames of a bag, evenly spread, that its depth scale is taken from."""


class _Depth(Protocol):
    def __call__(self, rgb: NDArray[np.uint8]) -> TeacherDepth: ...


@dataclass(frozen=True)
class Labeller:
    """Labels single frames.

    Attributes:
        panoptic: the panoptic teacher, or None.
        mapping: of its classes, or None.
        depth: the depth teacher, or None.
        max_depth_m: depth beyond it is unknown.
        sensor_scale: whether measured depth scales the teacher's, by bag or by frame.
    """

    panoptic: Callable[[NDArray[np.uint8]], TeacherSegments] | None
    mapping: LabelMapping | None
    depth: _Depth | None
    max_depth_m: float
    sensor_scale: SensorScale

    @property
    def label_space(self) -> LabelSpace:
        return self.mapping.label_space if self.mapping else CITYSCAPES

    def label(self, frame: Sample, scale: Scale | None) -> Sample:
        """The frame with labels and depth; what its own sensor measured only sets the scale.

        Sky, where there are labels, is at +Inf; depth beyond `max_depth_m` is unknown (NaN).
        """
        panoptic = depth = None
        if self.panoptic is not None and self.mapping is not None:
            panoptic = self.mapping.panoptic(self.panoptic(frame.image))
        if self.depth is not None:
            depth = self._camera_depth(frame)
            depth *= np.float32(self._factor(frame, depth, scale))
            depth[~(depth <= self.max_depth_m)] = np.nan
            if panoptic is not None:
                depth[sky_of(panoptic, self.label_space)] = np.inf
        return replace(frame, panoptic=panoptic, depth_m=depth)

    def scale_of(self, frames: FrameSequence, chosen: Sequence[FrameInfo]) -> Scale | None:
        """The depth scale of a sequence from a sample of its frames; None where nothing was measured or wanted.

        Raises:
            DatasetError: no frame has enough measured pixels.
        """
        if self.depth is None or self.sensor_scale == "off" or not frames.sensor or not chosen:
            return None
        places = [chosen[i].place for i in spread(len(chosen), SCALE_FRAMES)]
        bar = tqdm(frames.read(places), f"{frames.name}: depth scale", len(places), unit="images", disable=None)
        measured = (frame for frame in bar if isinstance(frame, Sample) and frame.depth_m is not None)
        return robust(ratio(frame.depth_m, self._camera_depth(frame)) for frame in measured)

    def _factor(self, frame: Sample, depth_m: NDArray[np.float32], scale: Scale | None) -> float:
        if scale is None:
            return 1.0
        own = ratio(frame.depth_m, depth_m) if self.sensor_scale == "frame" else None
        return scale.factor if own is None else own

    def _camera_depth(self, frame: Sample) -> NDArray[np.float32]:
        assert self.depth is not None
        assert frame.intrinsics is not None
        return np.array(for_camera(self.depth(frame.image), frame.intrinsics), np.float32)


def sky_of(panoptic: NDArray[np.uint16], label_space: LabelSpace) -> NDArray[np.bool_]:
    """(H, W) where the class is sky."""
    is_sky = np.zeros(256, bool)
    is_sky[: len(label_space)] = [fold(name) == "sky" for name in label_space.names]
    return is_sky[unpack(panoptic)[0]]


@dataclass
class Tally:
    """What a run did.

    Attributes:
        written, kept: samples written, and those that were there already.
        faults: frames that could not be read, with the reason.
        pixels, void_px, depth_px: of the samples written.
    """

    written: int = 0
    kept: int = 0
    faults: list[str] = field(default_factory=list)
    pixels: int = 0
    void_px: int = 0
    depth_px: int = 0

    def add(self, sample: Sample) -> None:
        self.written += 1
        self.pixels += sample.image.shape[0] * sample.image.shape[1]
        if sample.panoptic is not None:
            self.void_px += int((unpack(sample.panoptic)[0] == VOID_CLASS_ID).sum())
        if sample.depth_m is not None:
            self.depth_px += int(np.isfinite(sample.depth_m).sum())

    def summary(self, labelled: bool, deep: bool) -> str:
        """One line."""
        text = f"{self.written} samples written, {self.kept} were there already, {len(self.faults)} images unreadable"
        if self.pixels and labelled:
            text += f"; {100 * self.void_px / self.pixels:.1f} % of pixels void"
        if self.pixels and deep:
            text += f"; depth on {100 * self.depth_px / self.pixels:.1f} %"
        return text


def write_labels(
    frames: FrameSequence,
    chosen: Sequence[FrameInfo],
    labeller: Labeller,
    scale: Scale | None,
    out: Path,
    sequence: int,
    tally: Tally,
) -> None:
    """Label the frames that are not complete in `out` yet; those that can't be read go to `tally.faults`.

    Raises:
        DatasetError: a sample can't be written (then none of its files is left).
    """
    missing = [i for i in chosen if not is_complete(out, i.split, sample_name(sequence, i.place, NAME))]
    tally.kept += len(chosen) - len(missing)
    bar = tqdm(_pairs(frames, missing), frames.name, len(missing), unit="images", disable=None)
    for info, frame in bar:
        if not isinstance(frame, Sample):
            tally.faults.append(str(frame))
            continue
        sample = labeller.label(frame, scale)
        write_sample(
            out,
            info.split,
            sequence,
            info.place,
            sample,
            NAME,
            stamp_ns=info.stamp_ns,
            label_space=labeller.label_space,
        )
        tally.add(sample)


def _pairs(frames: FrameSequence, infos: Sequence[FrameInfo]) -> Iterator[tuple[FrameInfo, Sample | DpsError]]:
    return zip(infos, frames.read([info.place for info in infos]), strict=True)


def require_training(chosen: Sequence[Sequence[FrameInfo]]) -> None:
    """Check that there is something to learn from.

    Raises:
        DatasetError: every frame is for validation or in the gap before it.
    """
    if not any(info.split == "train" for infos in chosen for info in infos):
        number = sum(len(infos) for infos in chosen)
        raise DatasetError(
            f"of {number} frames none is left for training; take a smaller --gap-s or --val-share 0, or more frames"
        )

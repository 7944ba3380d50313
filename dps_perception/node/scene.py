"""One processed frame as the outputs see it: one pixel grid, range and size parameters applied, computed when asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ..camera import Intrinsics
from ..kernels.cloud import OPTICAL
from ..kernels.depth import DepthRule, limit_depth
from ..labels import LabelSpace
from ..types import Prediction, Segment


@dataclass(frozen=True)
class View:
    """What parameters ask of the outputs.

    Attributes:
        scale: size of the outputs over the size of the image, above 0, at most 1.
        min_depth_m, max_depth_m: nearer depth is -Inf, farther +Inf (REP 117, 118); 0: no limit.
        no_depth_classes: names of classes without a surface; their depth is +Inf.
        no_point_classes: names of classes that are left out of the cloud (NaN) but keep their depth.
        min_point_confidence: less confident pixels are left out of the cloud (NaN); 0: none.
        point_stride: every n-th row and column becomes points.
        masks: instances carry their masks.
    """

    scale: float = 1.0
    min_depth_m: float = 0.0
    max_depth_m: float = 0.0
    no_depth_classes: Collection[str] = ()
    no_point_classes: Collection[str] = ()
    min_point_confidence: float = 0.0
    point_stride: int = 1
    masks: bool = True


@dataclass(frozen=True)
class Placement:
    """Where 3D outputs are expressed: their header, and the (4, 4) pose that takes optical coordinates there."""

    header: Header
    pose: NDArray[np.float64]


class Scene:
    """A frame and its prediction on the grid of the outputs.

    Arrays are (H, W, ...) with H, W = round(image size * scale). Labels, depth and confidence take the source pixel
    nearest to each output pixel's centre (never a mixture of two surfaces), the image is averaged.

    Args:
        header: of all outputs, but for the frame of those in 3D where `place` says another one.
        rgb: (H0, W0, 3) uint8 image.
        prediction: on the image's grid.
        intrinsics: of the image, None without a usable calibration.
        camera_info: of the image, read as that of a rectified one; None without a usable calibration.
        label_space: of the prediction.
        model_id: name of the model.
        view: parameters of the outputs.
        place: says where 3D outputs are expressed, None where that is not known and they are withheld; called at most
            once, when the first of them is made. Without it, in the optical frame.
        track: gives the things of this scene their track ids by panoptic id; called at most once. Without it none have.
        has_depth: whether the model estimates depth; without it, nothing is published that is made of it.
    """

    def __init__(
        self,
        header: Header,
        rgb: NDArray[np.uint8],
        prediction: Prediction,
        intrinsics: Intrinsics | None,
        camera_info: CameraInfo | None,
        label_space: LabelSpace,
        model_id: str,
        view: View,
        place: Callable[[], Placement | None] | None = None,
        track: Callable[[Scene], Mapping[int, int]] | None = None,
        has_depth: bool = True,
    ) -> None:
        self.header = header
        self.camera_info = camera_info
        self.label_space = label_space
        self.model_id = model_id
        self.view = view
        self.has_depth = has_depth
        self._place, self._track = place, track
        self._rgb = rgb
        self._prediction = prediction
        self._intrinsics = intrinsics
        height, width = rgb.shape[:2]
        self.size_hw = max(1, round(height * view.scale)), max(1, round(width * view.scale))

    @cached_property
    def placement(self) -> Placement | None:
        """Where 3D outputs are expressed; None: they are withheld."""
        return self._place() if self._place is not None else Placement(self.header, OPTICAL)

    @cached_property
    def track_ids(self) -> Mapping[int, int]:
        """Track ids by panoptic id; what is missing is not tracked."""
        return self._track(self) if self._track is not None else {}

    @cached_property
    def intrinsics(self) -> Intrinsics | None:
        """Of the output grid."""
        return None if self._intrinsics is None else self._intrinsics.resized(*self.size_hw)

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        if self._same_size:
            return self._rgb
        return np.asarray(cv2.resize(self._rgb, self.size_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)

    @cached_property
    def panoptic(self) -> NDArray[np.uint16]:
        return self._nearest(self._prediction.panoptic)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """0..1; 0 where void."""
        return self._nearest(self._prediction.confidence)

    @cached_property
    def raw_depth_m(self) -> NDArray[np.float32]:
        """As predicted: `depth_rule` says what counts of it."""
        return self._nearest(self._prediction.depth_m)

    @cached_property
    def depth_rule(self) -> DepthRule:
        """Which depths count."""
        view = self.view
        hidden = self._table(view.no_depth_classes)
        return DepthRule(view.min_depth_m or -math.inf, view.max_depth_m or math.inf, hidden)

    @property
    def point_rule(self) -> DepthRule:
        """Which depths become points."""
        rule = self.depth_rule
        return replace(rule, hidden=rule.hidden | self._table(self.view.no_point_classes))

    @cached_property
    def depth_m(self) -> NDArray[np.float32]:
        """Metres along the optical axis; -Inf too near, +Inf too far or no surface, NaN unknown (REP 117, 118)."""
        out = np.empty(self.size_hw, np.float32)
        self.write_depth(out)
        return out

    def write_depth(self, out: NDArray[np.float32]) -> None:
        """Write what `depth_m` is to (H, W) memory, without keeping it."""
        limit_depth(self.raw_depth_m, self.panoptic, self.depth_rule, out)

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._prediction.segments

    def _table(self, names: Collection[str]) -> NDArray[np.bool_]:
        """(256,) bool by class id: which classes are named."""
        table = np.zeros(256, bool)
        table[: len(self.label_space)] = [name in names for name in self.label_space.names]
        return table

    @property
    def _same_size(self) -> bool:
        return self.size_hw == self._rgb.shape[:2]

    def _nearest(self, image: NDArray) -> NDArray:
        if self._same_size:
            return image
        return np.asarray(cv2.resize(image, self.size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT), image.dtype)

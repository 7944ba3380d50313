"""The few dataclasses that rooms hand to each other. All arrays of one object share one pixel grid (H, W)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .camera import Intrinsics


@dataclass(frozen=True)
class Frame:
    """One decoded camera image.

    Attributes:
        rgb: (H, W, 3) uint8.
        intrinsics: of this image, or None where no usable calibration came with it.
        stamp_ns: source time, nanoseconds.
        frame_id: optical frame.
    """

    rgb: NDArray[np.uint8]
    intrinsics: Intrinsics | None
    stamp_ns: int
    frame_id: str


@dataclass(frozen=True)
class OutputGrid:
    """Where an image lies on the network's grid: its size and the network pixels per image pixel along y and x.

    The image's top left corner is the network input's top left corner; what is right of or below it is padding.
    """

    height: int
    width: int
    scale_y: float
    scale_x: float


@dataclass(frozen=True)
class Segment:
    """One thing or stuff region of a prediction. `score` is 0..1, `area_px` the pixels it owns."""

    panoptic_id: int
    class_id: int
    instance_id: int
    is_thing: bool
    score: float
    area_px: int


@dataclass(frozen=True)
class Prediction:
    """What the network says about one image, on that image's pixel grid.

    Attributes:
        panoptic: (H, W) uint16 panoptic ids (see `labels`); 65535 is void.
        depth_m: (H, W) float32, metres along the optical axis; NaN where there is none.
        confidence: (H, W) float32 in 0..1, 0 where void.
        segments: one entry for each id in `panoptic` but void.
        timings_ms: milliseconds spent in each stage ("preprocess", "inference", "fusion").
        has_depth: whether the network estimates depth at all.
    """

    panoptic: NDArray[np.uint16]
    depth_m: NDArray[np.float32]
    confidence: NDArray[np.float32]
    segments: tuple[Segment, ...]
    timings_ms: dict[str, float] = field(default_factory=dict)
    has_depth: bool = True

    @property
    def known_depth_m(self) -> NDArray[np.float32] | None:
        """The depth, or None of a network without: there, NaN is no depth rather than a wrong one."""
        return self.depth_m if self.has_depth else None


@dataclass(frozen=True)
class Sample:
    """One annotated image of a dataset.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        panoptic: (H, W) uint16 panoptic ids, or None where the image has no labels.
        depth_m: (H, W) float32, metres along the optical axis; NaN unknown, +Inf sky or beyond range; or None.
        intrinsics: or None where unknown.
        sample_id: unique within its dataset; names the files.
    """

    image: NDArray[np.uint8]
    panoptic: NDArray[np.uint16] | None
    depth_m: NDArray[np.float32] | None
    intrinsics: Intrinsics | None
    sample_id: str

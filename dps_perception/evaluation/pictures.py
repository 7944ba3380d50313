"""Pictures of predictions: panoptic overlay, coloured depth, coloured depth error. All return (H, W, 3) uint8 RGB.

Fast enough for a node's debug topics: a few milliseconds for 512x1024 on one core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..kernels.pictures import fill_depth_colors, fill_tint
from ..labels import LABEL_DIVISOR, VOID_CLASS_ID, LabelSpace

SKY_COLOR = (226, 232, 240)
UNKNOWN_COLOR = (38, 42, 50)
_LEVELS = 254  # colours of a scale; 254 is sky, 255 unknown
_TOO_NEAR_TO_TOO_FAR = ((5, 48, 97), (67, 147, 195), (247, 247, 247), (214, 96, 77), (103, 0, 31))


@dataclass(frozen=True)
class Scale:
    """The legend of a coloured picture: RGB colours evenly spaced from left to right, and (place 0..1, text) marks."""

    colors: tuple[tuple[int, int, int], ...]
    marks: tuple[tuple[float, str], ...]


def overlay(
    rgb: NDArray[np.uint8],
    panoptic: NDArray[np.uint16],
    label_space: LabelSpace,
    *,
    alpha: float = 0.55,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The image tinted with class colours, a light border around each instance, names on the big segments.

    Args:
        rgb: (H, W, 3) uint8.
        panoptic: (H, W) uint16 panoptic ids; void is darkened.
        label_space: colours and names.
        alpha: 0 shows the image alone, 1 the colours alone.
        out: (H, W, 3) memory for the picture; None makes some.

    Raises:
        ImageError: the sizes differ.
    """
    if panoptic.shape != rgb.shape[:2]:
        raise ImageError(f"image is {rgb.shape[:2]}, panoptic ids {panoptic.shape}; an overlay needs one pixel grid")
    picture = np.empty(rgb.shape, np.uint8) if out is None else out
    reach = 2 if len(panoptic) > 800 else 1
    fill_tint(picture, rgb, panoptic, label_space.colors, label_space.thing_table, alpha, reach)
    _write_names(picture, panoptic, label_space)
    return picture


def color_depth(
    depth_m: NDArray[np.float32], max_m: float = 80.0, min_m: float = 2.0, *, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Depth (H, W) in metres in logarithmic colours from red (`min_m` and nearer) to dark blue (`max_m` and beyond).

    +Inf (sky) is pale grey, unknown (NaN, 0 or below) nearly black; `out` is (H, W, 3) memory for the picture.

    Raises:
        ImageError: the range is empty or not finite.
    """
    if not (math.isfinite(max_m) and 0 < min_m < max_m):
        raise ImageError(f"depth colours from {min_m} m to {max_m} m: give 0 < nearest < farthest, both finite")
    picture = np.empty((*depth_m.shape, 3), np.uint8) if out is None else out
    places = (np.arange(1, _LEVELS) - 0.5) / (_LEVELS - 1)
    fill_depth_colors(picture, depth_m, (min_m * (max_m / min_m) ** places).astype(np.float32), _depth_table())
    return picture


def color_error(
    depth_m: NDArray[np.float32], gt_depth_m: NDArray[np.float32], max_relative: float = 0.5
) -> NDArray[np.uint8]:
    """Relative depth error (d - d*) / d*: blue too near, white right, red too far, full colour at `max_relative`.

    Nearly black where either depth is missing.

    Raises:
        ImageError: the sizes differ, or `max_relative` is not above 0.
    """
    if depth_m.shape != gt_depth_m.shape:
        raise ImageError(f"predicted depth is {depth_m.shape}, true depth {gt_depth_m.shape}; sizes must agree")
    if not max_relative > 0:
        raise ImageError(f"depth error colours end at {max_relative}; give a relative error above 0")
    scored = np.isfinite(gt_depth_m) & (gt_depth_m > 0) & np.isfinite(depth_m) & (depth_m > 0)
    true = np.where(scored, gt_depth_m, 1).astype(np.float32)
    error = np.where(scored, depth_m, 1).astype(np.float32) / true - 1
    level = np.clip(error * (0.5 / max_relative) + 0.5, 0, 1) * np.float32(_LEVELS - 1) + np.float32(0.5)
    return _colored(np.where(scored, level, 255).astype(np.uint8), _error_table())


def depth_scale(max_m: float = 80.0, min_m: float = 2.0) -> Scale:
    """The legend of `color_depth`."""
    marks = [min_m, *(m for m in (1, 2, 5, 10, 20, 50, 100, 200) if 1.4 * min_m < m < 0.75 * max_m), max_m]
    places = tuple((math.log(m / min_m) / math.log(max_m / min_m), f"{m:g} m") for m in marks)
    return Scale(_stops(_depth_table()), places)


def error_scale(max_relative: float = 0.5) -> Scale:
    """The legend of `color_error`."""
    marks = ((0.0, f"-{100 * max_relative:g} % (too near)"), (0.5, "0"), (1.0, f"+{100 * max_relative:g} % (too far)"))
    return Scale(_stops(_error_table()), marks)


def _write_names(picture: NDArray[Any], panoptic: NDArray[np.uint16], label_space: LabelSpace) -> None:
    """Write class names inside the segments that have room for them, at their most inner place."""
    height, width = panoptic.shape
    step = max(1, height // 64)
    small = np.ascontiguousarray(panoptic[step // 2 :: step, step // 2 :: step])
    size = max(0.35, height / 1100)
    thickness = 1 if height < 900 else 2
    ids, areas = np.unique(small, return_counts=True)
    for panoptic_id in ids[areas >= max(8, small.size // 400)]:
        class_id = int(panoptic_id) // LABEL_DIVISOR
        if class_id == VOID_CLASS_ID or class_id >= len(label_space):
            continue
        name = label_space.names[class_id]
        (text_width, text_height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
        mask = np.pad((small == panoptic_id).astype(np.uint8), 1)
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        _, inner, _, (column, row) = cv2.minMaxLoc(distance)
        if 2 * inner * step < max(0.5 * text_width, 1.5 * text_height):
            continue
        x = int(np.clip((column - 0.5) * step - text_width / 2, 2, max(2, width - text_width - 2)))
        y = int(np.clip((row - 0.5) * step + text_height / 2, text_height + 2, height - 3))
        for color, stroke in (((20, 20, 20), thickness + 2), ((255, 255, 255), thickness)):
            cv2.putText(picture, name, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, color, stroke, cv2.LINE_AA)


def _colored(level: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.LUT(cv2.cvtColor(level, cv2.COLOR_GRAY2RGB), table[None]).astype(np.uint8, copy=False)


@cache
def _depth_table() -> NDArray[np.uint8]:
    """(256, 3) RGB: near to far, then sky and unknown."""
    places = (
        np.linspace(245, 0, _LEVELS).round().astype(np.uint8)
    )  # turbo's darkest red would look like its darkest blue
    bgr = cv2.applyColorMap(places[:, None], cv2.COLORMAP_TURBO)[:, 0]
    return np.concatenate([bgr[:, ::-1], [SKY_COLOR, UNKNOWN_COLOR]]).astype(np.uint8)


@cache
def _error_table() -> NDArray[np.uint8]:
    """(256, 3) RGB: too near to too far, then twice unknown."""
    anchors = np.array(_TOO_NEAR_TO_TOO_FAR, np.float64)
    places = np.linspace(0, len(anchors) - 1, _LEVELS)
    ramp = np.stack([np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T], -1)
    return np.concatenate([ramp.round(), [UNKNOWN_COLOR, UNKNOWN_COLOR]]).astype(np.uint8)


def _stops(table: NDArray[np.uint8]) -> tuple[tuple[int, int, int], ...]:
    chosen = table[np.linspace(0, _LEVELS - 1, 16).round().astype(int)]
    return tuple((int(r), int(g), int(b)) for r, g, b in chosen)

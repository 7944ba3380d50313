"""Metric depth teachers: Depth Anything V2 (metric), Depth Pro, ZoeDepth, GLPN.

A network sees pixels, not metres: what it calls 10 m is right for the camera it was trained with. Each depth therefore
comes with the focal length, in pixels of the image given, for which it is right; with another camera it is off by the
ratio of the two (Yin et al., "Metric3D", ICCV 2023). Depth Pro estimates that focal length itself, image by image. For
the others it is the training camera's at the size of the network's input, which `depth_cameras.json` has where it is
known.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ModelLoadError
from .hub import guarded, library, load_config, load_network

FAMILIES = ("depth_anything", "depth_pro", "glpn", "zoedepth")
SATURATED = 0.99
"""Networks with a largest depth press everything farther, the sky too, against it: from this share of it on, depth is
unknown."""
_SUGGESTION = "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf"


@dataclass(frozen=True)
class TeacherDepth:
    """Depth as a teacher sees it.

    Attributes:
        depth_m: (H, W) float32, metres along the optical axis; NaN at and beyond the teacher's largest depth.
        focal_px: focal length, in pixels of this image, of the camera for which it is right; None where unknown.
    """

    depth_m: NDArray[np.float32]
    focal_px: float | None


class DepthTeacher:
    """A metric depth network and its image processor.

    Attributes:
        identity: which network it is.
        max_depth_m: its largest depth, or None where it has none.
        estimates_focal: it tells the focal length of each image itself.
        focal_px: focal length of its training camera in pixels of the network's input, or None where unknown.

    Args:
        name: hub name, or a folder that `save_pretrained` wrote.
        device: where it runs.
        focal_px: of its training camera in pixels of the network's input; None looks it up by name, 0 is for unknown.

    Raises:
        ConfigError: transformers is not installed.
        ModelLoadError: it can't be loaded, or its depth is not metric.
    """

    def __init__(self, name: str, device: torch.device, focal_px: float | None = None) -> None:
        transformers = library()
        config = load_config(name, "depth", (*FAMILIES, "dpt", "prompt_depth_anything"))
        relative = getattr(config, "depth_estimation_type", "metric") != "metric"
        if config.model_type not in FAMILIES or relative:
            raise ModelLoadError(
                f"depth teacher '{name}' ({config.model_type}) tells what is nearer, not metres; give a metric one: "
                f"{_SUGGESTION}, its indoor twin, apple/DepthPro-hf, Intel/zoedepth-nyu-kitti, vinvino02/glpn-kitti"
            )
        self._processor = guarded(name, "depth", transformers.AutoImageProcessor.from_pretrained, name)
        network, self.identity = load_network(transformers.AutoModelForDepthEstimation, name, "depth", config)
        self._network, self._device, self._family = network.to(device), device, str(config.model_type)
        self.max_depth_m = _max_depth_m(config)
        self.estimates_focal = self._family == "depth_pro"
        known = known_focal_px(name) if focal_px is None else focal_px
        self.focal_px = None if self.estimates_focal else known or None

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> TeacherDepth:
        """Depth of an image (H, W, 3) uint8."""
        size = (rgb.shape[0], rgb.shape[1])
        pixels = self._processor(images=np.array(rgb), return_tensors="pt")["pixel_values"]
        outputs = self._network(pixel_values=pixels.to(self._device))
        more = {"source_sizes": [size]} if self._family == "zoedepth" else {}
        found = self._processor.post_process_depth_estimation(outputs, target_sizes=[size], **more)[0]
        depth = found["predicted_depth"].reshape(size).float().cpu().numpy()
        limit = SATURATED * self.max_depth_m if self.max_depth_m else np.inf
        valid = np.isfinite(depth) & (depth > 0) & (depth < limit)
        return TeacherDepth(np.where(valid, depth, np.float32(np.nan)), self._focal(found, size[1], pixels.shape[-1]))

    def _focal(self, found: dict[str, Any], width: int, input_width: int) -> float | None:
        if self.estimates_focal:
            estimate = found.get("focal_length")
            # Without its head for the field of view the network's depth is that of a focal length of one width.
            return float(width) if estimate is None else float(estimate)
        if self.focal_px is None:
            return None
        padded = 2 * int(np.sqrt(width / 2) * 3) if getattr(self._processor, "do_pad", False) else 0  # ZoeDepth's
        return self.focal_px * (width + padded) / input_width


def known_focal_px(name: str) -> float | None:
    """Focal length of a well-known teacher's training camera in pixels of the network's input; None for others.

    The shorter side of the training images became `input_height`, so the focal length was scaled by as much.
    """
    last = name.rstrip("/").rpartition("/")[2]
    for camera in json.loads((Path(__file__).parent / "depth_cameras.json").read_text()):
        if re.search(camera["name"], last, re.IGNORECASE):
            return float(camera["focal_px"]) * float(camera["input_height"]) / float(camera["height"])
    return None


def _max_depth_m(config: Any) -> float | None:
    """The largest depth a network can tell."""
    if config.model_type == "zoedepth":
        return max(float(bins["max_depth"]) for bins in config.bin_configurations)
    value = getattr(config, "max_depth", None)
    return float(value) if value else None

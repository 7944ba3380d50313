"""Real-Time Panoptic: dense boxes and semantics on a feature pyramid; masks are built from both without parameters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import PRIOR_BIAS, conv_stack, full_precision, over_levels
from .network import Network
from .pyramid import FeaturePyramid
from .realtime_panoptic_config import STRIDES, RealtimePanopticConfig

LEVELNESS_STRIDE, SEMANTIC_STRIDE = 4, 8
LARGEST_PX = 8192.0
"""Distances to a box's edges are at most this: an exponential has no bounds of its own, half precision has."""
TOWER_DEPTH = 4


def stride_of(name: str) -> int:
    """Pixels of the input per cell of one of the network's tensors."""
    if name == "levelness":
        return LEVELNESS_STRIDE
    level = name.rpartition("_")[2]
    return STRIDES[int(level)] if level.isdigit() else SEMANTIC_STRIDE


class RealtimePanoptic(Network):
    """The whole network (paper, Section 4); `config` says how it was built."""

    config: RealtimePanopticConfig

    def __init__(self, config: RealtimePanopticConfig) -> None:
        super().__init__(config)
        levels, c, s = len(STRIDES), config.channels, config.semantic_channels
        self.pyramid = FeaturePyramid(self.backbone.channels, c)
        self.localisation = conv_stack(c, c, TOWER_DEPTH, config.norm)
        self.semantic_tower = conv_stack(c, s, TOWER_DEPTH, config.norm) if config.two_towers else None
        width = s if config.two_towers else c
        self.box_classes = _head(width, len(config.thing_classes), PRIOR_BIAS)
        self.boxes, self.centreness = _head(c, 4), _head(c, 1)
        self.scales = nn.Parameter(torch.ones(levels))
        self.levelness = _head(levels * c, levels + 1) if config.levelness else None
        self.semantic = _head(levels * width, config.num_classes)
        self.depth = _head(levels * width, 1) if config.depth else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Run the network on images as a camera gives them.

        Args:
            image: (B, H, W, 3) uint8 RGB; H and W multiples of 32.

        Returns:
            Named tensors; `_3` .. `_7` is the pyramid level, of size H / 2**level. With T thing classes:
            `box_classes_3` .. (B, T, h, w) and `centreness_3` .. (B, 1, h, w), before their sigmoids;
            `boxes_3` .. (B, 4, h, w), distances from the location to the box's left, top, right and bottom edge, pixels
            of the input (Eq. 8);
            `levelness` (B, 6, H / 4, W / 4), before the softmax: 0 for background, then levels 3 to 7;
            `semantic_logits` (B, num_classes, H / 8, W / 8), before the softmax;
            with a depth head (ours, not in the paper) `depth_logits` (B, 1, H / 8, W / 8), before the sigmoid.
        """
        levels = self.pyramid(self.backbone(self.normalise(image)))
        located = over_levels(self.localisation, levels)
        meant = located if self.semantic_tower is None else over_levels(self.semantic_tower, levels)
        outputs = {}
        for index, (number, stride) in enumerate(STRIDES.items()):
            where = located[index]
            outputs[f"box_classes_{number}"] = self.box_classes(meant[index])
            outputs[f"centreness_{number}"] = self.centreness(where)
            with full_precision(where.device):  # half a per cent of a distance is pixels of a large box
                logarithm = self.scales[index] * self.boxes(where.to(self.boxes.weight.dtype))
                outputs[f"boxes_{number}"] = logarithm.clamp(max=math.log(LARGEST_PX / stride)).exp() * stride
        if self.levelness is not None:
            outputs["levelness"] = self.levelness(_together(located, image, LEVELNESS_STRIDE))
        features = _together(meant, image, SEMANTIC_STRIDE)
        outputs["semantic_logits"] = self.semantic(features)
        if self.depth is not None:
            outputs["depth_logits"] = self.depth(features)
        return outputs


def _head(inputs: int, outputs: int, bias: float = 0.0) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, bias)
    return conv


def _together(levels: list[Tensor], image: Tensor, stride: int) -> Tensor:
    """All levels at one stride of the image, side by side in channels; the coarsest may reach beyond the image."""
    height, width = (n // stride for n in image.shape[1:3])
    parts = [
        F.interpolate(level, scale_factor=float(own // stride), mode="bilinear", align_corners=False)
        for level, own in zip(levels, STRIDES.values(), strict=True)
    ]
    return torch.cat([part[:, :, :height, :width] for part in parts], 1)

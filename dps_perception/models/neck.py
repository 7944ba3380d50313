"""Feature fusion of EfficientDPS (paper, Section III-A): PPM on C5, FPN over C3..C5, one map at stride 8."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvBlock, append_coordinates

BINS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """PPM: (B, inputs, h, w) -> (B, channels, h, w) with context from bins 1, 2, 3, 6."""

    def __init__(self, inputs: int, channels: int, norm: str) -> None:
        super().__init__()
        # Batch norm can't see 1x1 bins of a single image, so the branches have none.
        self.branches = nn.ModuleList(ConvBlock(inputs, channels // 2, 1, "none") for _ in BINS)
        self.merge = ConvBlock(inputs + len(BINS) * (channels // 2), channels, 1, norm)

    def forward(self, c5: Tensor) -> Tensor:
        size = c5.shape[-2:]
        context = [
            F.interpolate(branch(F.adaptive_avg_pool2d(c5, bins)), size, mode="bilinear", align_corners=False)
            for bins, branch in zip(BINS, self.branches, strict=True)
        ]
        return self.merge(torch.cat([c5, *context], 1))


class FusionNeck(nn.Module):
    """(C3, C4, C5) -> localisation-aware contextual features (B, channels + 2, H/8, W/8)."""

    def __init__(self, inputs: Sequence[int], channels: int, norm: str) -> None:
        super().__init__()
        self.ppm = PyramidPooling(inputs[2], channels, norm)
        self.lateral3, self.lateral4 = nn.Conv2d(inputs[0], channels, 1), nn.Conv2d(inputs[1], channels, 1)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        for conv in (self.lateral3, self.lateral4, *self.outputs):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        self.reduce = ConvBlock(3 * channels, channels, 1, norm)
        self.smooth = ConvBlock(channels, channels, 3, norm)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        c3, c4, c5 = levels
        p5 = self.ppm(c5)
        p4 = self.lateral4(c4) + F.interpolate(p5, c4.shape[-2:], mode="nearest")
        p3 = self.lateral3(c3) + F.interpolate(p4, c3.shape[-2:], mode="nearest")
        maps = [conv(p) for conv, p in zip(self.outputs, (p3, p4, p5), strict=True)]
        size = c3.shape[-2:]
        upsampled = [maps[0], *(F.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps[1:])]
        return append_coordinates(self.smooth(self.reduce(torch.cat(upsampled, 1))))

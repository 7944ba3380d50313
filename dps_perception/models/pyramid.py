"""Feature pyramid with extra levels (FPN, RetinaNet's P6 and P7), shared by the families that detect on levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Backbone levels -> as many pyramid levels of `channels`, finest first, and two coarser ones from the last.

    Args:
        inputs: channels of the backbone's levels, finest first.
        channels: of every level that comes out.
    """

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in inputs)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs)
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        for conv in (*self.laterals, *self.outputs, self.p6, self.p7):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        for i in range(len(merged) - 2, -1, -1):
            merged[i] = merged[i] + F.interpolate(merged[i + 1], merged[i].shape[-2:], mode="nearest")
        out = [conv(level) for conv, level in zip(self.outputs, merged, strict=True)]
        p6 = self.p6(out[-1])
        return [*out, p6, self.p7(F.relu(p6))]

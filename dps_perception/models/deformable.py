"""Modulated deformable convolution (DCNv2) from torchvision's operator, or a plain one for runtimes without it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from .layers import ConvBlock

TAPS = 9


class DeformableConv(nn.Module):
    """3x3 modulated deformable convolution without bias: offsets and modulation come from a plain 3x3 convolution,
    which starts at zero: no offset, modulation one half, as a plain convolution of half the weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.offset = nn.Conv2d(inputs, 3 * TAPS, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        moved = self.offset(x)
        offset, modulation = moved[:, : 2 * TAPS].float(), moved[:, 2 * TAPS :].float().sigmoid()
        # The operator knows no bf16 and wants one type, whatever autocast made of each.
        return deform_conv2d(x.float(), offset, self.weight.float(), padding=1, mask=modulation).to(moved.dtype)


def deformable_stack(inputs: int, channels: int, depth: int, norm: str, deformable: bool) -> nn.Sequential:
    """`depth` times (3x3 convolution, deformable or plain, norm, ReLU); the first takes `inputs` channels."""
    blocks = []
    for i in range(depth):
        width = inputs if i == 0 else channels
        conv = DeformableConv(width, channels) if deformable else None
        blocks.append(ConvBlock(width, channels, 3, norm, conv=conv))
    return nn.Sequential(*blocks)

"""From the camera's image to what a backbone reads: normalisation lives inside every network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Normalise(nn.Module):
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) with ImageNet's mean and deviation; holds no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.empty(3), persistent=False)
        self.register_buffer("std", torch.empty(3), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Set the numbers again, after a network built on the meta device was given memory."""
        self.mean.copy_(torch.tensor(IMAGENET_MEAN))
        self.std.copy_(torch.tensor(IMAGENET_STD))

    def forward(self, image: Tensor) -> Tensor:
        return ((image.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)

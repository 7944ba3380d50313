"""PanopticDepth: kernels for every thing and stuff region, which read masks and depth from shared embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .deformable import deformable_stack
from .layers import ConvBlock, append_coordinates, conv_stack, over_levels
from .network import Network
from .panopticdepth_config import DENSE, INSTANCE, PanopticDepthConfig
from .panopticdepth_kernels import LEVELS
from .pyramid import FeaturePyramid

EMBEDDING_STRIDE = 4
DEPTH_NUMBERS = 2
"""What a depth kernel has beside its weights: shift and range, before their sigmoids."""


def stride_of(name: str) -> int:
    """Pixels of the input per cell of one of the network's tensors."""
    level = name.rpartition("_")[2]
    return 2 ** int(level) if level.isdigit() else EMBEDDING_STRIDE


class SemanticPyramid(nn.Module):
    """P2..P5 -> one map at stride 4: each level convolved and doubled until it is there, then summed (Panoptic FPN)."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.ModuleList(ConvBlock(channels, channels, 3, norm) for _ in range(max(1, doublings)))
            for doublings in range(4)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        out = None
        for doublings, (branch, level) in enumerate(zip(self.branches, levels, strict=True)):
            x = level
            for conv in branch:  # type: ignore[attr-defined]
                x = conv(x)
                if doublings:
                    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            out = x if out is None else out + x
        assert out is not None
        return out


class PanopticDepth(Network):
    """The whole network (paper, Section 3); `config` says how it was built."""

    config: PanopticDepthConfig

    def __init__(self, config: PanopticDepthConfig) -> None:
        super().__init__(config, first=2)
        c, norm, deformable = config.channels, config.norm, config.deformable
        self.pyramid = FeaturePyramid(self.backbone.channels, c)
        self.semantic = SemanticPyramid(c, norm)
        self.position_tower = deformable_stack(c, c, 3, norm, deformable)
        self.positions = nn.Conv2d(c, len(config.thing_classes) + config.num_classes, 3, padding=1)
        _prior(self.positions, PRIOR_BIAS_POSITIONS)
        self.kernel_tower = conv_stack(c + 2, c, 3, norm)
        self.kernels = nn.Conv2d(c, c, 3, padding=1)
        self.thing_kernel, self.stuff_kernel = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.mask_embedding = deformable_stack(c + 2, c, 3, norm, deformable)
        if config.depth:
            self.depth_tower = deformable_stack(c + 2, c, 3, norm, deformable)
            self.depth_embedding = nn.Conv2d(c, 1 if config.depth == DENSE else config.depth_channels, 1)
        if config.depth == INSTANCE:
            self.depth_kernel_tower = deformable_stack(c, c, 3, norm, deformable)
            self.depth_kernels = nn.Conv2d(c, config.depth_channels + DEPTH_NUMBERS, 3, padding=1)
            _prior(self.depth_kernels, 0.0)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Run the network on images as a camera gives them.

        Args:
            image: (B, H, W, 3) uint8 RGB; H and W multiples of 32.

        Returns:
            Named tensors; `_3` .. `_7` is the pyramid level, of size H / 2**level. With T thing classes:
            `positions_3` .. (B, T + num_classes, h, w), logits of thing centres, then of all classes' regions;
            `thing_kernels_3` .., `stuff_kernels_3` .. (B, C, h, w), a mask kernel at each place;
            `mask_embedding` (B, C, H / 4, W / 4);
            with depth `depth_embedding` (B, 16 or 1, H / 4, W / 4), and for instance depth
            `depth_kernels_3` .. (B, 18, h, w): kernel, shift and range before their sigmoids.
        """
        levels = self.pyramid(self.backbone(self.normalise(image)))
        high = append_coordinates(self.semantic(levels[:4]))
        outputs = {"mask_embedding": self.mask_embedding(high)}
        shared = levels[1:]
        kernels = over_levels(self.kernel_tower, [append_coordinates(level) for level in shared])
        positions = over_levels(self.position_tower, shared)
        for number, kernel, position in zip(LEVELS, kernels, positions, strict=True):
            kernel = self.kernels(kernel)
            outputs[f"positions_{number}"] = self.positions(position)
            outputs[f"thing_kernels_{number}"] = self.thing_kernel(kernel)
            outputs[f"stuff_kernels_{number}"] = self.stuff_kernel(kernel)
        if self.config.depth == INSTANCE:
            for number, level in zip(LEVELS, over_levels(self.depth_kernel_tower, shared), strict=True):
                outputs[f"depth_kernels_{number}"] = self.depth_kernels(level)
        if self.config.depth:
            outputs["depth_embedding"] = self.depth_embedding(self.depth_tower(high))
        return outputs


PRIOR_BIAS_POSITIONS = -2.19
"""A sigmoid of 0.1 at first, as centre heat maps start with."""


def _prior(conv: nn.Conv2d, bias: float) -> None:
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, bias)

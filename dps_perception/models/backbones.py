"""Backbones from torchvision, cut to what a neck reads: C2 (where asked for), C3, C4, C5 at strides 4, 8, 16, 32."""

from __future__ import annotations

from functools import partial

import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer


class ResNetBackbone(nn.Module):
    """ResNet-18 or -50 without its classifier.

    Args:
        name: "resnet18" or "resnet50".
        first: number of the finest level that is returned, 2 or 3.
    """

    def __init__(self, name: str, first: int = 3) -> None:
        super().__init__()
        resnet = getattr(torchvision.models, name)(weights=None)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        self._first = first
        widths = (64, 128, 256, 512) if name == "resnet18" else (256, 512, 1024, 2048)
        self.channels = widths[first - 2 :]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        c2 = self.layer1(self.stem(image))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return (c2, c3, c4, self.layer4(c4))[self._first - 2 :]


class SwinBackbone(nn.Module):
    """Swin-T (window 7) or Swin-B (window 12, as in the paper's count); each output is layer-normalised.

    Args:
        name: "swin_t" or "swin_b".
        first: number of the finest level that is returned, 2 or 3.
    """

    def __init__(self, name: str, first: int = 3) -> None:
        super().__init__()
        if name == "swin_t":
            width, depths, heads, window, drop = 96, [2, 2, 6, 2], [3, 6, 12, 24], 7, 0.2
        else:
            width, depths, heads, window, drop = 128, [2, 2, 18, 2], [4, 8, 16, 32], 12, 0.5
        swin = SwinTransformer([4, 4], width, depths, heads, [window, window], stochastic_depth_prob=drop)
        self.features = swin.features
        self._first = first
        self.channels = tuple(width * 2**level for level in range(4))[first - 2 :]
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.norms = nn.ModuleList([norm(c) for c in self.channels])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x, levels = image, []
        for index, stage in enumerate(self.features):
            x = stage(x)  # (B, h, w, C)
            level = (index + 3) // 2  # stages with blocks are 1, 3, 5, 7
            if index % 2 == 1 and level >= self._first:
                levels.append(self.norms[level - self._first](x).permute(0, 3, 1, 2))
        return tuple(levels)


def build_backbone(name: str, first: int = 3) -> ResNetBackbone | SwinBackbone:
    """The backbone of a config's `backbone` name, randomly initialised; see `ResNetBackbone` for `first`."""
    return SwinBackbone(name, first) if name.startswith("swin") else ResNetBackbone(name, first)

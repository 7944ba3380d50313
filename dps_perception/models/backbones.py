"""Backbones from torchvision, cut to what the neck reads: C3, C4, C5 at strides 8, 16, 32."""

from __future__ import annotations

from functools import partial

import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer


class ResNetBackbone(nn.Module):
    """ResNet-18 or -50 without its classifier."""

    def __init__(self, name: str) -> None:
        super().__init__()
        resnet = getattr(torchvision.models, name)(weights=None)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        self.channels = (128, 256, 512) if name == "resnet18" else (512, 1024, 2048)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3 = self.layer2(self.layer1(self.stem(image)))
        c4 = self.layer3(c3)
        return c3, c4, self.layer4(c4)


class SwinBackbone(nn.Module):
    """Swin-T (window 7) or Swin-B (window 12, as in the paper's count); each output is layer-normalised."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name == "swin_t":
            width, depths, heads, window, drop = 96, [2, 2, 6, 2], [3, 6, 12, 24], 7, 0.2
        else:
            width, depths, heads, window, drop = 128, [2, 2, 18, 2], [4, 8, 16, 32], 12, 0.5
        swin = SwinTransformer([4, 4], width, depths, heads, [window, window], stochastic_depth_prob=drop)
        self.features = swin.features
        self.channels = (2 * width, 4 * width, 8 * width)
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.norms = nn.ModuleList([norm(c) for c in self.channels])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, levels = image, []
        for index, stage in enumerate(self.features):
            x = stage(x)  # (B, h, w, C)
            if index in (3, 5, 7):
                levels.append(self.norms[(index - 3) // 2](x).permute(0, 3, 1, 2))
        return levels[0], levels[1], levels[2]


def build_backbone(name: str) -> ResNetBackbone | SwinBackbone:
    """The backbone of a config's `backbone` name, randomly initialised."""
    return SwinBackbone(name) if name.startswith("swin") else ResNetBackbone(name)

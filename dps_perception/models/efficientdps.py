"""EfficientDPS: task-decoupled group query network and task network (paper, Sections III-B and III-C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import ConfigError, nearest
from .backbones import build_backbone
from .config import EfficientDPSConfig
from .layers import MLP, PRIOR_BIAS, conv_stack, full_precision
from .neck import FusionNeck

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
STRIDE = 8
SIZE_MULTIPLE = 32


class QueryNetwork(nn.Module):
    """Features -> semantic and depth queries of every group (Section III-B)."""

    def __init__(self, config: EfficientDPSConfig) -> None:
        super().__init__()
        inputs, channels = config.channels + 2, config.channels
        self.semantic_map = conv_stack(inputs, channels, 4, config.norm)
        decoupled = config.depth and config.query_wise_depth and config.task_decoupled
        self.depth_map = conv_stack(inputs, channels, 2, config.norm) if decoupled else None
        self.activation = nn.Conv2d(channels, config.num_groups * config.num_queries, 3, padding=1)
        nn.init.normal_(self.activation.weight, std=0.01)
        assert self.activation.bias is not None
        nn.init.constant_(self.activation.bias, PRIOR_BIAS)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Query by activation.

        Returns:
            Semantic queries and depth queries (B, G*N, C), semantic map and depth map (B, C, h, w), and the
            activation maps (B, G*N, h*w), each with sum one.
        """
        semantic_map = self.semantic_map(features)
        depth_map = semantic_map if self.depth_map is None else self.depth_map(features)
        maps = self.activation(semantic_map).flatten(2).float().sigmoid()
        dtype = self.activation.weight.dtype
        weights = (maps / maps.sum(-1, keepdim=True).clamp(min=1e-6)).to(dtype)
        with full_precision(features.device):
            semantic_queries = weights @ semantic_map.to(dtype).flatten(2).transpose(1, 2)
            depth_queries = semantic_queries
            if self.depth_map is not None:
                depth_queries = weights @ depth_map.to(dtype).flatten(2).transpose(1, 2)
        return semantic_queries, depth_queries, semantic_map, depth_map, weights


class EfficientDPS(nn.Module):
    """The whole network. Attributes hold no state beyond parameters; `config` says how it was built."""

    def __init__(self, config: EfficientDPSConfig) -> None:
        super().__init__()
        self.config = config
        self._frozen: list[nn.Module] = []
        channels = config.channels
        self.backbone = build_backbone(config.backbone)
        self.neck = FusionNeck(self.backbone.channels, channels, config.norm)
        self.queries = QueryNetwork(config)
        self.class_head = MLP(channels, config.num_classes, bias=PRIOR_BIAS)
        self.mask_kernel = MLP(channels, channels)
        self.mask_embedding = conv_stack(channels + 2, channels, 4, config.norm)
        if config.depth:
            self.depth_embedding = conv_stack(channels + 2, channels, 3, config.norm)
            if config.query_wise_depth:
                self.depth_kernel = MLP(channels, channels)
            else:
                self.dense_depth = nn.Conv2d(channels, 1, 1)
        if config.auxiliary_semantic:
            self.auxiliary = nn.Conv2d(channels, config.num_classes, 1)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.empty(3), persistent=False)
        self.register_buffer("std", torch.empty(3), persistent=False)
        self.reset_constants()

    def freeze(self, names: Sequence[str]) -> None:
        """Keep parts as they are: no gradients, and their batch norms keep their statistics in training.

        Args:
            names: of sub-modules, e.g. "backbone", "neck", "queries.semantic_map".

        Raises:
            ConfigError: no such part.
        """
        parts = dict(self.named_modules())
        for name in names:
            if not name or name not in parts:
                valid = [n for n in parts if n and n.count(".") < 2]
                raise ConfigError(f"freeze: the network has no part '{name}'{nearest(name, valid)}")
            self._frozen.append(parts[name].requires_grad_(False))
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientDPS:
        """As `nn.Module.train`, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def reset_constants(self) -> None:
        """Set the normalisation again, after a network built on the meta device was given memory."""
        self.mean.copy_(torch.tensor(IMAGENET_MEAN))
        self.std.copy_(torch.tensor(IMAGENET_STD))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Run the network on images as a camera gives them.

        Args:
            image: (B, H, W, 3) uint8 RGB; H and W multiples of 32.

        Returns:
            Named tensors, Q = num_groups * num_queries, h = H / 8, w = W / 8:
            `class_logits` (B, Q, num_classes), before the sigmoid of Eq. 1;
            `mask_logits` (B, Q, h, w), before the sigmoid of Eq. 2;
            `depth_logits` (B, Q, h, w), before the sigmoid of Eq. 3, or (B, 1, h, w) without query-wise depth;
            `backup_depth_logits` (B, 1, h, w) with `backup_depth`;
            in training only, `activation` (B, Q, h, w), the query activation maps, each with sum one, and
            `mask_embedding` and `depth_embedding` (B, C, h, w), the maps that the kernels read;
            in training only, `semantic_logits` (B, num_classes, h, w) with `auxiliary_semantic`.
        """
        x = ((image.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)
        features = self.neck(self.backbone(x))
        semantic, depth, semantic_map, depth_map, activation = self.queries(features)
        mask_embedding = self.mask_embedding(features)
        with full_precision(image.device):
            outputs = {
                "class_logits": self.class_head(semantic),
                "mask_logits": dynamic_convolution(self.mask_kernel(semantic), mask_embedding),
            }
        if self.config.depth:
            embedding = self.depth_embedding(features)
            with full_precision(image.device):
                outputs |= self._depth(depth, depth_map, embedding)
            if self.training:
                outputs["depth_embedding"] = embedding
        if self.training:
            outputs["activation"] = activation.unflatten(2, features.shape[-2:])
            outputs["mask_embedding"] = mask_embedding
        if self.config.auxiliary_semantic and self.training:
            outputs["semantic_logits"] = self.auxiliary(semantic_map)
        return outputs

    def _depth(self, queries: Tensor, depth_map: Tensor, embedding: Tensor) -> dict[str, Tensor]:
        """The depth outputs of `forward`."""
        if not self.config.query_wise_depth:
            return {"depth_logits": self.dense_depth(embedding.to(self.mean.dtype))}
        # The 1x1 kernels commute with upsampling, so they run at stride 8 and logits are upsampled later.
        outputs = {"depth_logits": dynamic_convolution(self.depth_kernel(queries), embedding)}
        if self.config.backup_depth:
            everywhere = depth_map.mean((2, 3))[:, None].to(queries.dtype)
            outputs["backup_depth_logits"] = dynamic_convolution(self.depth_kernel(everywhere), embedding)
        return outputs


def dynamic_convolution(kernels: Tensor, embedding: Tensor) -> Tensor:
    """1x1 convolution with predicted kernels: (B, Q, C) and (B, C, h, w) -> (B, Q, h, w)."""
    return (kernels @ embedding.to(kernels.dtype).flatten(2)).unflatten(2, embedding.shape[-2:])

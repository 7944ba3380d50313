"""EfficientDPS: task-decoupled group query network and task network (paper, Sections III-B and III-C)."""

from __future__ import annotations

from torch import Tensor, nn

from .efficientdps_config import EfficientDPSConfig
from .layers import MLP, PRIOR_BIAS, conv_stack, full_precision
from .neck import FusionNeck
from .network import Network

STRIDE = 8
GROUPED, TRAINING_ONLY = "queries.activation.", "auxiliary."
"""Names of parameters that hold all query groups, and of those that inference does without."""


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


class EfficientDPS(Network):
    """The whole network; `config` says how it was built."""

    config: EfficientDPSConfig

    def __init__(self, config: EfficientDPSConfig) -> None:
        super().__init__(config)
        channels = config.channels
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

    def inference_state(self) -> dict[str, Tensor]:
        """The first query group's, without training-only parts."""
        state = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(TRAINING_ONLY)}
        return {
            name: tensor[: self.config.num_queries] if name.startswith(GROUPED) else tensor
            for name, tensor in state.items()
        }

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
        features = self.neck(self.backbone(self.normalise(image)))
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
            return {"depth_logits": self.dense_depth(embedding.to(self.normalise.mean.dtype))}
        # The 1x1 kernels commute with upsampling, so they run at stride 8 and logits are upsampled later.
        outputs = {"depth_logits": dynamic_convolution(self.depth_kernel(queries), embedding)}
        if self.config.backup_depth:
            everywhere = depth_map.mean((2, 3))[:, None].to(queries.dtype)
            outputs["backup_depth_logits"] = dynamic_convolution(self.depth_kernel(everywhere), embedding)
        return outputs


def dynamic_convolution(kernels: Tensor, embedding: Tensor) -> Tensor:
    """1x1 convolution with predicted kernels: (B, Q, C) and (B, C, h, w) -> (B, Q, h, w)."""
    return (kernels @ embedding.to(kernels.dtype).flatten(2)).unflatten(2, embedding.shape[-2:])

"""What a user would pick instead: Mask2Former for panoptic labels and Depth Anything V2 for depth, two networks.

Built from their published sizes without weights, because timing needs none: facebook/mask2former-swin-tiny-* and
depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..labelling.hub import library
from ..labels import CITYSCAPES
from .synthetic import LIMIT, Look, regions

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN_T = {
    "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7, "image_size": 224,
    "out_features": STAGES,
}  # fmt: skip
MASK2FORMER = {
    "feature_size": 256, "mask_feature_size": 256, "hidden_dim": 256, "encoder_layers": 6,
    "encoder_feedforward_dim": 1024, "decoder_layers": 10, "dim_feedforward": 2048, "num_attention_heads": 8,
    "common_stride": 4, "feature_strides": [4, 8, 16, 32], "num_queries": 100,
}  # fmt: skip
DINOV2_S = {
    "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 14, "image_size": 518,
    "out_features": ["stage3", "stage6", "stage9", "stage12"], "reshape_hidden_states": False, "apply_layernorm": True,
}  # fmt: skip
DEPTH_ANYTHING = {
    "reassemble_hidden_size": 384, "reassemble_factors": [4, 2, 1, 0.5], "neck_hidden_sizes": [48, 96, 192, 384],
    "fusion_hidden_size": 64, "head_hidden_size": 32, "depth_estimation_type": "metric", "max_depth": 80,
}  # fmt: skip
PATCH = 14
PUBLISHED = {"Mask2Former Swin-T": 47.4e6, "Depth Anything V2 Small": 24.8e6}
"""Parameters, from the papers."""
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class Sizes:
    """Config numbers of the pair; the defaults are the published ones."""

    swin: dict[str, Any]
    mask2former: dict[str, Any]
    dinov2: dict[str, Any]
    depth_anything: dict[str, Any]


PUBLISHED_SIZES = Sizes(SWIN_T, MASK2FORMER, DINOV2_S, DEPTH_ANYTHING)


class Outputs(nn.Module):
    """A network of `transformers` that takes pixels and gives back only what its post-processing reads."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(pixel_values=pixel_values)
        return tuple(outputs[name] for name in self.names)


@dataclass(frozen=True)
class Peer:
    """A network beside ours.

    Attributes:
        name: for tables.
        network: in evaluation mode; pixels in, a tuple of tensors out.
        size_hw: of its input.
        processor: its own image processor.
    """

    name: str
    network: Outputs
    size_hw: tuple[int, int]
    processor: Any

    def prepare(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(1, 3, h, w) float32 as its own image processor makes it of an image."""
        return self.processor(images=rgb, return_tensors="pt")["pixel_values"]


def mask2former(size_hw: tuple[int, int], sizes: Sizes = PUBLISHED_SIZES) -> Peer:
    """Panoptic labels.

    Raises:
        ConfigError: transformers is not installed.
    """
    transformers = library()
    names = dict(enumerate(CITYSCAPES.names))
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(**sizes.swin), **sizes.mask2former,
        id2label=names, label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    height, width = size_hw
    processor = transformers.Mask2FormerImageProcessor(
        size={"height": height, "width": width}, image_mean=MEAN, image_std=STD
    )
    network = _untrained(transformers.Mask2FormerForUniversalSegmentation, config)
    outputs = Outputs(network, ("class_queries_logits", "masks_queries_logits"))
    return Peer("Mask2Former Swin-T", outputs, size_hw, processor)


def depth_anything(size_hw: tuple[int, int], sizes: Sizes = PUBLISHED_SIZES) -> Peer:
    """Metric depth; its input is the size nearest to `size_hw` of whole 14x14 patches.

    Raises:
        ConfigError: transformers is not installed.
    """
    transformers = library()
    backbone = transformers.Dinov2Config(**sizes.dinov2)
    config = transformers.DepthAnythingConfig(backbone_config=backbone, **sizes.depth_anything)
    height, width = (max(1, round(n / PATCH)) * PATCH for n in size_hw)
    processor = transformers.DPTImageProcessor(
        size={"height": height, "width": width}, image_mean=MEAN, image_std=STD, keep_aspect_ratio=False
    )
    network = _untrained(transformers.DepthAnythingForDepthEstimation, config)
    return Peer("Depth Anything V2 Small", Outputs(network, ("predicted_depth",)), (height, width), processor)


def _untrained(kind: Any, config: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config).eval()


class PostProcessing:
    """What turns the pair's tensors into labels and depth on the image's grid, by their own processors.

    Untrained networks find nothing, so it works on tensors made to look like a real prediction, as many segments as
    ours gets in the same run.
    """

    def __init__(
        self, panoptic: Peer, depth: Peer, image_hw: tuple[int, int], look: Look, device: torch.device
    ) -> None:
        random = np.random.default_rng(0)
        height, width = panoptic.size_hw[0] // 4, panoptic.size_hw[1] // 4
        masks = np.full((look.queries, height, width), -LIMIT, np.float32)
        masks[: look.kept] = regions(look.kept, (height, width), random)
        classes = np.zeros((look.queries, len(CITYSCAPES) + 1), np.float32)
        classes[:, -1] = LIMIT  # "no object"
        classes[: look.kept, -1] = 0
        classes[np.arange(look.kept), np.arange(look.kept) % len(CITYSCAPES)] = LIMIT
        self._panoptic, self._depth, self._image_hw = panoptic.processor, depth.processor, image_hw
        self._segments = SimpleNamespace(
            class_queries_logits=torch.from_numpy(classes)[None].to(device),
            masks_queries_logits=torch.from_numpy(masks)[None].to(device),
        )
        self._distances = SimpleNamespace(predicted_depth=torch.ones((1, *depth.size_hw), device=device))
        self._stuff = {int(c) for c in np.flatnonzero(~CITYSCAPES.is_thing)}

    def __call__(self) -> tuple[dict[str, Any], Tensor]:
        found = self._panoptic.post_process_panoptic_segmentation(
            self._segments, target_sizes=[self._image_hw], label_ids_to_fuse=self._stuff
        )[0]
        depth = self._depth.post_process_depth_estimation(self._distances, target_sizes=[self._image_hw])[0]
        return {**found, "segmentation": found["segmentation"].cpu()}, depth["predicted_depth"].cpu()

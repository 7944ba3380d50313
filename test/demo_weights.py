"""Real weights files that are small and quick, for tests that need a whole node and no skill."""

from __future__ import annotations

from pathlib import Path

import torch

from dps_perception.labels import CITYSCAPES
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.weights import ModelInfo, save_weights


def write_small_weights(path: Path) -> Path:
    """Untrained weights for 64x128 images, so inclined that segments come out at all."""
    torch.manual_seed(0)
    config = EfficientDPSConfig(backbone="resnet18", channels=8, num_queries=6, num_groups=1)
    network = EfficientDPS(config)
    with torch.no_grad():
        network.class_head[-1].bias += 4
    info = ModelInfo(
        model_id="small",
        preset="efficientdps_r18",
        config=config,
        label_space=CITYSCAPES,
        input_size=(64, 128),
        focal_px=100.0,
        min_depth_m=0.5,
        max_depth_m=88.0,
    )
    save_weights(path, network, info)
    return path

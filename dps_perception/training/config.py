"""Everything a training run is told, typed once; YAML files and the command line fill it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.transforms import Augmentation
from ..models.fusion import FusionThresholds
from .criterion import LossWeights


@dataclass
class ModelSettings:
    """What to train.

    Attributes:
        preset: a name of `dps_perception.models.config.PRESETS`.
        changes: settings of the preset to change, e.g. {num_groups: 4}.
        init_from: a checkpoint (.ckpt) of dps_train or a weights file (.safetensors) to start from; "" starts fresh.
        freeze: parts of the network that keep their weights, e.g. [backbone, neck]; see `EfficientDPS.freeze`.
        label_space: label space of the data.
    """

    preset: str = "efficientdps_r18"
    changes: dict[str, Any] = field(default_factory=dict)
    init_from: str = ""
    freeze: tuple[str, ...] = ()
    label_space: str = "cityscapes"


@dataclass
class DataSettings:
    """What to learn from.

    Attributes:
        root: DVPS folder with one sub-folder for each split (write one with dps_synthesize).
        train_split: split to learn from.
        val_split: split to validate on.
        val_limit: images of it that each validation uses; 0 uses all.
        input_size: height and width of the network's input, multiples of 32.
        focal_ratio: focal length of the training camera divided by the image width (the same at every size).
        augmentation: random changes.
        min_area_px: smallest segment that is a target, pixels at the input size.
        depth_stride: pixels between the depth targets, 4 or 1: 1 is depth fine-tuning at full resolution, and right
            for sparse depth (LiDAR), of which a stride of 4 sees one point in 16.
        min_depth_m: lower end of the depth range stated in the weights file, metres.
        workers: processes that load and augment.
    """

    root: str = "data/street"
    train_split: str = "train"
    val_split: str = "val"
    val_limit: int = 0
    input_size: tuple[int, int] = (512, 1024)
    focal_ratio: float = 2262.52 / 2048
    augmentation: Augmentation = field(default_factory=Augmentation)
    min_area_px: int = 16
    depth_stride: int = 4
    min_depth_m: float = 0.5
    workers: int = 1


@dataclass
class OptimizerSettings:
    """AdamW and its schedule.

    Attributes:
        learning_rate: peak learning rate.
        weight_decay: of matrices and kernels; biases and norms have none.
        batch_size: images per process and step.
        steps: optimiser steps in all.
        warmup_steps: linear warm-up.
        schedule: "step" (paper: divided by 10 at each milestone) or "poly" (power 0.9 to zero).
        milestones: shares of `steps` at which "step" divides (paper: 40 and 46 of 50 epochs).
        clip_norm: gradient norm limit; 0 for none.
    """

    learning_rate: float = 5e-5
    weight_decay: float = 0.05
    batch_size: int = 4
    steps: int = 10000
    warmup_steps: int = 200
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.8, 0.92)
    clip_norm: float = 0.0


@dataclass
class RunSettings:
    """Where and how.

    Attributes:
        output: folder for checkpoints, logs, config and weights.
        model_id: name written into the weights file.
        precision: "bf16-mixed" or "32-true".
        accelerator: "auto", "cpu" or "gpu".
        devices: number of devices (DDP past one).
        num_nodes: machines.
        seed: of weights, order and augmentation.
        validate_every: steps between validations (each writes a checkpoint).
        resume: "" starts anew, "last" goes on from the newest checkpoint in `output`, or a checkpoint's path.
    """

    output: str = "outputs/train"
    model_id: str = ""
    precision: str = "bf16-mixed"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    seed: int = 0
    validate_every: int = 1000
    resume: str = ""


@dataclass
class TrainConfig:
    """A whole training run.

    Attributes:
        model: what to train.
        data: what to learn from.
        optimizer: AdamW and its schedule.
        loss: loss weights (Eq. 6).
        thresholds: fusion thresholds used in validation.
        run: where and how.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    thresholds: FusionThresholds = field(default_factory=FusionThresholds)
    run: RunSettings = field(default_factory=RunSettings)

    @property
    def output(self) -> Path:
        return Path(self.run.output)

"""Everything a training run is told, typed once; YAML files and the command line fill it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.bag_index import BagOptions
from ..data.bag_topics import BagTopics
from ..data.transforms import Augmentation
from ..models.segments import FusionThresholds
from .criterion import LossWeights
from .panopticdepth_criterion import PanopticDepthLosses
from .realtime_panoptic_criterion import RealtimePanopticLosses

PRECISIONS = ("bf16-mixed", "32-true")


@dataclass
class ModelSettings:
    """What to train.

    Attributes:
        preset: a name of `dps_perception.models.families.PRESETS`; it names the family too.
        changes: settings of the preset to change, e.g. {num_groups: 4}.
        init_from: what to start from: the folder of an earlier run (its last.ckpt), a checkpoint (.ckpt) of dps_train
            or a weights file (.safetensors); "" starts fresh.
        backbone_weights: "" (none), "imagenet" (torchvision's default weights, downloaded) or the path of a .pth state
            dict of torchvision's model; `init_from` comes after it.
        freeze: parts of the network that keep their weights, e.g. [backbone, neck]; see `Network.freeze`.
        frozen_batch_norms: batch norms of the backbone keep their statistics and weights while the rest learns, as for
            batches of one image.
        label_space: label space of the data; "" takes the one of the data's format.
    """

    preset: str = "efficientdps_r18"
    changes: dict[str, Any] = field(default_factory=dict)
    init_from: str = ""
    backbone_weights: str = ""
    freeze: tuple[str, ...] = ()
    frozen_batch_norms: bool = False
    label_space: str = ""


@dataclass
class DataSettings:
    """What to learn from.

    Attributes:
        format: layout of `root`, a name of `dps_perception.data.datasets.FORMATS`; "dvps" is our own.
        root: folder of the dataset; with "dvps" one sub-folder for each split (write one with dps_synthesize).
        train_split: split to learn from.
        val_split: split to validate on.
        val_limit: images of it that each validation uses; 0 uses all.
        input_size: height and width of the network's input, multiples of 32.
        focal_px: focal length, in pixels of the network's input, to which depth is converted (see `augment`): that of
            the training camera once its images have the size at which the weights will run.
        augmentation: random changes.
        min_area_px: smallest segment that is a target, pixels at the input size.
        depth_stride: pixels between the depth targets, 4 or 1: 1 is depth fine-tuning at full resolution, and right
            for sparse depth (LiDAR), of which a stride of 4 sees one point in 16.
        min_depth_m: lower end of the depth range stated in the weights file, metres.
        workers: processes that load and augment.
        topics: of bags (format "bag"), where they are not found by type: image, camera_info, depth or cloud, panoptic.
        bag: how samples are made of bags: which images are kept, undistortion, occlusion, the validation share, ...
    """

    format: str = "dvps"
    root: str = "data/street"
    train_split: str = "train"
    val_split: str = "val"
    val_limit: int = 0
    input_size: tuple[int, int] = (512, 1024)
    focal_px: float = 2262.52 / 2
    augmentation: Augmentation = field(default_factory=Augmentation)
    min_area_px: int = 16
    depth_stride: int = 4
    min_depth_m: float = 0.5
    workers: int = 1
    topics: BagTopics = field(default_factory=BagTopics)
    bag: BagOptions = field(default_factory=BagOptions)


@dataclass
class OptimizerSettings:
    """The optimiser and its schedule.

    Attributes:
        name: "adamw" (paper of EfficientDPS), "adam" (PanopticDepth) or "sgd" with momentum 0.9 (Real-Time Panoptic);
            AdamW decays weights apart from the gradient, the others with it.
        learning_rate: peak learning rate.
        weight_decay: of matrices and kernels; biases and norms have none.
        batch_size: images per process and forward pass.
        accumulate: forward passes whose gradients are averaged for one optimiser step.
        steps: optimiser steps in all.
        schedule_steps: steps that the schedule spans; 0 for `steps`, more for a stage that ends before it is run down.
        warmup_steps: linear warm-up.
        schedule: "step" (paper: divided by 10 at each milestone) or "poly" (power 0.9 to zero).
        milestones: shares of the schedule's steps at which "step" divides (paper: 40 and 46 of 50 epochs).
        clip_norm: gradient norm limit; 0 for none.
    """

    name: str = "adamw"
    learning_rate: float = 5e-5
    weight_decay: float = 0.05
    batch_size: int = 4
    accumulate: int = 1
    steps: int = 10000
    schedule_steps: int = 0
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
        precision: one of `PRECISIONS`.
        accelerator: "auto", "cpu" or "gpu".
        devices: devices of each machine (DDP past one); torchrun's own count goes before it.
        num_nodes: machines; torchrun's own count goes before it.
        strategy: "auto" (DDP past one device) or any strategy name of Lightning.
        sync_batchnorm: "auto" (batch norm over all GPUs wherever there are several), "on" or "off".
        ema_decay: decay per step of the averaged weights (EMA) that are validated and written; 0 for none.
        seed: of weights, order and augmentation.
        validate_every: steps between validations (each writes a checkpoint).
        pictures: images of the validation split, evenly spaced, that each validation draws into `output`/pictures.
        resume: "" starts anew, "last" goes on from the newest checkpoint in `output`, or the path of a checkpoint or of
            a run's folder. The network, learning rate and weight decay must be the checkpoint's.
    """

    output: str = "outputs/train"
    model_id: str = ""
    precision: str = "bf16-mixed"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    sync_batchnorm: str = "auto"
    ema_decay: float = 0.0
    seed: int = 0
    validate_every: int = 1000
    pictures: int = 4
    resume: str = ""


@dataclass
class TrainConfig:
    """A whole training run.

    Attributes:
        model: what to train.
        data: what to learn from.
        optimizer: the optimiser and its schedule.
        loss, panopticdepth_loss, realtime_panoptic_loss: loss weights of each family; those of the preset's count.
        thresholds: fusion thresholds used in validation.
        run: where and how.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    panopticdepth_loss: PanopticDepthLosses = field(default_factory=PanopticDepthLosses)
    realtime_panoptic_loss: RealtimePanopticLosses = field(default_factory=RealtimePanopticLosses)
    thresholds: FusionThresholds = field(default_factory=FusionThresholds)
    run: RunSettings = field(default_factory=RunSettings)

    @property
    def output(self) -> Path:
        return Path(self.run.output)

"""What the numbers in the outputs mean: PanopticInfo, and vision_msgs/LabelInfo where vision_msgs is installed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA, Header

from dps_msgs.msg import ClassInfo, PanopticInfo

from ..labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID
from ..models.weights import ModelInfo
from .parameters import Parameters

try:
    import vision_msgs.msg as vision_msgs
except ImportError:  # not part of every installation; Nav2's semantic layer is the one that wants it
    vision_msgs = None


def panoptic_info(model: ModelInfo, parameters: Parameters, stamp: Time) -> PanopticInfo:
    """Classes, colours, divisor, void and what made them."""
    classes = []
    for class_id, info in enumerate(model.label_space.classes):
        red, green, blue = (float(c) / 255 for c in info.color)
        color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        classes.append(ClassInfo(class_id=class_id, name=info.name, is_thing=bool(info.is_thing), color=color))
    return PanopticInfo(
        header=Header(stamp=stamp),
        model_id=model.model_id,
        weights_sha256=model.weights_sha256,
        dataset=dataset_of(model),
        label_divisor=LABEL_DIVISOR,
        void_class_id=VOID_CLASS_ID,
        void_panoptic_id=VOID_PANOPTIC_ID,
        score_threshold=float(min(parameters.score_threshold_things, parameters.score_threshold_stuff)),
        min_depth=float(model.min_depth_m) if model.config.has_depth else math.nan,
        max_depth=float(model.max_depth_m) if model.config.has_depth else math.nan,
        classes=classes,
    )


def dataset_of(model: ModelInfo) -> str:
    """Name of the data that the weights were trained on; empty where the file does not say."""
    named = model.training.get("dataset")
    if named:
        return str(named)
    data = model.training.get("config", {}).get("data", {})
    return Path(str(data.get("root", ""))).name


def label_info(info: PanopticInfo) -> Any:
    """The same classes as vision_msgs/LabelInfo.

    Raises:
        AttributeError: vision_msgs is not installed; see `HAS_LABEL_INFO`.
    """
    classes = [vision_msgs.VisionClass(class_id=c.class_id, class_name=c.name) for c in info.classes]
    return vision_msgs.LabelInfo(header=info.header, class_map=classes, threshold=info.score_threshold)


HAS_LABEL_INFO = vision_msgs is not None and hasattr(vision_msgs, "LabelInfo")

"""The whole way of a frame, stage by stage: decode, resize, network, fusion, encode, cloud, publish."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ..camera import Intrinsics
from ..inference.predictor import Predictor
from ..models.efficientdps_config import EfficientDPSConfig
from ..models.weights import ModelInfo
from ..types import Prediction, Sample
from .messages import OUTPUTS, NodeSide, ros_node
from .subjects import is_random, name_of
from .synthetic import Look, network_outputs, predicted, wide_camera
from .timing import Effort, Stopwatch, Timing, repeat

NETWORK = "network"
NAMES = {"preprocess": "resize", "inference": NETWORK, "fusion": "fusion"}
"""Stages of `Prediction.timings_ms` -> as they are called here."""


@dataclass(frozen=True)
class Frames:
    """What goes through the stages.

    Attributes:
        sample: the image.
        outputs: topics that somebody subscribes to; empty leaves ROS out.
        point_stride: as the node's parameter.
        look: of the synthetic prediction that stands in for that of random weights.
    """

    sample: Sample
    outputs: Sequence[str] = OUTPUTS
    point_stride: int = 1
    look: Look = field(default_factory=Look)


def measure(predictor: Predictor, frames: Frames, effort: Effort) -> list[Timing]:
    """Every stage of one image, `effort.runs` times.

    With random weights, which keep no query, everything after the network works on a synthetic prediction, which looks
    like one of EfficientDPS; fusion of other families is then not timed.

    Raises:
        ConfigError: ROS is asked for and not there.
        BackendError: the backend can't run.
    """
    image, camera = frames.sample.image, frames.sample.intrinsics or wide_camera(frames.sample.image.shape[:2])
    predictor.warm_up()
    device = predictor.backend.device
    stand_in = None
    if is_random(predictor):
        space = predictor.model.label_space
        stand_in = network_outputs(space, predictor.input_size, frames.look, device)
    fused = _fusion_stands_in(predictor)
    with _node_side(predictor.model, frames, camera) as node:

        def frame(watch: Stopwatch) -> None:
            rgb = image if node is None else watch.run("decode", node.decode)
            prediction = predictor.predict(rgb, camera)
            for theirs, ours in NAMES.items():
                if stand_in is None or ours != "fusion":
                    watch.add(ours, prediction.timings_ms[theirs])
            if stand_in is not None and fused:
                prediction = watch.run("fusion", lambda: _fused(predictor, stand_in, rgb.shape[:2]))
            elif stand_in is not None:
                prediction = _fused(predictor, stand_in, rgb.shape[:2])
            if node is not None:
                node.send(watch, rgb, prediction)

        return repeat(frame, effort, device).timings(name_of(predictor))


def stand_in_note(predictor: Predictor, look: Look) -> str:
    """What `measure` timed where the weights are random."""
    if _fusion_stands_in(predictor):
        return f"Random weights keep no query: fusion and messages work on {look.kept} synthetic segments there"
    family = predictor.model.family
    return f"Random weights of {family}: messages work on {look.kept} synthetic segments there, and fusion is not timed"


def measure_after_network(
    model: ModelInfo, size_hw: tuple[int, int], frames: Frames, effort: Effort, device: torch.device
) -> list[Timing]:
    """Fusion and messages alone, of a synthetic prediction; image and network input are both of `size_hw`.

    Args:
        model: its label space is used, and the messages name it.
        size_hw: of `frames.sample.image` too.
        frames: `look` says how many segments there are.
        effort: see `Effort`.
        device: where the fusion runs.
    """
    space, image = model.label_space, frames.sample.image
    tensors = network_outputs(space, size_hw, frames.look, device)
    name = f"after the network {size_hw[0]}x{size_hw[1]}, {frames.look.kept} segments"
    with _node_side(model, frames, wide_camera(size_hw)) as node:

        def frame(watch: Stopwatch) -> None:
            rgb = image if node is None else watch.run("decode", node.decode)
            prediction = watch.run("fusion", lambda: predicted(tensors, space, size_hw, size_hw, model.max_depth_m))
            if node is not None:
                node.send(watch, rgb, prediction)

        return repeat(frame, effort, device).timings(name)


def _fusion_stands_in(predictor: Predictor) -> bool:
    """Whether the synthetic outputs are those of its family."""
    return predictor.model.family == EfficientDPSConfig.family


def _fused(predictor: Predictor, tensors: dict[str, torch.Tensor], image_hw: tuple[int, int]) -> Prediction:
    model = predictor.model
    return predicted(tensors, model.label_space, predictor.input_size, image_hw, model.max_depth_m)


@contextlib.contextmanager
def _node_side(model: ModelInfo, frames: Frames, camera: Intrinsics) -> Iterator[NodeSide | None]:
    if not frames.outputs:
        yield None
        return
    with ros_node() as node:
        stride = frames.point_stride
        yield NodeSide(node, frames.sample.image, camera, model, frames.outputs, point_stride=stride)

"""The publishers: what nobody subscribes to is neither computed nor sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode

from dps_msgs.msg import PanopticInfo, PipelineStats

from ..models.weights import ModelInfo
from . import info, qos
from .encode import NEED_DEPTH, OUTPUTS, Encoder
from .parameters import Parameters
from .scene import Scene


class Outputs:
    """All topics of one camera, below `~/`, or below `~/<name>/` where cameras are named.

    Frame by frame topics are silent while the node is not active; the latched ones speak from configure on.

    Args:
        node: that publishes.
        camera: name; empty where the node has one camera.
        parameters: qos_output, qos_output_depth.
        warn: called with (kind, text), throttled by the caller.
    """

    def __init__(
        self, node: LifecycleNode, camera: str, parameters: Parameters, warn: Callable[[str, str], None]
    ) -> None:
        self._node = node
        self._below = f"~/{camera}" if camera else "~"
        self._warn = warn
        self._profile = qos.profile(parameters.qos_output, parameters.qos_output_depth)
        self._publishers = {name: self._publisher(name, kind) for name, (kind, _) in OUTPUTS.items()}
        self._stats = self._publisher("stats", PipelineStats)
        self._panoptic_info = node.create_publisher(PanopticInfo, f"{self._below}/panoptic_info", qos.LATCHED)
        self._label_info: Any = None
        if info.HAS_LABEL_INFO:
            topic = f"{self._below}/label_info"
            self._label_info = node.create_publisher(info.vision_msgs.LabelInfo, topic, qos.LATCHED)
        self._encoder = Encoder()
        self._encoder.warm_up()

    def publish(self, scene: Scene) -> None:
        """Publish everything that somebody subscribes to; 3D is left out where the scene has no calibration."""
        for name, (_, encode) in OUTPUTS.items():
            publisher = self._publishers[name]
            if publisher.get_subscription_count() == 0:
                continue
            message = encode(self._encoder, scene)
            if message is not None:
                publisher.publish(message)
        self._encoder.forget()

    @property
    def wants_stats(self) -> bool:
        return bool(self._stats.get_subscription_count())

    def publish_stats(self, message: PipelineStats) -> None:
        """Publish the timings of a frame."""
        self._stats.publish(message)

    def publish_info(self, model: ModelInfo, parameters: Parameters, stamp: Time) -> None:
        """Publish what the numbers mean; kept for late subscribers."""
        self._encoder.depth_color_max_m = model.max_depth_m
        if not model.config.has_depth:
            topics = ", ".join(f"{self._below}/{name}" for name in NEED_DEPTH)
            self._warn("no depth", f"model '{model.model_id}' estimates no depth: {topics} stay silent")
        message = info.panoptic_info(model, parameters, stamp)
        self._panoptic_info.publish(message)
        if self._label_info is not None:
            self._label_info.publish(info.label_info(message))

    def close(self) -> None:
        """Destroy all publishers."""
        for publisher in [*self._publishers.values(), self._stats]:
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._panoptic_info)
        if self._label_info is not None:
            self._node.destroy_publisher(self._label_info)

    def _publisher(self, name: str, kind: type) -> Any:
        topic = self._node.resolve_topic_name(f"{self._below}/{name}")
        cure = "Set qos_output:=reliable, or ask for less (best_effort, volatile)"
        events = qos.publisher_events(self._node, topic, self._profile, cure, self._warn)
        return self._node.create_lifecycle_publisher(kind, topic, self._profile, event_callbacks=events)

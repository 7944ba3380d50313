"""Subscriptions to the image and its camera_info; the image's type is found out from who publishes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from . import qos
from .pairing import Pairing
from .parameters import Parameters

_TYPES = {"raw": Image, "compressed": CompressedImage}
_BY_NAME = {"sensor_msgs/msg/Image": "raw", "sensor_msgs/msg/CompressedImage": "compressed"}
_LOOK_EVERY_S = 0.1


class Inputs:
    """Subscribes to `image` and `camera_info` (remap them), of a named camera `<name>/image`, `<name>/camera_info`.

    Args:
        node: that subscribes, while started.
        camera: name; empty where the node has one camera.
        parameters: image_transport, sync_slop, camera_info_timeout, qos_input, qos_input_depth.
        on_frame: called with (Image or CompressedImage, CameraInfo or None).
        warn: called with (kind, text), throttled by the caller.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        parameters: Parameters,
        on_frame: Callable[[Any, CameraInfo | None], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._parameters = parameters
        self._on_frame = on_frame
        self._warn = warn
        self._base_topic = node.resolve_topic_name(f"{camera}/image" if camera else "image")
        self.image_topic = self._base_topic
        self.camera_info_topic = node.resolve_topic_name(f"{camera}/camera_info" if camera else "camera_info")
        self.transport: str | None = None
        self.pairing: Pairing | None = None
        self._subscriptions: list[Any] = []
        self._timers: list[Any] = []

    @property
    def started(self) -> bool:
        return self.pairing is not None

    @property
    def without_camera_info(self) -> bool:
        """True while images go on alone for want of a matching camera_info."""
        return self.pairing is not None and self.pairing.alone

    @property
    def jumps(self) -> int:
        """How often the images' stamps jumped back since the start."""
        return 0 if self.pairing is None else self.pairing.jumps

    def start(self) -> None:
        """Subscribe; without an image_transport, as soon as somebody publishes the image."""
        given = self._parameters
        self.pairing = Pairing(given.sync_slop, given.camera_info_timeout, self._on_frame, self._on_alone)
        self._subscribe(CameraInfo, self.camera_info_topic, self.pairing.camera_info, max(given.qos_input_depth, 10))
        self._every(min(given.camera_info_timeout / 4, 0.25), self.pairing.tick)
        if given.image_transport == "auto":
            self._every(_LOOK_EVERY_S, self._look_for_image)
            self._look_for_image()
        else:
            self._subscribe_image(given.image_transport, self._base_topic)

    def stop(self) -> None:
        """End all subscriptions; what waits for a camera_info is dropped."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._timers, self._subscriptions = [], []
        self.pairing = self.transport = None
        self.image_topic = self._base_topic

    def _every(self, period_s: float, callback: Callable[[], None]) -> None:
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._timers.append(self._node.create_timer(period_s, callback, clock=steady))

    def _look_for_image(self) -> None:
        """Subscribe to the image topic, or to <image>/compressed where only that is published."""
        if self.transport is not None:
            return
        for topic in (self._base_topic, f"{self._base_topic}/compressed"):
            found = {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}
            known = sorted(_BY_NAME[name] for name in found if name in _BY_NAME)
            if known:
                self._subscribe_image(known[-1], topic)  # raw before compressed
                return
            if found:
                self._warn(
                    "type", f"{topic} is published as {', '.join(sorted(found))}; remap 'image' to one of: "
                    f"{', '.join(_BY_NAME)}"
                )  # fmt: skip

    def _subscribe_image(self, transport: str, topic: str) -> None:
        assert self.pairing is not None
        self.transport, self.image_topic = transport, topic
        self._subscribe(_TYPES[transport], topic, self.pairing.image, self._parameters.qos_input_depth)
        self._node.get_logger().info(f"image: {topic} ({transport}), camera_info: {self.camera_info_topic}")

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], depth: int) -> None:
        ours = qos.profile(self._parameters.qos_input, depth)
        cure = "Set qos_input:=best_effort, which takes from every publisher"
        events = qos.subscription_events(self._node, topic, ours, cure, self._warn)
        self._subscriptions.append(self._node.create_subscription(kind, topic, callback, ours, event_callbacks=events))

    def _on_alone(self, why: str) -> None:
        self._warn(
            "camera_info",
            f"{self.camera_info_topic}: {why}; 2D outputs go on, points, boxes and positions are withheld and depth "
            "has the scale of the training camera. Remap 'camera_info' to the camera's, or set sync_slop",
        )

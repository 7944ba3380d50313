"""What the node has once for each camera: subscriptions, publishers and books; the model is shared by all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from ..models.weights import ModelInfo
from .diagnostics import Health, InputSituation
from .inputs import Inputs
from .outputs import Outputs
from .parameters import Parameters
from .worker import Counts


class Camera:
    """One camera of a node.

    Attributes:
        name: below which its topics are, `<name>/image` in and `~/<name>/panoptic` out; empty where the node has one
            camera, whose topics are `image` and `~/panoptic`.
        enabled: False while switched off by service.
        inputs: its subscriptions.
        outputs: its publishers, from configure to cleanup.
        health: its books.

    Args:
        node: that subscribes and publishes.
        name: see above.
        parameters: at start.
        on_frame: called with (this camera, Image or CompressedImage, CameraInfo or None).
        warn: called with (camera name, kind, text), throttled by the caller.
        counts: of this camera's frames.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        parameters: Parameters,
        on_frame: Callable[[Camera, Any, CameraInfo | None], None],
        warn: Callable[[str, str, str], None],
        counts: Callable[[], Counts],
    ) -> None:
        self.name = name
        self.enabled = True
        self.health = Health(counts)
        self.outputs: Outputs | None = None
        self._node = node
        self._warn = warn
        self.inputs = Inputs(node, name, parameters, lambda image, info: on_frame(self, image, info), self.warn)

    def warn(self, kind: str, text: str) -> None:
        """Warn of trouble with this camera, `kind` as in `Throttle`."""
        if kind == "qos":
            self.health.qos_error = text
        self._warn(self.name, kind, text)

    def open(self, parameters: Parameters) -> None:
        """Make the publishers."""
        self.outputs = Outputs(self._node, self.name, parameters, self.warn)

    def close(self) -> None:
        """Destroy the publishers."""
        outputs, self.outputs = self.outputs, None
        if outputs is not None:
            outputs.close()

    def announce(self, model: ModelInfo, parameters: Parameters) -> None:
        """Publish what the numbers mean."""
        if self.outputs is not None:
            self.outputs.publish_info(model, parameters, self._node.get_clock().now().to_msg())

    def situation(self, state: str) -> InputSituation:
        """For diagnostics; `state` is the node's."""
        return InputSituation(
            name=self.name,
            state=state if self.enabled or state != "active" else "disabled",
            image_topic=self.inputs.image_topic,
            camera_info_topic=self.inputs.camera_info_topic,
            transport=self.inputs.transport or "",
            without_camera_info=self.inputs.without_camera_info,
            jumps=self.inputs.jumps,
        )

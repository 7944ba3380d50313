"""What the node has once for each camera: subscriptions, publishers, tracks and books; the model is shared by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from .decode import Decoder
from .diagnostics import Health, InputSituation
from .inputs import Inputs
from .intake import Intake
from .motion import Motion
from .outputs import Outputs
from .parameters import Parameters
from .transforms import Transforms
from .worker import Counts


@dataclass(frozen=True)
class Line:
    """What a camera's frames pass through, from configure to cleanup."""

    intake: Intake
    motion: Motion
    outputs: Outputs


class Camera:
    """One camera of a node.

    Attributes:
        name: below which its topics are, `<name>/image` in and `~/<name>/panoptic` out; empty where the node has one
            camera, whose topics are `image` and `~/panoptic`.
        enabled: False while switched off by service.
        inputs: its subscriptions.
        line: see there; None outside configure to cleanup.
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
        self.line: Line | None = None
        self._node = node
        self._warn = warn
        self.inputs = Inputs(node, name, parameters, lambda image, info: on_frame(self, image, info), self.warn)

    def warn(self, kind: str, text: str) -> None:
        """Warn of trouble with this camera, `kind` as in `Throttle`."""
        if kind == "qos":
            self.health.qos_error = text
        self._warn(self.name, kind, text)

    def open(self, parameters: Parameters, decoder: Decoder, transforms: Transforms) -> None:
        """Make the publishers, and what leads to them."""
        intake = Intake(decoder, self.health, self.warn, lambda: self.inputs.image_topic)
        motion = Motion(transforms, self.health, self.warn)
        self.line = Line(intake, motion, Outputs(self._node, self.name, parameters, self.warn))

    def close(self) -> None:
        """Destroy the publishers."""
        line, self.line = self.line, None
        if line is not None:
            line.outputs.close()

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

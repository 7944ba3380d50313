"""All cameras of a node: opened and closed, started and paused, switched on and off together or one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool

from ..models.weights import ModelInfo
from .camera import Camera
from .decode import Decoder
from .diagnostics import Health, InputSituation
from .parameters import Parameters
from .throttle import Throttle
from .transforms import Transforms
from .worker import Counts


class Cameras:
    """The cameras, the transforms they share, and the services `~/enable` and `~/<name>/enable`.

    Attributes:
        all: in the order of the parameter `cameras`.
        enabled: False while all are switched off by service.

    Args:
        node: that subscribes, publishes and serves.
        parameters: at start.
        on_frame: called with (camera, Image or CompressedImage, CameraInfo or None).
        throttle: warns.
        counts: of the frames of the camera of that name.
        drain: sees the frames in work of the camera of that name published; of all cameras for None.
        state: label of the node's lifecycle state.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        on_frame: Callable[[Camera, Any, CameraInfo | None], None],
        throttle: Throttle,
        counts: Callable[[str], Counts],
        drain: Callable[[str | None], None],
        state: Callable[[], str],
    ) -> None:
        self.enabled = True
        self._node, self._throttle, self._drain, self._state = node, throttle, drain, state
        self._parameters = parameters
        self._transforms = Transforms(node, partial(self._warn, ""))
        self.all = [
            Camera(node, name, parameters, on_frame, self._warn, partial(counts, name))
            for name in parameters.camera_names
        ]
        node.create_service(SetBool, "~/enable", self._on_enable)
        for camera in self.all:
            if camera.name:
                node.create_service(SetBool, f"~/{camera.name}/enable", partial(self._on_enable_one, camera))

    def open(self, parameters: Parameters, decoder: Decoder) -> None:
        """Make all publishers."""
        for camera in self.all:
            camera.open(parameters, decoder, self._transforms)

    def close(self) -> None:
        """Destroy all publishers."""
        for camera in self.all:
            camera.close()

    def start(self) -> None:
        """Subscribe to those that are switched on, with new books for all."""
        for camera in self.all:
            camera.health.reset()
            if self.enabled and camera.enabled:
                camera.inputs.start()
        self._listen()

    def pause(self, camera: Camera | None = None) -> None:
        """Unsubscribe (from one camera) and see the frames in work published."""
        for each in self.all if camera is None else [camera]:
            each.inputs.stop()
        self._drain(None if camera is None else camera.name)
        self._listen()

    def use(self, parameters: Parameters) -> None:
        """Take other parameters."""
        self._parameters = parameters
        self._listen()

    def announce(self, model: ModelInfo, parameters: Parameters) -> None:
        """Publish what the numbers of all outputs mean."""
        for camera in self.all:
            if camera.line is not None:
                camera.line.outputs.publish_info(model, parameters, self._node.get_clock().now().to_msg())

    def frame_failed(self, name: str, error: Exception, text: str) -> None:
        """Note and tell that a frame of the camera of that name failed."""
        for camera in self.all:
            if camera.name == name:
                camera.health.frame_failed(text)
                camera.warn(type(error).__name__, f"frame skipped: {text}")

    def situations(self) -> list[tuple[Health, InputSituation]]:
        """For diagnostics."""
        state = self._state()
        if state == "active" and not self.enabled:
            state = "disabled"
        return [(camera.health, camera.situation(state)) for camera in self.all]

    def _listen(self) -> None:
        """Hear transforms while a camera is started and something needs them."""
        started = any(camera.inputs.started for camera in self.all)
        self._transforms.listen(started and self._parameters.needs_transforms)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.enabled = bool(request.data)
        for camera in self.all:
            self._follow(camera)
        response.success, response.message = True, f"{'enabled' if self.enabled else 'disabled'}, {self._state()}"
        return response

    def _on_enable_one(self, camera: Camera, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        camera.enabled = bool(request.data)
        self._follow(camera)
        which = "enabled" if camera.enabled and self.enabled else "disabled"
        response.success, response.message = True, f"{camera.name} {which}, {self._state()}"
        return response

    def _follow(self, camera: Camera) -> None:
        """Start or pause a camera as the services last said."""
        wanted = self.enabled and camera.enabled
        if self._state() == "active" and wanted != camera.inputs.started:
            if wanted:
                camera.inputs.start()
                self._listen()
            else:
                self.pause(camera)

    def _warn(self, camera: str, kind: str, text: str) -> None:
        of_camera = f"{camera}: " if camera else ""
        self._throttle(of_camera + kind, of_camera + text)

"""A test stand: the node in a process of its own, and here the camera that feeds it and a subscriber to its outputs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..errors import DpsError
from ..inference.sources import open_source
from ..models.weights import default_weights
from ..node import qos
from ..node.arrivals import Arrivals
from ..node.camera_messages import camera_messages
from ..node.demo_processes import Children
from ..node.spin import spin_until
from .peer import NODE, SIZE
from .process import Held, held_by

T = TypeVar("T")

NODE_MODULE = "dps_perception.node.main"
IMAGES = 4
START_S, ANSWER_S = 180.0, 30.0
SMALL = {
    "device": "cpu",
    "input_height": str(SIZE[0]),
    "input_width": str(SIZE[1]),
    "diagnostics_period": "0.2",
    # At this size the network is sure of little: without thresholds there are instances all the same.
    **{f"score_threshold_{kind}": "0.0" for kind in ("things", "stuff")},
    "mask_threshold": "0.0",
    "overlap_threshold": "0.0",
}
"""Parameters of a node that is quick: the shipped weights at a size at which a frame takes some 20 ms."""


class TrialError(DpsError):
    """A trial could not go on, or what had to hold did not."""


def some(found: Sequence[T], what: str) -> Sequence[T]:
    """`found`, for figures that are made of it.

    Raises:
        TrialError: there is nothing in it.
    """
    if not found:
        raise TrialError(f"there are no {what}")
    return found


@dataclass(frozen=True)
class Setup:
    """What a trial needs around it; trials with equal ones share a stand.

    Attributes:
        parameters: of the node; `weights` is set to a copy of the shipped ones.
        outputs: that are subscribed to, beside ~/stats.
        module: that runs the node.
        compressed: the camera sends JPEG.
    """

    parameters: Mapping[str, str] = field(default_factory=lambda: SMALL)
    outputs: tuple[str, ...] = ("panoptic",)
    module: str = NODE_MODULE
    compressed: bool = False


class Stand:
    """Starts the node and waits until it takes frames; leaving the `with` block ends it.

    Args:
        folder: for weights and logs.
        setup: see there.

    The node gets this process's environment, in which `ros_environment` should be.

    Raises:
        TrialError: the node did not take up work.
    """

    def __init__(self, folder: Path, setup: Setup) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.setup = setup
        self.folder = folder
        self.weights = folder / "weights.safetensors"
        shutil.copy(default_weights(), self.weights)
        self.children = Children(folder, {})
        self.diagnostics: list[DiagnosticArray] = []
        self.sent: list[int] = []
        self.started_s = 0.0
        self._starts = 0
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node("dps_trials", context=self._context)
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)
        source = open_source("street:test", split="", size=SIZE, limit=IMAGES)
        self._frames = [camera_messages(each.image, each.intrinsics) for each in source if each.intrinsics is not None]
        self._jpegs = [_jpeg(image) for image, _ in self._frames]
        self.listen(setup.outputs)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 50)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", qos.profile("reliable", 1))
        self.images: Any = None
        self.connect_camera()
        self._change: Any = self.node.create_client(ChangeState, f"{NODE}/change_state")
        self._state: Any = self.node.create_client(GetState, f"{NODE}/get_state")
        self._set: Any = self.node.create_client(SetParameters, f"{NODE}/set_parameters")

    def __enter__(self) -> Stand:
        try:
            self.children.__enter__()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.children.__exit__()
        self.executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    # The node's process

    @property
    def name(self) -> str:
        """Of the child process that runs now; each start has its own log."""
        return f"node{self._starts}"

    @property
    def pid(self) -> int:
        return self.children.pid(self.name)

    @property
    def alive(self) -> bool:
        return self.children.running(self.name)

    @property
    def log(self) -> str:
        return self.children.log(self.name).read_text(errors="replace")

    def launch(self, **parameters: str) -> None:
        """Start another process of the node, and don't wait for it."""
        self._starts += 1
        given = {**self.setup.parameters, "weights": str(self.weights), **parameters}
        words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
        self.children.start(self.name, self.setup.module, "--ros-args", *words)

    def start(self) -> None:
        """Start the node and wait until a frame has come out of it."""
        began = time.monotonic()
        self.launch()
        self.meet(START_S)
        self.settle()
        self.started_s = time.monotonic() - began

    def meet(self, limit_s: float = ANSWER_S) -> None:
        """Wait until the node has subscribed to both topics."""
        self.wait(lambda: self.images.get_subscription_count() > 0 and self.infos.get_subscription_count() > 0,
                  "the node subscribes", limit_s)  # fmt: skip

    def settle(self) -> None:
        """Send frames, which don't count, until one has come out with all outputs.

        Both sides find each other at different moments, so "somebody subscribes" does not say that all arrives.

        Raises:
            TrialError: none comes out, or the node ended.
        """
        sent, began = list(self.sent), time.monotonic()
        while self.through(1, limit_s=0.5):
            if not self.alive or time.monotonic() - began > START_S:
                raise TrialError(f"no frame comes out: {self.children.last_words(self.name)}")
        self.sent = sent

    def held(self) -> Held:
        """What the node's process holds now."""
        return held_by(self.pid)

    # Frames

    def listen(self, outputs: Sequence[str]) -> None:
        """Subscribe to these outputs and ~/stats, instead of what there is."""
        for subscription in list(self.node.subscriptions):
            if subscription.topic_name.startswith(f"{NODE}/"):
                self.node.destroy_subscription(subscription)
        self.arrivals = Arrivals(self.node, NODE, outputs)

    def connect_camera(self) -> None:
        """A new publisher of images, in place of the one there is."""
        if self.images is not None:
            self.node.destroy_publisher(self.images)
        kind, topic = (CompressedImage, "image/compressed") if self.setup.compressed else (Image, "image")
        self.images = self.node.create_publisher(kind, topic, qos.profile("reliable", 1))

    def frame(self) -> tuple[Any, CameraInfo]:
        """The next good image and its camera_info, without stamps."""
        index = len(self.sent) % len(self._frames)
        image, info = self._frames[index]
        return (self._jpegs[index] if self.setup.compressed else image), info

    def send(self, stamp_ns: int | None = None) -> int:
        """Send a good frame; its stamp, by default now."""
        image, info = self.frame()
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        self.publish(image, info, stamp_ns)
        self.sent.append(stamp_ns)
        return stamp_ns

    def publish(self, image: Any, info: CameraInfo | None, stamp_ns: int) -> None:
        """Publish an image and its camera_info, with this stamp."""
        for message in (info, image):
            if message is not None:
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        if info is not None:
            self.infos.publish(info)
        self.images.publish(image)

    def came(self, stamp_ns: int) -> bool:
        """Whether all outputs of a frame are here. Looks at the latest only."""
        rows = self.arrivals.outputs.values()
        stats = any(row["stamp_ns"] == stamp_ns for row in self.arrivals.stats[-20:])
        return stats and all(any(stamp == stamp_ns for stamp, _ in arrived[-20:]) for arrived in rows)

    def through(self, frames: int, limit_s: float = 10.0, stamps: Sequence[int] = ()) -> int:
        """Send frames one after the other, each when the one before has come out; how many did not in time."""
        lost = 0
        for index in range(frames):
            stamp = self.send(stamps[index] if stamps else None)
            lost += not self.until(lambda stamp=stamp: self.came(stamp), limit_s)  # type: ignore[misc]
        return lost

    def stream(self, seconds: float, rate_hz: float, meanwhile: Callable[[], Any] | None = None) -> list[int]:
        """Send frames at a rate, whatever comes of them; `meanwhile` is called before each. Their stamps."""
        stamps = []
        due = end = time.monotonic()
        end += seconds
        while due < end:
            if meanwhile is not None:
                meanwhile()
            stamps.append(self.send())
            due = max(due + 1 / rate_hz, time.monotonic() - 1 / rate_hz)
            spin_until(self.executor, lambda: False, due - time.monotonic())
        return stamps

    def outputs_since(self, stamp_ns: int) -> list[int]:
        """Stamps of the first output's messages that are `stamp_ns` or later."""
        return [stamp for stamp, _ in self.arrivals.outputs[self.setup.outputs[0]] if stamp >= stamp_ns]

    # Questions to the node

    def until(self, condition: Callable[[], bool], limit_s: float = ANSWER_S) -> bool:
        return spin_until(self.executor, condition, limit_s)

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = ANSWER_S) -> None:
        """Wait for a condition.

        Raises:
            TrialError: it did not come true, or the node ended.
        """
        if not self.until(lambda: condition() or not self.alive, limit_s) or not condition():
            ended = "" if self.alive else "; the node has ended"
            raise TrialError(f"not within {limit_s:g} s: {what}{ended}; its log: {self.children.last_words(self.name)}")

    def call(self, client: Any, request: Any, limit_s: float = ANSWER_S) -> Any:
        """The answer of a service."""
        self.wait(client.service_is_ready, f"service {client.srv_name}", limit_s)
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {client.srv_name}", limit_s)
        return future.result()

    def ask(self, kind: type, name: str, **request: Any) -> Any:
        """The answer of one of the node's services, such as "reload_model"."""
        client: Any = self.node.create_client(kind, f"{NODE}/{name}")
        try:
            return self.call(client, kind.Request(**request))  # type: ignore[attr-defined]
        finally:
            self.node.destroy_client(client)

    def change(self, transition: str) -> bool:
        """Ask for a lifecycle transition; whether it was made."""
        request = ChangeState.Request()
        request.transition.label = transition
        return bool(self.call(self._change, request).success)

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return str(self.call(self._state, GetState.Request()).current_state.label)

    def set(self, **values: Any) -> list[str]:
        """Set parameters; the reasons of those that were refused."""
        request = SetParameters.Request(
            parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        )
        return [result.reason for result in self.call(self._set, request).results if not result.successful]

    def status(self, part: str) -> DiagnosticStatus:
        """The latest diagnostics of "input", "processing" or "model"."""
        name = f"{NODE[1:]}: {part}"
        found = (status for array in reversed(self.diagnostics) for status in array.status if status.name == name)
        return next(found, DiagnosticStatus(name=name))

    def value(self, part: str, key: str) -> str:
        """A value of `status`."""
        return next((pair.value for pair in self.status(part).values if pair.key == key), "")


def _jpeg(image: Image) -> CompressedImage:
    rgb = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    message = CompressedImage(format="rgb8; jpeg compressed bgr8", header=image.header)
    message.data.frombytes(encoded.tobytes())
    return message

"""The node's part of the way, in this process: its decoder, its encoder, and publishers as it has them.

ROS is imported when it is used, so that networks can be measured without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from ..errors import ConfigError, nearest
from ..models.weights import ModelInfo
from ..types import Prediction
from .timing import Stopwatch

CLOUD = "points"
OUTPUTS = ("panoptic", "depth", "instances", CLOUD)
NOTE = "Published without a subscriber: serialised, but not carried to another process"


class NodeSide:
    """Decodes, encodes and publishes one frame after another, as the node does.

    Args:
        node: a plain rclpy node.
        rgb: the camera's image, (H, W, 3) uint8.
        intrinsics: its camera.
        model: for label space and name.
        outputs: topics below `~/` that somebody is taken to subscribe to.
        parameters: of the node, where they differ from the defaults, e.g. point_stride.

    Raises:
        ConfigError: an unknown output.
    """

    def __init__(
        self, node: Any, rgb: NDArray[np.uint8], intrinsics: Intrinsics, model: ModelInfo,
        outputs: Sequence[str] = OUTPUTS, **parameters: Any,
    ) -> None:  # fmt: skip
        from ..node import decode, encode, pipeline, qos
        from ..node.camera_messages import camera_messages
        from ..node.parameters import Parameters

        for name in outputs:
            if name not in encode.OUTPUTS:
                raise ConfigError(
                    f"no output '{name}'{nearest(name, encode.OUTPUTS)} Valid: {', '.join(encode.OUTPUTS)}"
                )
        values = Parameters(**parameters)
        self._view = pipeline.view_of(values)
        self._decoder, self._encoder = decode.Decoder(), encode.Encoder(model.max_depth_m)
        profile = qos.profile(values.qos_output, values.qos_output_depth)
        self._encode = {name: encode.OUTPUTS[name] for name in encode.OUTPUTS if name in outputs}
        self._publishers = {
            name: node.create_publisher(kind, f"~/{name}", profile) for name, (kind, _) in self._encode.items()
        }
        self._model, self._intrinsics = model, intrinsics
        self.image, self._camera_info = camera_messages(rgb, intrinsics)

    def decode(self) -> NDArray[np.uint8]:
        """The image's pixels."""
        return self._decoder.rgb(self.image)

    def send(self, watch: Stopwatch, rgb: NDArray[np.uint8], prediction: Prediction) -> None:
        """Encode and publish what the outputs ask for; the times go to "encode ...", "cloud" and "publish"."""
        from ..node.scene import Scene

        scene = Scene(
            self.image.header, rgb, prediction, self._intrinsics, self._camera_info, self._model.label_space,
            self._model.model_id, self._view, has_depth=self._model.config.has_depth,
        )  # fmt: skip
        made = {}
        for name, (_, make) in self._encode.items():
            stage = "cloud" if name == CLOUD else f"encode {name}"
            made[name] = watch.run(stage, lambda make=make: make(self._encoder, scene))  # type: ignore[misc]
        ready = {name: message for name, message in made.items() if message is not None}
        watch.run("publish", lambda: [self._publishers[name].publish(message) for name, message in ready.items()])
        self._encoder.forget()


@contextlib.contextmanager
def ros_node(name: str = "dps_benchmark") -> Iterator[Any]:
    """A node in a ROS context of its own.

    Raises:
        ConfigError: ROS is not installed, or dps_msgs is not built.
    """
    if problem := missing():
        raise ConfigError(problem)
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node(name, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def missing() -> str:
    """ "" where ROS is there, otherwise what to do about it."""
    try:
        import rclpy  # noqa: F401

        import dps_msgs.msg  # noqa: F401
    except (ImportError, OSError) as error:
        return (
            f"decode, encode, cloud and publish need ROS 2 and dps_msgs ({error}): source a workspace that has them, "
            "or run make setup; --no-ros leaves these stages out"
        )
    return ""

"""What one camera's frames need to know of motion: where 3D outputs are placed, and which things were there before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from ..data.tf_tree import TransformError
from ..inference.tracking import Tracker
from ..types import Frame
from .diagnostics import Health
from .parameters import Parameters
from .scene import Placement, Scene
from .transforms import Transforms

Place = Callable[[], Placement | None]
Track = Callable[[Scene], Mapping[int, int]]


class Motion:
    """Placements and tracks of one camera, frame after frame on one thread (not the executor's: look-ups may wait).

    Args:
        transforms: of the node.
        health: keeps the books.
        warn: called with (kind, text), throttled by the caller.
    """

    def __init__(self, transforms: Transforms, health: Health, warn: Callable[[str, str], None]) -> None:
        self._transforms = transforms
        self._health = health
        self._warn = warn
        self._tracker = Tracker()

    def of(self, header: Header, frame: Frame, parameters: Parameters) -> tuple[Place | None, Track | None]:
        """`place` and `track` of a frame's Scene; None where the parameters don't ask for them.

        Args:
            header: of the image outputs.
        """
        place: Place | None = None
        track: Track | None = None
        if parameters.target_frame:
            place = partial(self._place, header, frame, parameters)
        else:
            self._health.transform_error = ""
        if parameters.tracking:
            track = partial(self._track, frame, parameters)
        else:
            self._tracker.forget()
        return place, track

    def _place(self, header: Header, frame: Frame, parameters: Parameters) -> Placement | None:
        target = parameters.target_frame
        try:
            pose = self._pose(target, frame, parameters)
        except TransformError as error:
            text = (
                f"image at {frame.stamp_ns / 1e9:.3f} s: points, instances and markers are withheld, since the pose of "
                f"'{frame.frame_id}' in target_frame '{target}' is not known: {error}. Look with `ros2 run tf2_ros "
                f"tf2_echo {target} {frame.frame_id}`; where it only comes late, raise transform_timeout"
            )
            self._health.transform_failed(text)
            self._warn("transform", text)
            return None
        self._health.transform_error = ""
        return Placement(Header(stamp=header.stamp, frame_id=target), pose)

    def _track(self, frame: Frame, parameters: Parameters, scene: Scene) -> Mapping[int, int]:
        pose = None
        if parameters.tracking_frame and scene.intrinsics is not None:
            try:
                pose = self._pose(parameters.tracking_frame, frame, parameters)
            except TransformError as error:
                self._warn(
                    "tracking",
                    f"image at {frame.stamp_ns / 1e9:.3f} s: tracking goes on without the camera's motion, since the "
                    f"pose of '{frame.frame_id}' in tracking_frame '{parameters.tracking_frame}' is not known: {error}",
                )
        return self._tracker.update(
            scene.panoptic, scene.raw_depth_m, scene.intrinsics, pose, frame.stamp_ns, scene.label_space
        )

    def _pose(self, target: str, frame: Frame, parameters: Parameters) -> NDArray[np.float64]:
        return self._transforms.lookup(target, frame.frame_id, frame.stamp_ns, parameters.transform_timeout)

"""A scene as ROS messages, made again and again in the same memory: pixels are written to where they are sent from."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from dps_msgs.msg import InstanceArray

from ..camera import Intrinsics
from ..evaluation.pictures import color_depth, overlay
from ..kernels.cloud import POINT_DTYPE, fill_cloud
from ..kernels.surfaces import Scratch
from ..labels import CITYSCAPES, LabelSpace
from ..types import Prediction, Segment
from .calibration import scaled_camera_info
from .instances import instance_array
from .scene import Placement, Scene, View

BIG_ENDIAN = sys.byteorder == "big"
POINT_FIELDS = [
    PointField(
        name=name,
        offset=offset,
        datatype=PointField.FLOAT32 if kind.itemsize == 4 else PointField.UINT16,  # rgb: a float's bits, as in PCL
        count=1,
    )
    for name, (kind, offset, *_) in (POINT_DTYPE.fields or {}).items()
]
BOX_ALPHA = 0.35
NAME_ABOVE_M = 0.2
_LARGEST_MARKER_ID = 2**31 - 1


class Encoder:
    """Makes the messages of one scene after another.

    Images and clouds are the same message each time: publish (or copy) it before asking for that of the next scene.
    """

    def __init__(self, depth_color_max_m: float = 80.0) -> None:
        self.depth_color_max_m = depth_color_max_m
        self._kept: dict[str, Image | PointCloud2] = {}
        self._instances: tuple[Scene, InstanceArray] | None = None
        self._scratch = Scratch()

    def panoptic(self, scene: Scene) -> Image:
        """16UC1: class id * 256 + instance id, 65535 void."""
        message, pixels = self._image("panoptic", scene, "16UC1", np.uint16)
        pixels[...] = scene.panoptic
        return message

    def semantic(self, scene: Scene) -> Image:
        """mono8: class ids, 255 void."""
        message, pixels = self._image("semantic", scene, "mono8", np.uint8)
        np.right_shift(scene.panoptic, 8, out=pixels, casting="unsafe")
        return message

    def confidence(self, scene: Scene) -> Image:
        """mono8: 0..255 for 0..1."""
        message, pixels = self._image("confidence", scene, "mono8", np.uint8)
        cv2.convertScaleAbs(scene.confidence, dst=pixels, alpha=255.0)
        return message

    def depth(self, scene: Scene) -> Image | None:
        """32FC1: metres along z, not finite as REP 118 says; None where the model estimates no depth."""
        if not scene.has_depth:
            return None
        message, pixels = self._image("depth", scene, "32FC1", np.float32)
        scene.write_depth(pixels)
        return message

    def overlay(self, scene: Scene) -> Image:
        """rgb8: classes and instances over the image."""
        message, pixels = self._image("overlay", scene, "rgb8", np.uint8, 3)
        overlay(scene.rgb, scene.panoptic, scene.label_space, out=pixels)
        return message

    def depth_color(self, scene: Scene) -> Image | None:
        """rgb8: depth in colours; None where the model estimates none."""
        if not scene.has_depth:
            return None
        far = scene.view.max_depth_m or self.depth_color_max_m
        message, pixels = self._image("depth_color", scene, "rgb8", np.uint8, 3)
        color_depth(scene.depth_m, far, min(2.0, far / 10), out=pixels)
        return message

    def camera_info(self, scene: Scene) -> CameraInfo | None:
        """Calibration of the output grid; None without a usable one."""
        if scene.camera_info is None:
            return None
        return scaled_camera_info(scene.camera_info, scene.size_hw, scene.header)

    def points(self, scene: Scene) -> PointCloud2 | None:
        """Organised cloud, x y z NaN where depth is not valid; None without depth, calibration or placement."""
        if not scene.has_depth or scene.intrinsics is None or scene.placement is None:
            return None
        stride = scene.view.point_stride
        height, width = (-(-size // stride) for size in scene.size_hw)
        message = self._message("points", PointCloud2, height * width * POINT_DTYPE.itemsize)
        message.header = scene.placement.header
        message.height, message.width = height, width
        message.fields, message.is_bigendian, message.is_dense = POINT_FIELDS, BIG_ENDIAN, False
        message.point_step, message.row_step = POINT_DTYPE.itemsize, POINT_DTYPE.itemsize * width
        cloud = np.frombuffer(message.data, POINT_DTYPE).reshape(height, width)
        least = scene.view.min_point_confidence
        sure = (scene.confidence, least) if least > 0 else None
        pixels = scene.raw_depth_m, scene.rgb, scene.panoptic
        fill_cloud(cloud, *pixels, scene.intrinsics, scene.point_rule, stride, sure, scene.placement.pose)
        return message

    def instances(self, scene: Scene) -> InstanceArray | None:
        """All segments; computed once for a scene. None without a placement: an empty one would say "nothing there"."""
        if scene.placement is None:
            return None
        if self._instances is None or self._instances[0] is not scene:
            message = instance_array(
                scene.panoptic,
                scene.raw_depth_m,
                scene.segments,
                scene.intrinsics,
                scene.label_space,
                scene.placement.header,
                scene.model_id,
                rule=scene.depth_rule,
                masks=scene.view.masks,
                scratch=self._scratch,
                pose=scene.placement.pose,
                track_ids=scene.track_ids,
            )
            self._instances = scene, message
        return self._instances[1]

    def markers(self, scene: Scene) -> MarkerArray | None:
        """Boxes and names of things for RViz; None without depth, a usable calibration or placement."""
        if not scene.has_depth:
            return None
        instances = self.instances(scene)
        if scene.intrinsics is None or scene.placement is None or instances is None:
            return None
        return box_markers(instances, scene.placement, scene.label_space)

    def warm_up(self) -> None:
        """Compile what makes messages, or load it from disk, so that the first frame doesn't wait for it."""
        shape = (2, 2)
        car = Segment(13 * 256 + 1, 13, 1, True, 1.0, 4)
        prediction = Prediction(
            np.full(shape, car.panoptic_id, np.uint16), np.ones(shape, np.float32), np.ones(shape, np.float32), (car,)
        )
        intrinsics, rgb = Intrinsics(1.0, 1.0, 0.5, 0.5, *shape), np.zeros((*shape, 3), np.uint8)
        scene = Scene(Header(), rgb, prediction, intrinsics, None, CITYSCAPES, "", View())
        for encode in (self.depth, self.points, self.instances, self.overlay, self.depth_color):
            encode(scene)
        self.forget()

    def forget(self) -> None:
        """Let the last scene go."""
        self._instances = None

    def _image(
        self, name: str, scene: Scene, encoding: str, dtype: type[np.generic], channels: int = 1
    ) -> tuple[Image, NDArray[Any]]:
        """The image message of that name, and its pixels to write to, (H, W) or (H, W, channels)."""
        height, width = scene.size_hw
        step = width * channels * np.dtype(dtype).itemsize
        message = self._message(name, Image, height * step)
        message.header = scene.header
        message.height, message.width, message.step = height, width, step
        message.encoding, message.is_bigendian = encoding, int(BIG_ENDIAN)
        shape = (height, width) if channels == 1 else (height, width, channels)
        return message, np.frombuffer(message.data, dtype).reshape(shape)

    def _message(self, name: str, kind: type[Any], size: int) -> Any:
        """The message of that name with `size` bytes of data.

        It is filled where it is: both its constructor and its setter copy the array that they are given.
        """
        message = self._kept.get(name)
        if message is None or len(message.data) != size:
            message = kind()
            message.data.frombytes(bytes(size))
            self._kept[name] = message
        return message


def box_markers(instances: InstanceArray, placement: Placement, label_space: LabelSpace) -> MarkerArray:
    """A translucent box and a name for each thing with a box, after one marker that deletes those of the last frame.

    Tracked things have their track's number as id and in their name, others their panoptic id.
    """
    header, up = placement.header, -placement.pose[:3, 1]  # optical y points down
    axis = int(np.abs(up).argmax())
    message = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for instance in instances.instances:
        if not instance.has_box:
            continue
        red, green, blue = (float(c) / 255 for c in label_space.classes[instance.class_id].color)
        marker_id = (instance.track_id or instance.panoptic_id) & _LARGEST_MARKER_ID
        box = Marker(header=header, ns="boxes", id=marker_id, type=Marker.CUBE, action=Marker.ADD)
        box.pose = instance.box_center
        size = instance.box_size
        box.scale = Vector3(x=max(size.x, 0.01), y=max(size.y, 0.01), z=max(size.z, 0.01))  # RViz refuses 0
        box.color = ColorRGBA(r=red, g=green, b=blue, a=BOX_ALPHA)
        name = Marker(header=header, ns="names", id=marker_id, action=Marker.ADD)
        name.type = Marker.TEXT_VIEW_FACING
        number = f" #{instance.track_id}" if instance.track_id else ""
        name.text = f"{instance.class_name}{number} {instance.depth.median:.1f} m"
        middle, extent = instance.box_center.position, (size.x, size.y, size.z)
        place = [middle.x, middle.y, middle.z]
        place[axis] += math.copysign(extent[axis] / 2 + NAME_ABOVE_M, up[axis])
        name.pose.position.x, name.pose.position.y, name.pose.position.z = place
        name.scale.z = 0.4
        name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        message.markers += [box, name]
    return message


NEED_DEPTH = ("depth", "depth_color", "points", "markers")
"""Outputs that a model without depth leaves out."""
OUTPUTS: dict[str, tuple[type, Callable[[Encoder, Scene], Any]]] = {
    "panoptic": (Image, Encoder.panoptic),
    "depth": (Image, Encoder.depth),
    "camera_info": (CameraInfo, Encoder.camera_info),
    "semantic": (Image, Encoder.semantic),
    "confidence": (Image, Encoder.confidence),
    "instances": (InstanceArray, Encoder.instances),
    "markers": (MarkerArray, Encoder.markers),
    "points": (PointCloud2, Encoder.points),
    "overlay": (Image, Encoder.overlay),
    "depth_color": (Image, Encoder.depth_color),
}
"""Topic below `~/`, type, and what makes the message (None: withheld for want of a calibration or transform), in the
order in which they are published: what is small and acted upon before what is large or only looked at."""

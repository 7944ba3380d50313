"""A scene as ROS messages, filled directly: numbers go into an `array.array` in one pass, without cv_bridge."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from dps_msgs.msg import InstanceArray

from ..camera import Intrinsics
from ..evaluation.pictures import color_depth, overlay
from .calibration import scaled_camera_info
from .instances import instance_array
from .scene import Scene

POINT_FIELDS = (
    ("x", PointField.FLOAT32, np.float32),
    ("y", PointField.FLOAT32, np.float32),
    ("z", PointField.FLOAT32, np.float32),
    ("rgb", PointField.FLOAT32, np.uint32),  # 0x00RRGGBB in the bits of a float, as PCL and RViz read it
    ("label", PointField.UINT16, np.uint16),
    ("instance", PointField.UINT16, np.uint16),
)
POINT_DTYPE = np.dtype([(name, kind) for name, _, kind in POINT_FIELDS])
BOX_ALPHA = 0.35


class Encoder:
    """Makes the messages of one scene after another.

    Image and cloud buffers are kept and used again: publish (or copy) a message before asking for the same one of
    the next scene.
    """

    def __init__(self, depth_color_max_m: float = 80.0) -> None:
        self.depth_color_max_m = depth_color_max_m
        self._buffers: dict[str, array.array[int]] = {}
        self._instances: tuple[Scene, InstanceArray] | None = None

    def panoptic(self, scene: Scene) -> Image:
        """16UC1: class id * 256 + instance id, 65535 void."""
        return self._image("panoptic", scene, scene.panoptic, "16UC1")

    def semantic(self, scene: Scene) -> Image:
        """mono8: class ids, 255 void."""
        return self._image("semantic", scene, scene.semantic, "mono8")

    def confidence(self, scene: Scene) -> Image:
        """mono8: 0..255 for 0..1."""
        return self._image("confidence", scene, scene.confidence, "mono8")

    def depth(self, scene: Scene) -> Image:
        """32FC1: metres along z, not finite as REP 118 says."""
        return self._image("depth", scene, scene.depth_m, "32FC1")

    def overlay(self, scene: Scene) -> Image:
        """rgb8: classes and instances over the image."""
        return self._image("overlay", scene, overlay(scene.rgb, scene.panoptic, scene.label_space), "rgb8")

    def depth_color(self, scene: Scene) -> Image:
        """rgb8: depth in colours."""
        far = scene.view.max_depth_m or self.depth_color_max_m
        return self._image("depth_color", scene, color_depth(scene.depth_m, far, min(2.0, far / 10)), "rgb8")

    def camera_info(self, scene: Scene) -> CameraInfo | None:
        """Calibration of the output grid; None without a usable one."""
        if scene.camera_info is None:
            return None
        return scaled_camera_info(scene.camera_info, scene.size_hw, scene.header)

    def points(self, scene: Scene) -> PointCloud2 | None:
        """Organised cloud, x y z NaN where depth is not valid; None without a usable calibration."""
        if scene.intrinsics is None:
            return None
        stride = scene.view.point_stride
        depth = scene.depth_m[::stride, ::stride]
        height, width = depth.shape
        data, cloud = self._buffer("points", (height, width), POINT_DTYPE)
        fill_points(cloud, scene, scene.intrinsics, stride)
        fields = [
            PointField(name=name, offset=int(POINT_DTYPE.fields[name][1]), datatype=datatype, count=1)  # type: ignore[index]
            for name, datatype, _ in POINT_FIELDS
        ]
        return PointCloud2(
            header=scene.header,
            height=height,
            width=width,
            fields=fields,
            is_bigendian=sys.byteorder == "big",
            point_step=POINT_DTYPE.itemsize,
            row_step=POINT_DTYPE.itemsize * width,
            data=data,
            is_dense=False,
        )

    def instances(self, scene: Scene) -> InstanceArray:
        """All segments; computed once for a scene."""
        if self._instances is None or self._instances[0] is not scene:
            message = instance_array(
                scene.panoptic,
                scene.depth_m,
                scene.segments,
                scene.intrinsics,
                scene.label_space,
                scene.header,
                scene.model_id,
                masks=scene.view.masks,
            )
            self._instances = scene, message
        return self._instances[1]

    def markers(self, scene: Scene) -> MarkerArray | None:
        """Boxes and names of things for RViz; None without a usable calibration."""
        if scene.intrinsics is None:
            return None
        return box_markers(self.instances(scene), scene)

    def forget(self) -> None:
        """Let the last scene go."""
        self._instances = None

    def _image(self, name: str, scene: Scene, pixels: NDArray[Any], encoding: str) -> Image:
        data, target = self._buffer(name, pixels.shape, pixels.dtype)
        target[...] = pixels
        height, width = pixels.shape[:2]
        return Image(
            header=scene.header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=int(sys.byteorder == "big"),
            step=target.nbytes // height,
            data=data,
        )

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[array.array[int], NDArray[Any]]:
        """A byte buffer of the right size, kept by name, and an array that writes to it."""
        size = int(np.prod(shape)) * dtype.itemsize
        data = self._buffers.get(name)
        if data is None or len(data) != size:
            data = array.array("B")
            data.frombytes(bytes(size))
            self._buffers[name] = data
        return data, np.frombuffer(data, dtype).reshape(shape)


def fill_points(cloud: NDArray[Any], scene: Scene, intrinsics: Intrinsics, stride: int) -> None:
    """Write back-projected depth, colour and labels of every `stride`-th pixel into `cloud` (h, w) of POINT_DTYPE."""
    depth = scene.depth_m[::stride, ::stride]
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))
    columns = np.arange(0, intrinsics.width, stride)
    rows = np.arange(0, intrinsics.height, stride)
    np.multiply(z, ((columns - intrinsics.cx) / intrinsics.fx).astype(np.float32), out=cloud["x"])
    np.multiply(z, ((rows - intrinsics.cy) / intrinsics.fy).astype(np.float32)[:, None], out=cloud["y"])
    cloud["z"] = z
    bgra = cv2.cvtColor(np.ascontiguousarray(scene.rgb[::stride, ::stride]), cv2.COLOR_RGB2BGRA)
    np.bitwise_and(np.asarray(bgra, np.uint8).view("<u4")[..., 0], 0x00FFFFFF, out=cloud["rgb"])
    panoptic = scene.panoptic[::stride, ::stride]
    np.right_shift(panoptic, 8, out=cloud["label"])
    np.bitwise_and(panoptic, 255, out=cloud["instance"])
    cloud["instance"][cloud["label"] == 255] = 0


def box_markers(instances: InstanceArray, scene: Scene) -> MarkerArray:
    """A translucent box and a name for each thing with a box, after one marker that deletes those of the last frame."""
    message = MarkerArray(markers=[Marker(header=scene.header, action=Marker.DELETEALL)])
    for instance in instances.instances:
        if not instance.has_box:
            continue
        red, green, blue = (float(c) / 255 for c in scene.label_space.classes[instance.class_id].color)
        box = Marker(header=scene.header, ns="boxes", id=instance.panoptic_id, type=Marker.CUBE, action=Marker.ADD)
        box.pose = instance.box_center
        size = instance.box_size
        box.scale = Vector3(x=max(size.x, 0.01), y=max(size.y, 0.01), z=max(size.z, 0.01))  # RViz refuses 0
        box.color = ColorRGBA(r=red, g=green, b=blue, a=BOX_ALPHA)
        name = Marker(header=scene.header, ns="names", id=instance.panoptic_id, action=Marker.ADD)
        name.type = Marker.TEXT_VIEW_FACING
        name.text = f"{instance.class_name} {instance.depth.median:.1f} m"
        name.pose.position.x = instance.box_center.position.x
        name.pose.position.y = instance.box_center.position.y - size.y / 2 - 0.2  # above: y points down
        name.pose.position.z = instance.box_center.position.z
        name.scale.z = 0.4
        name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        message.markers += [box, name]
    return message


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
"""Topic below `~/`, type, and what makes the message (None: withheld for want of a calibration), in the order in which
they are published: what is small and acted upon before what is large or only looked at."""

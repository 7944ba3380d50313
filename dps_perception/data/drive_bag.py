"""A camera drive with ground truth in a bag: which topics it has and how a frame is written.

`bag_dataset` reads it back.
Frames are map -> base_link -> camera_optical_frame. `base_link` is on the ground below the camera (x forward, y left,
z up; REP 103, 105), the camera looks along its x axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..camera import Intrinsics
from .bag_messages import quaternion
from .bag_writer import BagWriter

MAP_FRAME = "map"
BASE_FRAME = "base_link"
OPTICAL_FRAME = "camera_optical_frame"

# Optical axes (x right, y down, z forward) in base_link, 1.22 m above the ground as in the Cityscapes car.
CAMERA_IN_BASE = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.22], [0, 0, 0, 1]], np.float64)


@dataclass(frozen=True)
class DriveTopics:
    """Topic names of a camera drive with ground truth."""

    image: str = "/camera/image_raw"
    camera_info: str = "/camera/camera_info"
    panoptic: str = "/ground_truth/panoptic"
    depth: str = "/ground_truth/depth"


DRIVE_TOPICS = DriveTopics()


def write_image(
    writer: BagWriter, topic: str, stamp_ns: int, pixels: NDArray[np.generic], encoding: str, frame_id: str
) -> None:
    """Append a sensor_msgs/Image; `pixels` is (H, W) or (H, W, C) with the element type of `encoding`."""
    pixels = np.ascontiguousarray(pixels)
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    message = writer.new(
        "sensor_msgs/msg/Image",
        header=writer.header(stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=little_endian.reshape(-1).view(np.uint8),
    )
    writer.write(topic, "sensor_msgs/msg/Image", stamp_ns, message)


def write_camera_info(writer: BagWriter, topic: str, stamp_ns: int, intrinsics: Intrinsics, frame_id: str) -> None:
    """Append the CameraInfo of a rectified image (no distortion)."""
    k = intrinsics.matrix()
    message = writer.new(
        "sensor_msgs/msg/CameraInfo",
        header=writer.header(stamp_ns, frame_id),
        height=intrinsics.height,
        width=intrinsics.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=k.reshape(9),
        r=np.eye(3).reshape(9),
        p=np.hstack([k, np.zeros((3, 1))]).reshape(12),
        binning_x=0,
        binning_y=0,
        roi=writer.new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )
    writer.write(topic, "sensor_msgs/msg/CameraInfo", stamp_ns, message)


def write_transform(
    writer: BagWriter, topic: str, stamp_ns: int, parent: str, child: str, child_in_parent: NDArray[np.float64]
) -> None:
    """Append a TFMessage with one transform; `child_in_parent` (4, 4) takes child coordinates to the parent's."""
    x, y, z = (float(v) for v in child_in_parent[:3, 3])
    qx, qy, qz, qw = (float(v) for v in quaternion(child_in_parent[:3, :3]))
    transform = writer.new(
        "geometry_msgs/msg/Transform",
        translation=writer.new("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
        rotation=writer.new("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
    )
    stamped = writer.new(
        "geometry_msgs/msg/TransformStamped",
        header=writer.header(stamp_ns, parent),
        child_frame_id=child,
        transform=transform,
    )
    message = writer.new("tf2_msgs/msg/TFMessage", transforms=[stamped])
    writer.write(topic, "tf2_msgs/msg/TFMessage", stamp_ns, message, latched=topic == "/tf_static")


def write_street_frame(
    writer: BagWriter,
    frame_index: int,
    stamp_ns: int,
    image: NDArray[np.uint8],
    panoptic: NDArray[np.uint16],
    depth_m: NDArray[np.float32],
    intrinsics: Intrinsics,
    pose: NDArray[np.float64],
    camera_in_base: NDArray[np.float64] = CAMERA_IN_BASE,
) -> None:
    """Append one frame of a drive: image, camera_info, /tf, ground truth, and with frame 0 /tf_static.

    Args:
        writer: an entered BagWriter.
        frame_index: 0 for the first frame of the bag.
        stamp_ns: header stamp and recording time of all messages, nanoseconds.
        image: (H, W, 3) uint8 RGB.
        panoptic: (H, W) uint16 panoptic ids.
        depth_m: (H, W) float32, metres along the optical axis; NaN unknown, +Inf sky.
        intrinsics: of this image.
        pose: (4, 4), takes optical coordinates to map coordinates (map: z up), metres.
        camera_in_base: (4, 4), takes optical coordinates to base_link coordinates; the same for all frames.
    """
    if frame_index == 0:
        write_transform(writer, "/tf_static", stamp_ns, BASE_FRAME, OPTICAL_FRAME, camera_in_base)
    base_in_map = np.asarray(pose, np.float64) @ np.linalg.inv(camera_in_base)
    write_transform(writer, "/tf", stamp_ns, MAP_FRAME, BASE_FRAME, base_in_map)
    write_camera_info(writer, DRIVE_TOPICS.camera_info, stamp_ns, intrinsics, OPTICAL_FRAME)
    write_image(writer, DRIVE_TOPICS.image, stamp_ns, image, "rgb8", OPTICAL_FRAME)
    write_image(writer, DRIVE_TOPICS.panoptic, stamp_ns, panoptic.astype(np.uint16), "16UC1", OPTICAL_FRAME)
    write_image(writer, DRIVE_TOPICS.depth, stamp_ns, depth_m.astype(np.float32), "32FC1", OPTICAL_FRAME)

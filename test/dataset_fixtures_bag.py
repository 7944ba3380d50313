"""Bags of a small robot that tests read: a wall and a box, seen by a camera and a LiDAR with clocks of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from dps_perception.camera import Intrinsics
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import CAMERA_IN_BASE, write_camera_info, write_image, write_transform
from dps_perception.labels import CITYSCAPES, pack

START_NS = 1_700_000_000_000_000_000
SIZE = (32, 64)
CAMERA = Intrinsics(60.0, 60.0, 31.5, 15.5, *SIZE)
SPEED_MPS = 10.0
TURN_RADPS = 0.2
WALL_X_M = 30.0
BOX = np.array([[14.0, -1.5, 0.0], [16.0, 1.5, 1.6]])  # lower and upper corner in odom
IMAGE_HZ, CLOUD_HZ = 10, 10
CLOUD_DELAY_NS = -40_000_000

CAMERA_MOUNT = CAMERA_IN_BASE.copy()
CAMERA_MOUNT[:3, :3] = Rotation.from_euler("z", 5, degrees=True).as_matrix() @ CAMERA_IN_BASE[:3, :3]
LIDAR_MOUNT = np.eye(4)
LIDAR_MOUNT[:3, :3] = Rotation.from_euler("ZY", [30, 4], degrees=True).as_matrix()
LIDAR_MOUNT[:3, 3] = [-0.3, 0.1, 2.4]


def base_in_odom(stamp_ns: int) -> np.ndarray:
    """Pose (4, 4) of the robot: drives along x and turns left."""
    t = (stamp_ns - START_NS) / 1e9
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("z", TURN_RADPS * t).as_matrix()
    pose[0, 3] = SPEED_MPS * t
    return pose


def ray_length(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How many times each direction (N, 3) in odom reaches from the origin to the wall or the box; NaN for neither."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wall = (WALL_X_M - origin[0]) / directions[:, 0]
        slabs = (BOX[:, None] - origin) / directions
    enter, leave = slabs.min(axis=0).max(axis=1), slabs.max(axis=0).min(axis=1)
    box = np.where((enter <= leave) & (enter > 0), enter, np.inf)
    length = np.minimum(np.where(wall > 0, wall, np.inf), box)
    return np.where(np.isfinite(length), length, np.nan)


def true_depth(stamp_ns: int) -> np.ndarray:
    """Depth (H, W) that the camera sees at a moment, from its rays."""
    v, u = np.indices(SIZE)
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(SIZE)], -1).reshape(-1, 3)
    pose = base_in_odom(stamp_ns) @ CAMERA_MOUNT
    return ray_length(pose[:3, 3], rays @ pose[:3, :3].T).reshape(SIZE)  # z of a ray is 1, so its length is depth


def lidar_points(stamp_ns: int) -> np.ndarray:
    """Points (N, 3) float32 in the LiDAR's frame, all of one moment: 0.5 degrees apart in rows 2 degrees apart."""
    azimuth, elevation = np.meshgrid(np.deg2rad(np.arange(-75, 16, 0.5)), np.deg2rad(np.arange(-24, 17, 2)))
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    ).reshape(-1, 3)
    pose = base_in_odom(stamp_ns) @ LIDAR_MOUNT
    return (ray_length(pose[:3, 3], rays @ pose[:3, :3].T)[:, None] * rays).astype(np.float32)


def cloud_message(writer: BagWriter, stamp_ns: int, points: np.ndarray, frame_id: str) -> Any:
    """PointCloud2 with an intensity before x, y, z (float32) and padding behind."""
    packed = np.zeros(
        len(points),
        np.dtype({"names": ["xyz"], "formats": ["3<f4"], "offsets": [4], "itemsize": 20}),
    )
    packed["xyz"] = points
    field = "sensor_msgs/msg/PointField"
    names = ("intensity", "x", "y", "z")
    return writer.new(
        "sensor_msgs/msg/PointCloud2",
        header=writer.header(stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=[writer.new(field, name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(names)],
        is_bigendian=False,
        point_step=20,
        row_step=20 * len(points),
        data=packed.view(np.uint8),
        is_dense=False,
    )


def labels() -> np.ndarray:
    """Panoptic ids: building above, road below, one car."""
    panoptic = np.full(SIZE, pack(CITYSCAPES.names.index("building"), 0), np.uint16)
    panoptic[20:] = 0
    panoptic[12:20, 24:40] = pack(CITYSCAPES.names.index("car"), 1)
    return panoptic


def write_lidar_bag(
    path: Path, frames: int = 10, *, odometry: bool = True, labelled: bool = False, clouds: bool = True
) -> Path:
    """Write a bag of a robot that drives 10 m/s and turns: image, camera_info, points, /tf and /tf_static.

    Clouds are 40 ms older than the images, so that depth is 0.4 m off where their stamps are ignored. Messages are
    recorded later than they are stamped, by a time of their own. Topics: /front/image_raw, /front/camera_info, /points,
    and with `labelled` /ground_truth/panoptic.
    """
    with BagWriter(path) as writer:
        write_transform(writer, "/tf_static", START_NS, "base_link", "front_optical", CAMERA_MOUNT)
        write_transform(writer, "/tf_static", START_NS, "base_link", "lidar", LIDAR_MOUNT)
        for step in range(-5, 5 * frames + 5):  # 50 Hz
            stamp = START_NS + step * 20_000_000
            if odometry:
                write_transform(writer, "/tf", stamp, "odom", "base_link", base_in_odom(stamp))
        for frame in range(frames):
            stamp = START_NS + frame * 10**9 // IMAGE_HZ
            write_camera_info(writer, "/front/camera_info", stamp, CAMERA, "front_optical")
            image = np.full((*SIZE, 3), 10 + frame % 200, np.uint8)
            write_image(writer, "/front/image_raw", stamp, image, "rgb8", "front_optical")
            if labelled:
                write_image(writer, "/ground_truth/panoptic", stamp, labels(), "16UC1", "front_optical")
            if clouds:
                cloud_ns = stamp + CLOUD_DELAY_NS
                message = cloud_message(writer, cloud_ns, lidar_points(cloud_ns), "lidar")
                writer.write("/points", "sensor_msgs/msg/PointCloud2", stamp + 15_000_000, message)
    return path


MS = 10**6
IMAGE = np.full((*SIZE, 3), 7, np.uint8)
DEPTH = np.full(SIZE, 4.0, np.float32)


def write_rgbd(path: Path, stamps=(0,), *, depth=DEPTH, encoding="32FC1", depth_delay_ms=0, panoptic=None, image=IMAGE):
    """A bag of an RGB-D camera: image, camera_info, depth `depth_delay_ms` later; stamps in milliseconds."""
    with BagWriter(path) as writer:
        for ms in stamps:
            stamp = START_NS + ms * MS
            write_camera_info(writer, "/cam/camera_info", stamp, CAMERA, "optical")
            write_image(writer, "/cam/image_raw", stamp, image, "rgb8", "optical")
            if depth is not None:
                write_image(writer, "/cam/aligned_depth", stamp + depth_delay_ms * MS, depth, encoding, "optical")
            if panoptic is not None:
                write_image(writer, "/ground_truth/panoptic", stamp, panoptic, "16UC1", "optical")
    return path

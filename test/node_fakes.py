"""What the node's tests share: a predictor whose answers are known, image messages, an executor for a few nodes."""

from __future__ import annotations

import array
import contextlib
import functools
import threading

import numpy as np
import ros_fixtures
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from dps_perception.errors import ConfigError, ModelLoadError
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.segments import FusionThresholds
from dps_perception.models.weights import ModelInfo
from dps_perception.node.encode import Encoder
from dps_perception.types import Prediction, Segment

ROAD, SKY, CAR = 0, 10, 13


def model_info(model_id="fake"):
    return ModelInfo(
        model_id=model_id, preset="fake", config=EfficientDPSConfig(), label_space=CITYSCAPES,
        input_size=(32, 64), focal_px=50.0, min_depth_m=0.5, max_depth_m=80.0, weights_sha256="ab" * 32,
    )  # fmt: skip


def fake_prediction(height, width):
    """Sky above, road below, one car (instance 1) in the middle at 10 m, a void corner; road depth grows by row."""
    panoptic = np.full((height, width), ROAD * 256, np.uint16)
    panoptic[: height // 3] = SKY * 256
    panoptic[height // 3 : 2 * height // 3, width // 4 : width // 2] = CAR * 256 + 1
    panoptic[-1, -1] = VOID_PANOPTIC_ID
    depth = np.repeat(np.linspace(60, 5, height, dtype=np.float32)[:, None], width, 1)
    depth[panoptic == CAR * 256 + 1] = 10
    confidence = np.where(panoptic == VOID_PANOPTIC_ID, 0, 0.8).astype(np.float32)
    segments = tuple(
        Segment(c * 256 + i, c, i, i > 0, 0.9, int((panoptic == c * 256 + i).sum()))
        for c, i in ((ROAD, 0), (SKY, 0), (CAR, 1))
    )
    return Prediction(panoptic, depth, confidence, segments, {"preprocess": 1.0, "inference": 2.0, "fusion": 3.0})


class FakeBackend:
    max_batch = 16

    def device_bytes(self):
        return 0

    def describe(self):
        return {"backend": "torch", "version": "0", "device": "cpu", "precision": "fp32", "mode": "eager"}


class FakePredictor:
    """As `inference.Predictor`; remembers what it was asked, and waits before each frame while `hold` is set."""

    backend_name, precision, device, input_size = "torch", "fp32", "cpu", (32, 64)

    def __init__(self, weights="", **settings):
        if weights == "missing":
            raise ModelLoadError("no weights file 'missing'")
        if settings.get("device") == "cuda:9":
            raise ConfigError("device 'cuda:9': PyTorch sees 0 GPUs")
        self.weights, self.settings = weights, settings
        self.model = model_info(weights or "fake")
        self.backend = FakeBackend()
        self.thresholds = settings.get("thresholds") or FusionThresholds()
        self.seen, self.batches, self.fused_with = [], [], []
        self.threads = set()
        self.free = threading.Event()
        self.free.set()
        self.warm = self.closed = False

    def prepare(self, rgb, intrinsics=None):
        return self, rgb, intrinsics

    def infer(self, prepared):
        owner, rgb, intrinsics = prepared
        assert owner is self
        self.threads.add(threading.current_thread().name)
        self.seen.append((int(rgb[0, 0, 0]), intrinsics))
        self.free.wait(10)
        return rgb.shape[:2]

    def infer_together(self, prepared):
        self.batches.append(len(prepared))
        return [self.infer(each) for each in prepared]

    def describe(self):
        return {"model": self.model.model_id, **self.backend.describe()}

    def fuse(self, tensors, prepared):
        self.threads.add(threading.current_thread().name)
        self.fused_with.append(self.thresholds)
        return fake_prediction(*tensors)

    def warm_up(self):
        self.warm = True

    def close(self):
        self.closed = True


def image(encoding="rgb8", size=(24, 32), stamp=(5, 0), frame_id="camera", value=7, channels=3):
    message = Image(height=size[0], width=size[1], encoding=encoding, step=size[1] * channels)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame_id
    message.data = array.array("B", bytes([value]) * (size[0] * size[1] * channels))
    return message


def camera_info(size=(24, 32), stamp=(5, 0), frame_id="camera", f=20.0):
    message = CameraInfo(height=size[0], width=size[1], distortion_model="plumb_bob")
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    message.header.frame_id = frame_id
    message.d = [0.0] * 5
    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    message.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def overrides(**values):
    return [Parameter(name, value=value) for name, value in values.items()]


@functools.cache
def compiled():
    """In a fresh checkout messages are compiled for some seconds: not while a test waits for a frame."""
    Encoder().warm_up()


@contextlib.contextmanager
def ros():
    """As `ros_fixtures.ros`, with the messages compiled."""
    compiled()
    with ros_fixtures.ros() as both:
        yield both

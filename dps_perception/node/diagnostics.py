"""How the node is doing: bookkeeping of frames and troubles, and their DiagnosticArray."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from .worker import Counts

RATE_WINDOW_S = 5.0
STALE_S = 3.0
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class ModelHealth:
    """How the model is doing, which all cameras share.

    Attributes:
        failure: why the last configure failed; empty where it did not.
        switching_to: backend and precision that are built beside the running ones; empty while none is.
        switch_error: why the last switch failed; empty where it did not.
        failed_runs: runs of the network that failed one after another, the last one included.
        recoveries: how often the model was loaded again because its runs failed.
    """

    failure: str = ""
    switching_to: str = ""
    switch_error: str = ""
    failed_runs: int = 0
    recoveries: int = 0


class Health:
    """What happened to the last frames of one camera. Stages write from their threads; readers may see a frame less.

    Attributes:
        calibration_error: why the last CameraInfo was refused; empty where it was taken.
        distortion: why `rectify` seems to be set wrongly for this camera; empty where it does not.
        age_s: node clock less stamp when the last frame was published; NaN before, or while that clock has not started.
        last_error: text of the last frame's failure ever since activation.
        qos_error: text of the last QoS that could not match.
        transform_error: why the last 3D outputs were withheld for want of a transform; empty where they were not.
        transform_failures: in how many frames they were.
    """

    def __init__(self, counts: Callable[[], Counts], clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = counts
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget all; at activation."""
        self.calibration_error = ""
        self.distortion = ""
        self.age_s = math.nan
        self.last_error = ""
        self.qos_error = ""
        self.transform_error = ""
        self.transform_failures = 0
        self._failed_at = -math.inf
        self._done: deque[float] = deque(maxlen=1000)

    def frame_done(self, age_s: float) -> None:
        """A frame was published."""
        self.age_s = age_s
        self._done.append(self._clock())

    def transform_failed(self, error: str) -> None:
        """The 3D outputs of a frame were withheld for want of a transform."""
        self.transform_error = error
        self.transform_failures += 1

    def frame_failed(self, error: str) -> None:
        """A frame could not be processed."""
        self.last_error = error
        self._failed_at = self._clock()

    @property
    def failing(self) -> bool:
        """True where the latest frame failed."""
        return bool(self.last_error) and (not self._done or self._failed_at > self._done[-1])

    @property
    def rate_hz(self) -> float:
        """Frames per second over the last few seconds; NaN until two were processed."""
        recent = [t for t in tuple(self._done) if t >= self._clock() - RATE_WINDOW_S]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return math.nan
        return (len(recent) - 1) / (recent[-1] - recent[0])

    @property
    def idle_s(self) -> float:
        """Seconds since the last frame was published; infinite before the first."""
        return self._clock() - self._done[-1] if self._done else math.inf


@dataclass(frozen=True)
class InputSituation:
    """What diagnostics say of one camera besides its `Health`.

    Attributes:
        name: of the camera; empty where the node has one.
        state: label of the lifecycle state, "disabled" while switched off by service.
        image_topic, camera_info_topic: full names.
        transport: "raw", "compressed", or empty while nobody publishes the image.
        without_camera_info: images go on alone.
        jumps: how often stamps jumped back.
    """

    name: str
    state: str
    image_topic: str
    camera_info_topic: str
    transport: str
    without_camera_info: bool
    jumps: int


def diagnostic_array(
    node: str,
    stamp: Time,
    cameras: Iterable[tuple[Health, InputSituation]],
    health: ModelHealth,
    model: Mapping[str, str],
) -> DiagnosticArray:
    """Two statuses for each camera, input and processing, and one for the model.

    Args:
        node: its full name.
        stamp: node clock.
        cameras: all of them.
        health: of the model.
        model: key and value pairs about the model in use; empty without one.
    """
    node = node.lstrip("/")
    message = DiagnosticArray()
    message.header.stamp = stamp
    for camera, situation in cameras:
        name = f"{node}: {situation.name}" if situation.name else node
        message.status += [_input(name, camera, situation), _processing(name, camera, situation)]
    message.status.append(_model(node, health, model))
    return message


def _status(level: bytes, name: str, text: str, values: dict[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id="", values=pairs)


def _input(name: str, health: Health, situation: InputSituation) -> DiagnosticStatus:
    level, text = OK, "image and camera_info arrive"
    if situation.state != "active":
        text = situation.state
    elif not situation.transport:
        level, text = WARN, f"nobody publishes {situation.image_topic}"
    elif health.qos_error and health.idle_s > STALE_S:
        level, text = ERROR, health.qos_error
    elif health.idle_s > STALE_S:
        level, text = WARN, f"no image was processed for {STALE_S:g} s"
    elif health.calibration_error:
        level, text = ERROR, health.calibration_error
    elif situation.without_camera_info:
        level, text = WARN, f"no camera_info matches; is {situation.camera_info_topic} the camera's? 2D only"
    elif health.distortion:
        level, text = WARN, health.distortion
    values = {
        "image": situation.image_topic,
        "camera_info": situation.camera_info_topic,
        "transport": situation.transport,
        "stamps jumped back": str(situation.jumps),
    }
    return _status(level, f"{name}: input", text, values)


def _processing(name: str, health: Health, situation: InputSituation) -> DiagnosticStatus:
    counts = health.counts()
    level, text = OK, f"{health.rate_hz:.1f} frames/s" if math.isfinite(health.rate_hz) else "no frames yet"
    if situation.state != "active":
        text = situation.state
    elif health.failing:
        level, text = ERROR, health.last_error
    elif health.transform_error:
        level, text = WARN, health.transform_error
    values = {
        "state": situation.state,
        "rate [Hz]": f"{health.rate_hz:.2f}",
        "age [s]": f"{health.age_s:.3f}",
        "frames received": str(counts.received),
        "frames processed": str(counts.done),
        "frames dropped": str(counts.dropped),
        "last error": health.last_error,
        "qos": health.qos_error,
        "frames without transform": str(health.transform_failures),
        "transform": health.transform_error,
    }
    return _status(level, f"{name}: processing", text, values)


def _model(name: str, health: ModelHealth, model: Mapping[str, str]) -> DiagnosticStatus:
    values = {
        **model,
        "switching to": health.switching_to,
        "last switch": health.switch_error or "no failure",
        "failed runs": str(health.failed_runs),
        "loaded again after failed runs": str(health.recoveries),
    }
    level, text = OK, model.get("model", "no model is loaded")
    if health.failure:
        level, text = ERROR, health.failure
    elif health.failed_runs:
        level, text = ERROR, f"{text}: {health.failed_runs} runs in a row failed"
    elif health.switch_error:
        level, text = WARN, f"{text} goes on: {health.switch_error}"
    elif health.switching_to:
        text = f"{text}; {health.switching_to} is being built"
    return _status(level, f"{name}: model", text, values)

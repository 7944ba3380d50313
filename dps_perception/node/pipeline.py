"""The way of one frame: message -> RGB and intrinsics -> prediction -> messages. Runs on the worker's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dps_msgs.msg import PipelineStats

from ..data.calibration import intrinsics_of
from ..errors import CameraInfoError, ModelLoadError, nearest
from ..inference.backends.base import Progress
from ..inference.predictor import Predictor
from ..labels import LABEL_SPACES
from ..types import Frame
from .decode import Decoder, stamp_ns
from .diagnostics import Health
from .outputs import Outputs
from .parameters import Parameters
from .scene import Scene, View

LoadPredictor = Callable[..., Predictor]


@dataclass(frozen=True)
class Job:
    """An image message (Image or CompressedImage) and the CameraInfo that belongs to it, if any."""

    image: Any
    camera_info: CameraInfo | None


class Pipeline:
    """Owns the model and turns jobs into published messages.

    Attributes:
        predictor: may be replaced between two frames.
        parameters: may be replaced at any time; each frame sees one consistent set.

    Args:
        predictor: loaded and warmed up.
        decoder: for image messages.
        outputs: publishes.
        parameters: current values.
        health: keeps the books.
        warn: called with (kind, text), throttled by the caller.
        now_ns: the node's clock.
        counts: (received, done, dropped) frames.
    """

    def __init__(
        self,
        predictor: Predictor,
        decoder: Decoder,
        outputs: Outputs,
        parameters: Parameters,
        health: Health,
        warn: Callable[[str, str], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.predictor = predictor
        self.parameters = parameters
        self._decoder = decoder
        self._outputs = outputs
        self._health = health
        self._warn = warn
        self._now_ns = now_ns

    def process(self, job: Job) -> None:
        """Process one frame.

        Raises:
            ImageError: the image can't be decoded.
        """
        started = time.perf_counter()
        parameters = self.parameters
        frame = self._decode(job, parameters)
        decoded = time.perf_counter()
        self.predictor.thresholds = parameters.thresholds
        prediction = self.predictor.predict(frame.rgb, frame.intrinsics)
        predicted = time.perf_counter()
        header = Header(stamp=job.image.header.stamp, frame_id=frame.frame_id)
        camera_info = job.camera_info if frame.intrinsics is not None else None
        model = self.predictor.model
        self._outputs.publish(
            Scene(
                header,
                frame.rgb,
                prediction,
                frame.intrinsics,
                camera_info,
                model.label_space,
                model.model_id,
                view_of(parameters),
            )
        )
        ended = time.perf_counter()
        now_ns = self._now_ns()
        self._health.frame_done((now_ns - frame.stamp_ns) / 1e9 if now_ns else float("nan"))
        if self._outputs.wants_stats:
            timings = prediction.timings_ms | {
                "decode": 1e3 * (decoded - started),
                "publish": 1e3 * (ended - predicted),
                "processing": 1e3 * (ended - started),
            }
            self._outputs.publish_stats(self._stats(header, timings))

    def _decode(self, job: Job, parameters: Parameters) -> Frame:
        rgb = self._decoder.rgb(job.image)
        frame_id = parameters.frame_id or job.image.header.frame_id
        if not frame_id:
            self._warn(
                "frame_id",
                "the image's frame_id is empty, so TF and RViz can't place the outputs; set it in the camera driver, "
                "or give this node the parameter frame_id",
            )
        intrinsics = None
        if job.camera_info is not None:
            try:
                intrinsics = intrinsics_of(job.camera_info, rgb.shape[:2])
                self._health.calibration_error = ""
            except CameraInfoError as error:
                self._health.calibration_error = str(error)
                self._warn("calibration", f"{error}. 2D outputs go on, 3D is withheld")
        return Frame(rgb, intrinsics, stamp_ns(job.image), frame_id)

    def _stats(self, header: Header, timings_ms: dict[str, float]) -> PipelineStats:
        counts, health = self._health.counts(), self._health
        return PipelineStats(
            header=header,
            backend=self.predictor.backend_name,
            precision=self.predictor.precision,
            **{
                f"{stage}_ms": float(timings_ms.get(stage, 0.0))
                for stage in ("decode", "preprocess", "inference", "fusion", "publish", "processing")
            },
            latency_ms=float(1e3 * health.age_s),
            rate_hz=float(health.rate_hz),
            frames_in=counts.received,
            frames_processed=counts.done + 1,  # this one
            frames_dropped=counts.dropped,
            device_bytes=int(self.predictor.backend.device_bytes()),
            switching_to=health.switching_to,
            switch_error=health.switch_error,
        )


def view_of(parameters: Parameters) -> View:
    """What the parameters ask of the outputs."""
    return View(
        scale=parameters.output_scale,
        min_depth_m=parameters.min_depth,
        max_depth_m=parameters.max_depth,
        no_depth_classes=parameters.no_depth_names,
        no_point_classes=parameters.no_point_names,
        point_stride=parameters.point_stride,
        masks=parameters.publish_masks,
    )


def load_predictor(parameters: Parameters, load: LoadPredictor, progress: Progress) -> Predictor:
    """Load and warm up what the parameters name; `progress` is told what slow builds do.

    Raises:
        ModelLoadError: the weights can't be loaded, or are of another label space than asked for.
        ConfigError: backend, device, precision or input size is not possible here, or no_point_classes names a class
            that the model doesn't have.
        BackendError: the backend is missing, out of memory, or could not build what it runs.
    """
    predictor = load(
        parameters.weights,
        backend=parameters.backend,
        mode=parameters.backend_mode,
        device=parameters.device,
        precision=parameters.precision,
        input_size=parameters.input_hw,
        thresholds=parameters.thresholds,
        progress=progress,
    )
    try:
        space = predictor.model.label_space.name
        if parameters.label_space and space != parameters.label_space:
            raise ModelLoadError(
                f"weights '{parameters.weights or 'shipped'}' have label space '{space}', the parameter label_space "
                f"asks for '{parameters.label_space}'{nearest(parameters.label_space, LABEL_SPACES)} "
                "Give weights of that label space, or leave label_space empty"
            )
        parameters.check_classes(predictor.model.label_space)
        predictor.warm_up()
    except Exception:
        predictor.close()
        raise
    return predictor

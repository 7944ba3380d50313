"""The way of one frame in three stages, which may work on three frames at once: decode, network, publish.

decode: message -> RGB and intrinsics -> the network's size. network: the model and fusion, on the one thread that owns
the device. publish: messages, what is small and awaited first. See `OVERLAP` for which of them overlap. Before these,
rclpy takes an image out of the middleware on the executor's thread: 0.1 ms at 512x1024, 1 to 2 ms at 1080x1920, so that
a subscription to the bytes alone, which would have to parse them here, saves nothing worth it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dps_msgs.msg import PipelineStats

from ..errors import ModelLoadError, nearest
from ..inference.backends.base import Progress
from ..inference.backends.registry import AUTO
from ..inference.predictor import Predictor, Prepared
from ..labels import LABEL_SPACES
from ..types import Prediction
from .camera import Camera, Line
from .diagnostics import ModelHealth
from .intake import CameraFrame
from .parameters import Parameters
from .scene import Scene, View
from .weights_folder import check_folder

LoadPredictor = Callable[..., Predictor]
MANY_CORES = 4
OVERLAP = {"none": 2, "publish": 1, "all": 0}
"""What may be worked on at once -> how many stages must be idle before the next frame is taken up (`Worker.alone`).

"none": one frame at a time, the newest there is. "publish": the next frame is decoded and run while the last one is
published. "all": frames are decoded ahead as well, and decoded again when a newer one comes before the model is free.

Beside a GPU the processor is idle while the network runs, so "auto" overlaps all of it. On a processor the network has
every core, and what overlaps takes them from it: measured on two (busy) cores, 512x1024, R18 in OpenVINO bf16, all
outputs received by another process, 15 frames/s sent, medians of two series of four phases for each, in turns:

    none       a frame every 407, 387 ms; from the image to its last output 444, 436 ms, to its labels 417, 400 ms
    publish    a frame every 386, 363 ms;                                   485, 449 ms,               433, 406 ms
    all        a frame every 377, 359 ms;                                   472, 444 ms,               420, 395 ms

5 to 8 % more frames, each 2 to 9 % older: nothing won on two cores, and "auto" overlaps nothing there. Publishing keeps
one core busy, so from `MANY_CORES` on it takes a smaller share from the network than its own time; that is reckoned,
not measured. Within a frame, publishing from a thread of its own while the next message is filled brings nothing:
`publish` holds the GIL, and both are bound by memory (27 ms instead of 23).
"""


@dataclass(frozen=True)
class Job:
    """An image message (Image or CompressedImage) of a camera, and the CameraInfo that belongs to it, if any.

    `line` is what it passes through, `received` when both were there, in seconds of `time.perf_counter`.
    """

    camera: Camera
    line: Line
    image: Any
    camera_info: CameraInfo | None
    received: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Decoded:
    """A frame ready for the model; `predictor` is the one it was prepared for, `worked_s` the time spent on it."""

    job: Job
    parameters: Parameters
    frame: CameraFrame
    predictor: Predictor
    prepared: Prepared
    decode_s: float
    worked_s: float


@dataclass(frozen=True)
class Predicted:
    """A frame ready to be published, with what ran it."""

    decoded: Decoded
    prediction: Prediction
    device_bytes: int
    worked_s: float


class Pipeline:
    """Owns the model and turns jobs into published messages, in three stages.

    Attributes:
        predictor: may be replaced between two frames of the network stage, on its thread.
        parameters: may be replaced at any time; each frame keeps the set it was decoded with.

    Args:
        predictor: loaded and warmed up.
        parameters: current values.
        health: of the model.
        now_ns: the node's clock.
    """

    def __init__(
        self,
        predictor: Predictor,
        parameters: Parameters,
        health: ModelHealth,
        now_ns: Callable[[], int],
    ) -> None:
        self.predictor = predictor
        self.parameters = parameters
        self._health = health
        self._now_ns = now_ns
        self._cores = len(os.sched_getaffinity(0))

    def alone(self) -> int:
        """See `stages_alone`, for the model and the parameters of now."""
        return stages_alone(self.parameters, self.predictor.device, self._cores)

    def together(self) -> int:
        """How many images of different cameras a stage takes at once, for the model and the parameters of now."""
        return images_together(self.parameters, self.predictor)

    def decode(self, job: Job) -> Decoded:
        """First stage.

        Raises:
            ImageError: the image can't be decoded.
        """
        started = time.perf_counter()
        parameters, predictor = self.parameters, self.predictor
        frame = job.line.intake.frame(job.image, job.camera_info, parameters)
        decode_s = time.perf_counter() - started
        prepared = predictor.prepare(frame.rgb, frame.intrinsics)
        return Decoded(job, parameters, frame, predictor, prepared, decode_s, time.perf_counter() - started)

    def infer(self, decoded: Sequence[Decoded]) -> list[Predicted]:
        """Second stage, on the thread that owns the device: one run of the network, then fusion image by image.

        Raises:
            BackendError: the device failed.
        """
        started = time.perf_counter()
        predictor = self.predictor
        batch = [_prepared_for(predictor, each) for each in decoded]
        predicted = []
        for each, tensors in zip(batch, predictor.infer_together([each.prepared for each in batch]), strict=True):
            predictor.thresholds = each.parameters.thresholds
            prediction = predictor.fuse(tensors, each.prepared)
            device_bytes = int(predictor.backend.device_bytes())
            predicted.append(Predicted(each, prediction, device_bytes, time.perf_counter() - started))
        return predicted

    def publish(self, predicted: Predicted) -> None:
        """Third stage."""
        started = time.perf_counter()
        decoded, prediction = predicted.decoded, predicted.prediction
        job, frame, model = decoded.job, decoded.frame, decoded.predictor.model
        header = Header(stamp=job.image.header.stamp, frame_id=frame.frame_id)
        line, health = job.line, job.camera.health
        place, track = line.motion.of(header, frame, decoded.parameters)
        line.outputs.publish(
            Scene(
                header,
                frame.rgb,
                prediction,
                frame.intrinsics,
                frame.camera_info,
                model.label_space,
                model.model_id,
                view_of(decoded.parameters),
                place,
                track,
                model.config.has_depth,
            )
        )
        ended = time.perf_counter()
        now_ns = self._now_ns()
        health.frame_done((now_ns - frame.stamp_ns) / 1e9 if now_ns else float("nan"))
        if line.outputs.wants_stats:
            publish_s, processing_s = ended - started, ended - job.received
            seconds = {
                "decode": decoded.decode_s,
                "publish": publish_s,
                "waiting": processing_s - decoded.worked_s - predicted.worked_s - publish_s,
                "processing": processing_s,
            }
            timings_ms = prediction.timings_ms | {stage: 1e3 * s for stage, s in seconds.items()}
            line.outputs.publish_stats(self._stats(header, timings_ms, predicted))

    def _stats(self, header: Header, timings_ms: dict[str, float], predicted: Predicted) -> PipelineStats:
        health, predictor = predicted.decoded.job.camera.health, predicted.decoded.predictor
        counts = health.counts()
        return PipelineStats(
            header=header,
            backend=predictor.backend_name,
            precision=predictor.precision,
            **{
                f"{stage}_ms": float(timings_ms.get(stage, 0.0))
                for stage in ("decode", "preprocess", "inference", "fusion", "publish", "waiting", "processing")
            },
            latency_ms=float(1e3 * health.age_s),
            rate_hz=float(health.rate_hz),
            frames_in=counts.received,
            frames_processed=counts.done + 1,  # this one
            frames_dropped=counts.dropped,
            device_bytes=predicted.device_bytes,
            switching_to=self._health.switching_to,
            switch_error=self._health.switch_error,
        )


def _prepared_for(predictor: Predictor, decoded: Decoded) -> Decoded:
    """The same frame, prepared for this model where another was swapped in meanwhile: it may want another size."""
    if decoded.predictor is predictor:
        return decoded
    frame = decoded.frame
    return replace(decoded, predictor=predictor, prepared=predictor.prepare(frame.rgb, frame.intrinsics))


def stages_alone(parameters: Parameters, device: str, cores: int) -> int:
    """How many stages must be idle before the next frame is taken up, see `OVERLAP`."""
    if parameters.overlap != AUTO:
        return OVERLAP[parameters.overlap]
    return OVERLAP["none" if device == "cpu" and cores < MANY_CORES else "all"]


def images_together(parameters: Parameters, predictor: Predictor) -> int:
    """How many images the network takes at once: as many as asked for, and as its backend can."""
    wanted = parameters.max_batch or (1 if predictor.device == "cpu" else predictor.backend.max_batch)
    return min(wanted, predictor.backend.max_batch)


def view_of(parameters: Parameters) -> View:
    """What the parameters ask of the outputs."""
    return View(
        scale=parameters.output_scale,
        min_depth_m=parameters.min_depth,
        max_depth_m=parameters.max_depth,
        no_depth_classes=parameters.no_depth_names,
        no_point_classes=parameters.no_point_names,
        min_point_confidence=parameters.min_point_confidence,
        point_stride=parameters.point_stride,
        masks=parameters.publish_masks,
    )


def load_predictor(parameters: Parameters, load: LoadPredictor, progress: Progress) -> Predictor:
    """Load and warm up what the parameters name; `progress` is told what slow builds do.

    Raises:
        ModelLoadError: the weights can't be loaded, or are of another label space than asked for.
        ConfigError: backend, device, precision or input size is not possible here, weights lie outside of
            weights_folder, or no_point_classes names a class that the model doesn't have.
        BackendError: the backend is missing, out of memory, or could not build what it runs.
    """
    check_folder(parameters.weights, parameters.weights_folder)
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

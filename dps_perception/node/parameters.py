"""Every parameter of the node, once: name, type, default, range, meaning, and when a change takes effect."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from ..errors import ConfigError, nearest
from ..inference.backends.base import MANY_IMAGES
from ..inference.backends.registry import AUTO, BACKENDS, MODES
from ..labels import LabelSpace
from ..models.segments import FusionThresholds

LIVE = "live"
SWITCH = "switch"
RELOAD = "reload"
STARTUP = "startup"
EFFECT = {
    LIVE: "takes effect on the next frame",
    SWITCH: "the new model is loaded beside the running one, which goes on until the new one is ready",
    RELOAD: "takes effect at ~/reload_model or the next configure",
    STARTUP: "read-only: set it when the node starts",
}
_FUSION = FusionThresholds()
_NAME = "[A-Za-z][A-Za-z0-9_]*"
_FRAME = r"([^/\s]\S*)?"
_OF_ROS = re.compile(r"use_sim_time|start_type_description_service|qos_overrides\..*")


@dataclass(frozen=True)
class Spec:
    """What is allowed for one parameter. `low`, `high` are inclusive; an empty `choices` or `pattern` allows all."""

    when: str
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""

    @property
    def valid(self) -> str:
        """The choices, for messages."""
        return ", ".join(choice or "''" for choice in self.choices)

    def check(self, name: str, value: Any, kind: type[Any]) -> None:
        """Raise ConfigError, naming what is allowed, where `value` is not of `kind` or outside the range."""
        if type(value) is not kind:
            raise ConfigError(
                f"parameter {name}={value!r} is {type(value).__name__}; it must be {kind.__name__}{_hint(value, kind)}"
            )
        if self.choices and value not in self.choices:
            raise ConfigError(f"parameter {name}='{value}' is not valid; choose one of: {self.valid}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ConfigError(f"parameter {name}='{value}' is not valid; {self.description}")
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise ConfigError(f"parameter {name}={value} is out of range; allowed: {self.low} to {self.high}")


def _hint(value: Any, kind: type) -> str:
    return f" (write {value}.0)" if kind is float and type(value) is int else ""


def _param(default: Any, when: str, description: str, **limits: Any) -> Any:
    return field(default=default, metadata={"spec": Spec(when, description, **limits)})


@dataclass(frozen=True)
class Parameters:
    """A consistent set of values; `specs()` says what each means. Made by `declare`, changed by `changed`."""

    weights: str = _param("", SWITCH, "weights, ONNX or engine file, or a family of networks; empty: efficientdps")
    weights_folder: str = _param(
        "", STARTUP, "weights must be below this folder, or be shipped ones; empty: they may be anywhere"
    )
    label_space: str = _param("", RELOAD, "weights of another label space are refused; empty: any is welcome")
    backend: str = _param(
        "torch", SWITCH, "runtime of the network; auto: the fastest here whose output agrees", choices=(*BACKENDS, AUTO)
    )
    backend_mode: str = _param(
        "", SWITCH, "how the backend works; empty: its usual way", choices=("", *itertools.chain(*MODES.values()))
    )
    device: str = _param("auto", SWITCH, "one of: auto, cpu, cuda, cuda:<number>", pattern=r"auto|cpu|cuda(:\d+)?")
    precision: str = _param(
        "auto", SWITCH, "arithmetic of the network; auto: what is fast and safe on the device",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    )  # fmt: skip
    input_height: int = _param(
        0, RELOAD, "network input height [pixels], a multiple of 32; 0: the weights' own", low=0, high=8192
    )
    input_width: int = _param(
        0, RELOAD, "network input width [pixels], a multiple of 32; 0: the weights' own", low=0, high=8192
    )

    score_threshold_things: float = _param(
        _FUSION.score_things, LIVE, "things below this score are left out", low=0.0, high=1.0
    )
    score_threshold_stuff: float = _param(
        _FUSION.score_stuff, LIVE, "stuff below this score is left out", low=0.0, high=1.0
    )
    mask_threshold: float = _param(
        _FUSION.mask,
        LIVE,
        "a pixel belongs to a mask from this probability on (Real-Time Panoptic: from 0.8 of it; PanopticDepth: any)",
        low=0.0,
        high=1.0,
    )
    overlap_threshold: float = _param(
        _FUSION.overlap, LIVE, "a segment must keep this share of its mask against better ones", low=0.0, high=1.0
    )
    stuff_area: int = _param(
        _FUSION.stuff_area_px, LIVE, "stuff regions below this area are left out [pixels]", low=0, high=10_000_000
    )

    min_depth: float = _param(0.0, LIVE, "nearer depth is published as -Inf [m]; 0: no limit", low=0.0, high=10_000.0)
    max_depth: float = _param(0.0, LIVE, "farther depth is published as +Inf [m]; 0: no limit", low=0.0, high=10_000.0)
    no_depth_classes: str = _param(
        "sky", LIVE, "classes without a surface, comma separated: depth +Inf, no points; unknown names are ignored"
    )
    no_point_classes: str = _param(
        "", LIVE, "classes left out of the point cloud (NaN), comma separated; depth and labels keep them"
    )
    min_point_confidence: float = _param(
        0.0, LIVE, "pixels below this confidence are left out of the point cloud (NaN); 0: none", low=0.0, high=1.0
    )
    point_stride: int = _param(1, LIVE, "every n-th row and column of the depth becomes points", low=1, high=64)
    output_scale: float = _param(1.0, LIVE, "size of all outputs over the size of the image", low=0.05, high=1.0)
    publish_masks: bool = _param(True, LIVE, "instances carry their pixel mask (run lengths)")
    frame_id: str = _param("", LIVE, "frame of all outputs instead of the image's; empty: the image's")

    target_frame: str = _param(
        "", LIVE, "frame of points, instances and markers, by TF at the image's stamp; empty: the optical frame",
        pattern=_FRAME,
    )  # fmt: skip
    transform_timeout: float = _param(
        0.1, LIVE, "longest wait for a transform that is not there yet [s]", low=0.0, high=5.0
    )
    tracking: bool = _param(False, LIVE, "things keep a track_id from frame to frame")
    tracking_frame: str = _param(
        "", LIVE, "frame in which the world stands still (odom, map): tracking allows for the camera's motion by TF; "
        "empty: it does not", pattern=_FRAME,
    )  # fmt: skip

    cameras: str = _param(
        "", STARTUP, "names of several cameras, comma separated: topics <name>/image, ~/<name>/panoptic ...; empty: "
        "one camera, topics image, ~/panoptic ...", pattern=rf"\s*|\s*{_NAME}\s*(,\s*{_NAME}\s*)*",
    )  # fmt: skip
    max_batch: int = _param(
        0, LIVE, "images of different cameras that run through the network at once; 0: all that wait beside a GPU, "
        "one on a processor", low=0, high=MANY_IMAGES,
    )  # fmt: skip
    rectify: bool = _param(
        False, LIVE, "take camera_info's lens distortion out of the images; false: they come rectified"
    )
    image_transport: str = _param(
        "auto", STARTUP, "type of the image topic; auto: found out from who publishes it, also on <image>/compressed",
        choices=("auto", "raw", "compressed"),
    )  # fmt: skip
    sync_slop: float = _param(
        0.0, STARTUP, "stamps of image and camera_info may differ by this [s]; 0: equal stamps", low=0.0, high=10.0
    )
    camera_info_timeout: float = _param(
        1.0, STARTUP, "without a matching camera_info for this long, go on in 2D [s]", low=0.05, high=60.0
    )
    qos_input: str = _param(
        "best_effort", STARTUP, "reliability of the image subscription", choices=("best_effort", "reliable")
    )
    qos_input_depth: int = _param(1, STARTUP, "queue of the image subscription", low=1, high=100)
    qos_output: str = _param("reliable", STARTUP, "reliability of the publishers", choices=("best_effort", "reliable"))
    qos_output_depth: int = _param(1, STARTUP, "queue of the publishers", low=1, high=100)
    overlap: str = _param(
        AUTO, LIVE, "stages that may work on other frames meanwhile; auto: all beside a GPU or on 4 cores, else none",
        choices=(AUTO, "none", "publish", "all"),
    )  # fmt: skip
    diagnostics_period: float = _param(1.0, STARTUP, "time between two diagnostics [s]", low=0.1, high=60.0)
    autostart: bool = _param(True, STARTUP, "configure and activate at start; false: wait for lifecycle transitions")

    def __post_init__(self) -> None:
        """Check what two parameters say together."""
        if self.max_depth and self.min_depth >= self.max_depth:
            raise ConfigError(f"min_depth={self.min_depth} must be below max_depth={self.max_depth} (0: no limit)")
        names = self.camera_names
        if len(set(names)) < len(names):
            raise ConfigError(f"parameter cameras='{self.cameras}' names a camera twice")
        if self.frame_id and len(names) > 1:
            raise ConfigError(
                f"frame_id='{self.frame_id}' would give {len(names)} cameras one frame; leave it empty and let each "
                "camera driver name its own"
            )

    @property
    def input_hw(self) -> tuple[int, int] | None:
        """(height, width) of the network input, or None for the weights' own.

        Raises:
            ConfigError: only one of the two is set.
        """
        if bool(self.input_height) != bool(self.input_width):
            raise ConfigError(
                f"input_height={self.input_height}, input_width={self.input_width}: set both, or both to 0"
            )
        return (self.input_height, self.input_width) if self.input_height else None

    @property
    def thresholds(self) -> FusionThresholds:
        return FusionThresholds(
            score_things=self.score_threshold_things,
            score_stuff=self.score_threshold_stuff,
            mask=self.mask_threshold,
            overlap=self.overlap_threshold,
            stuff_area_px=self.stuff_area,
        )

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of all cameras; of a single one without a name it is ""."""
        return tuple(name.strip() for name in self.cameras.split(","))

    @property
    def needs_transforms(self) -> bool:
        return bool(self.target_frame or (self.tracking and self.tracking_frame))

    @property
    def no_depth_names(self) -> frozenset[str]:
        return _names(self.no_depth_classes)

    @property
    def no_point_names(self) -> frozenset[str]:
        return _names(self.no_point_classes)

    def check_classes(self, label_space: LabelSpace) -> None:
        """Raise ConfigError where no_point_classes names a class that the label space doesn't have."""
        for name in sorted(self.no_point_names - set(label_space.names)):
            raise ConfigError(
                f"parameter no_point_classes: label space '{label_space.name}' has no class '{name}'"
                f"{nearest(name, label_space.names)} Valid: {', '.join(label_space.names)}"
            )


def _names(listed: str) -> frozenset[str]:
    return frozenset(name.strip() for name in listed.split(",") if name.strip())


KINDS: dict[str, type] = get_type_hints(Parameters)


def specs() -> dict[str, tuple[Any, Spec]]:
    """(default, Spec) of every parameter, in order."""
    return {f.name: (f.default, f.metadata["spec"]) for f in fields(Parameters)}


def descriptor(name: str) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    default, spec = specs()[name]
    message = ParameterDescriptor(
        name=name,
        description=f"{spec.description} [{spec.when}: {EFFECT[spec.when]}]",
        additional_constraints=f"one of: {spec.valid}" if spec.choices else "",
        read_only=spec.when == STARTUP,
    )
    if spec.low is not None and spec.high is not None:
        if isinstance(default, float):
            message.floating_point_range = [FloatingPointRange(from_value=spec.low, to_value=spec.high, step=0.0)]
        else:
            message.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)]
    return message


def declare(node: Node, given: Iterable[str]) -> Parameters:
    """Declare all parameters on `node` and return the values it was started with.

    Args:
        node: not yet holding any of them.
        given: names that the command line and parameter files set.

    Raises:
        ConfigError: a given name is unknown, or a value has the wrong type or is out of range.
    """
    for name in given:
        if name not in KINDS and not _OF_ROS.fullmatch(name):
            raise ConfigError(f"unknown parameter '{name}'{nearest(name, KINDS)} Valid: {', '.join(KINDS)}")
    values = {}
    for name, (default, spec) in specs().items():
        try:
            values[name] = node.declare_parameter(name, default, descriptor(name)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            hint = " (a float needs a decimal point: 1.0, not 1)" if KINDS[name] is float else ""
            raise ConfigError(f"parameter {name}: {error}; it must be {KINDS[name].__name__}{hint}") from error
        spec.check(name, values[name], KINDS[name])
    return Parameters(**values)


def changed(now: Parameters, new: Mapping[str, Any]) -> Parameters:
    """Parameters with `new` values in place.

    Raises:
        ConfigError: a value is of another type, out of range, not finite, or doesn't fit the others.
    """
    all_specs = specs()
    for name, value in new.items():
        if name not in all_specs:
            raise ConfigError(f"unknown parameter '{name}'{nearest(name, KINDS)} Valid: {', '.join(KINDS)}")
        spec = all_specs[name][1]
        if spec.when == STARTUP:
            raise ConfigError(f"parameter {name} is {EFFECT[STARTUP]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"parameter {name}={value} must be finite")
        spec.check(name, value, KINDS[name])
    return replace(now, **new)

"""From messages of the node to Rerun: pictures, labels, depth, cloud, boxes and curves. Knows no ROS.

Anything with the fields of the ROS messages will do, so it serves running nodes and recorded bags alike.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..data.bag_messages import cloud_colors, decode_cloud, decode_depth, decode_raw, decode_rgb
from ..errors import ConfigError
from ..labels import LABEL_DIVISOR, VOID_CLASS_ID

APPLICATION = "dps_perception"
TIMELINE = "stamp"
CAMERA = "world/camera"
_STAGES = ("decode", "preprocess", "inference", "fusion", "publish", "waiting", "processing")
_MAX_DEPTH_M = 80.0
_WEB_PORT = 9090
_LATENCY_MS = 1e7
"""Ages beyond hours are those of a bag that is played without /clock; a curve of them says nothing."""


def rerun() -> Any:
    """The rerun package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import rerun as module
    except ImportError as error:
        raise ConfigError(
            "the viewer needs the package rerun-sdk: pip install rerun-sdk. Without it, record with dps_record and "
            "open the bag in Foxglove"
        ) from error
    return module


class RerunLog:
    """A Rerun recording that is fed with the node's messages by the names of their topics.

    Args:
        point_stride: every so many rows and columns of a cloud are shown.
    """

    def __init__(self, *, point_stride: int = 1) -> None:
        self._rr = rr = rerun()
        self._stride = point_stride
        self.stream = rr.RecordingStream(APPLICATION)
        self.counts: dict[str, int] = {}
        # Optical frame: x right, y down, z forward.
        self.stream.log("world", rr.ViewCoordinates.RDF, static=True)
        self._loggers: dict[str, Callable[[Any], None]] = {
            "image": lambda m: self._picture(f"{CAMERA}/image", m),
            "overlay": lambda m: self._picture("overlay", m),
            "panoptic": self._panoptic,
            "depth": self._depth,
            "camera_info": self._camera_info,
            "points": self._points,
            "instances": self._instances,
            "stats": self._stats,
            "panoptic_info": self._classes,
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Topics (names without the node's) that are shown; "image" is the camera's."""
        return tuple(self._loggers)

    def blueprint(self) -> Any:
        """How the viewer is laid out: 3D on the left; pictures and curves on the right."""
        import rerun.blueprint as rrb

        views = rrb.Vertical(
            rrb.Tabs(
                rrb.Spatial2DView(origin=CAMERA, name="Boxes", contents=[f"{CAMERA}/image", f"{CAMERA}/boxes"]),
                rrb.Spatial2DView(origin="overlay", name="Overlay"),
                rrb.Spatial2DView(origin=f"{CAMERA}/panoptic", name="Panoptic"),
                rrb.Spatial2DView(origin=f"{CAMERA}/depth", name="Depth"),
            ),
            rrb.Tabs(
                rrb.TimeSeriesView(origin="stages_ms", name="Stages [ms]"),
                rrb.TimeSeriesView(origin="latency_ms", name="Latency [ms]"),
                rrb.TimeSeriesView(origin="rate_hz", name="Rate [Hz]"),
                rrb.TimeSeriesView(origin="frames", name="Frames"),
            ),
        )
        space = [f"{CAMERA}", f"{CAMERA}/image", "world/points", "world/instances/**"]
        return rrb.Blueprint(
            rrb.Horizontal(rrb.Spatial3DView(origin="world", name="World", contents=space), views, column_shares=[3, 2])
        )

    def save(self, path: Path) -> None:
        """Write to an .rrd file from now on.

        Raises:
            ConfigError: its folder is not there.
        """
        if not path.parent.is_dir():
            raise ConfigError(f"--save '{path}': there is no folder '{path.parent}'")
        self.stream.save(path, default_blueprint=self.blueprint())

    def open_window(self) -> None:
        """Start the viewer and show what comes from now on.

        Raises:
            ConfigError: there is no display, or no viewer.
        """
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("there is no display for a window (DISPLAY is not set): take --serve or --save FILE.rrd")
        beside = Path(sys.executable).parent / "rerun"  # pip puts it there, which need not be on the PATH
        try:
            self.stream.spawn(
                executable_path=str(beside) if beside.exists() else None, default_blueprint=self.blueprint()
            )
        except RuntimeError as error:
            raise ConfigError(f"the Rerun viewer does not start: {str(error).splitlines()[0]}") from error

    def connect(self, url: str) -> None:
        """Send to a viewer that runs already.

        Raises:
            ConfigError: the address is malformed.
        """
        try:
            self.stream.connect_grpc(url, default_blueprint=self.blueprint())
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"--connect '{url}': {error}; give e.g. rerun+http://127.0.0.1:9876/proxy") from error

    def serve(self) -> str:
        """Serve the viewer to web browsers from now on; its address."""
        uri = self.stream.serve_grpc(default_blueprint=self.blueprint())
        self._rr.serve_web_viewer(open_browser=False, connect_to=uri)
        return f"http://localhost:{_WEB_PORT}?url={quote(uri, safe='')}"

    def add(self, name: str, message: Any) -> None:
        """Log a message of the topic `name` (see `names`) at its header's stamp.

        Raises:
            ImageError: the message is malformed.
        """
        stamp = message.header.stamp
        seconds = stamp.sec + stamp.nanosec * 1e-9
        self.stream.set_time(TIMELINE, timestamp=seconds)
        self._loggers[name](message)
        self.counts[name] = self.counts.get(name, 0) + 1

    def close(self) -> None:
        """Write out what waits."""
        self.stream.flush()
        self.stream.disconnect()

    def _picture(self, entity: str, message: Any) -> None:
        if hasattr(message, "format") and "jpeg" in message.format:
            contents = bytes(memoryview(message.data))
            self.stream.log(entity, self._rr.EncodedImage(contents=contents, media_type="image/jpeg"))
        else:
            self.stream.log(entity, self._rr.Image(decode_rgb(message)))

    def _panoptic(self, message: Any) -> None:
        """Classes get their colours; instances show in the boxes."""
        semantic = np.minimum(decode_raw(message) // LABEL_DIVISOR, VOID_CLASS_ID).astype(np.uint8)
        self.stream.log(f"{CAMERA}/panoptic", self._rr.SegmentationImage(semantic))

    def _depth(self, message: Any) -> None:
        """Rerun shows 0 as unknown; sky has no place."""
        depth_m = decode_depth(message)
        shown = np.where(np.isfinite(depth_m), depth_m, np.float32(0))
        image = self._rr.DepthImage(shown, meter=1.0, depth_range=(0.0, _MAX_DEPTH_M))
        self.stream.log(f"{CAMERA}/depth", image)

    def _camera_info(self, message: Any) -> None:
        pinhole = self._rr.Pinhole(
            image_from_camera=np.asarray(message.p, np.float64).reshape(3, 4)[:, :3],
            resolution=[int(message.width), int(message.height)],
            camera_xyz=self._rr.ViewCoordinates.RDF,
            image_plane_distance=2.0,
        )
        self.stream.log(CAMERA, pinhole)

    def _points(self, message: Any) -> None:
        cloud = decode_cloud(message)[:: self._stride, :: self._stride]
        xyz = np.stack([cloud["x"], cloud["y"], cloud["z"]], -1).astype(np.float32).reshape(-1, 3)
        known = np.isfinite(xyz).all(1)
        colors = cloud_colors(cloud).reshape(-1, 3)[known]
        self.stream.log("world/points", self._rr.Points3D(xyz[known], colors=colors, radii=0.03))

    def _instances(self, message: Any) -> None:
        things = [i for i in message.instances if i.is_thing]
        roi = [(i.roi.x_offset, i.roi.y_offset, i.roi.width, i.roi.height) for i in things]
        boxes = np.array(roi, np.float32).reshape(-1, 4)
        self.stream.log(
            f"{CAMERA}/boxes",
            self._rr.Boxes2D(
                mins=boxes[:, :2],
                sizes=boxes[:, 2:],
                labels=[_label(i) for i in things],
                class_ids=[int(i.class_id) for i in things],
            ),
        )
        solid = [i for i in things if i.has_box]
        self.stream.log(
            "world/instances",
            self._rr.Boxes3D(
                centers=_rows([_xyz(i.box_center.position) for i in solid], 3),
                sizes=_rows([_xyz(i.box_size) for i in solid], 3),
                quaternions=_rows([(*_xyz(i.box_center.orientation), i.box_center.orientation.w) for i in solid], 4),
                labels=[_label(i) for i in solid],
                class_ids=[int(i.class_id) for i in solid],
            ),
        )

    def _stats(self, message: Any) -> None:
        curves = {f"stages_ms/{stage}": getattr(message, f"{stage}_ms") for stage in _STAGES}
        if abs(message.latency_ms) < _LATENCY_MS:
            curves["latency_ms"] = message.latency_ms
        curves |= {"rate_hz": message.rate_hz, "frames/dropped": message.frames_dropped}
        curves["frames/processed"] = message.frames_processed
        for entity, value in curves.items():
            if np.isfinite(value):
                self.stream.log(entity, self._rr.Scalars(float(value)))

    def _classes(self, message: Any) -> None:
        infos = []
        for info in message.classes:
            color = tuple(round(255 * c) for c in (info.color.r, info.color.g, info.color.b))
            infos.append(self._rr.AnnotationInfo(id=int(info.class_id), label=info.name, color=color))
        infos.append(self._rr.AnnotationInfo(id=int(message.void_class_id), label="void", color=(0, 0, 0)))
        self.stream.log("/", self._rr.AnnotationContext(infos), static=True)


def _label(instance: Any) -> str:
    """Such as "car #7 12.3 m": class, track and distance, as far as they are known."""
    words = [instance.class_name]
    if instance.track_id:
        words.append(f"#{instance.track_id}")
    if np.isfinite(instance.depth.median):
        words.append(f"{instance.depth.median:.1f} m")
    return " ".join(words)


def _xyz(point: Any) -> tuple[float, float, float]:
    return point.x, point.y, point.z


def _rows(values: list[Any], width: int) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, width)

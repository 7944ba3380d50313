"""A frame of a scene: image, panoptic ids, depth, calibration and pose."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...camera import Intrinsics
from ...errors import ConfigError
from ...labels import VOID_PANOPTIC_ID, pack
from ...types import Sample
from . import classes
from .cast import HitMap, cast
from .grammar import DEFAULT_DURATION_S, build_scene
from .ground import ground_depth
from .levels import STANDARD
from .lighting import Light, contact_shade, shadow_map
from .pose import Posed, base_pose, camera_pose, pose_primitives
from .randomness import stream
from .scene import Scene
from .sensor import expose
from .shading import GBuffer, shade
from .view import View
from .weather import Weather

FAR_M = 260.0
"""Solids that begin beyond this depth are not drawn; the ground goes on."""
SMALLEST_SEGMENT_PX = 12
"""At `REFERENCE_PX` pixels: a segment that covers less becomes void, as annotators leave it out."""
REFERENCE_PX = 512 * 1024
CITYSCAPES_HW = (1024, 2048)
MIN_SIZE_PX = 32


@dataclass(frozen=True)
class StreetFrame:
    """One rendered frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        panoptic: (H, W) uint16 panoptic ids; instance ids stay over a drive; segments that cover less than
            `SMALLEST_SEGMENT_PX` (scaled by the image's area) are void.
        depth_m: (H, W) float32 along the optical axis, +Inf in the sky.
        intrinsics: of this image.
        pose: (4, 4) camera_optical_frame -> map.
        base_pose: (4, 4) base_link -> map.
        t_s: seconds since the scene's start.
    """

    image: NDArray[np.uint8]
    panoptic: NDArray[np.uint16]
    depth_m: NDArray[np.float32]
    intrinsics: Intrinsics
    pose: NDArray[np.float64]
    base_pose: NDArray[np.float64]
    t_s: float

    def sample(self, sample_id: str) -> Sample:
        """The frame as a dataset sample."""
        return Sample(self.image, self.panoptic, self.depth_m, self.intrinsics, sample_id)


def street_intrinsics(height: int, width: int) -> Intrinsics:
    """The Cityscapes camera (2262.52, 2265.30, 1096.98, 513.137 at 1024x2048), scaled to the image's size."""
    full = Intrinsics(2262.52, 2265.30, 1096.98 - 0.5, 513.137 - 0.5, *CITYSCAPES_HW)
    return full.resized(height, width)


def render(scene: Scene, t_s: float, height: int, width: int, supersample: int = 1) -> StreetFrame:
    """Draw a scene at one moment.

    Args:
        scene: from `build_scene`.
        t_s: seconds since the scene's start, within its `duration_s`.
        height, width: of the image, pixels.
        supersample: colour is averaged over `supersample`^2 rays per pixel; labels and depth are always those of
            the pixel's centre.

    Raises:
        ConfigError: a size, time or supersampling out of range.
    """
    if height < MIN_SIZE_PX or width < MIN_SIZE_PX:
        raise ConfigError(f"image size {height}x{width}: height and width must be at least {MIN_SIZE_PX} pixels")
    if not 0 <= t_s <= scene.duration_s + 1e-6:
        raise ConfigError(f"time {t_s} s is outside the scene's 0 to {scene.duration_s} s; build it with duration_s")
    if not 1 <= supersample <= 4:
        raise ConfigError(f"supersample {supersample}: 1 to 4 are possible")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _render(scene, t_s, height, width, supersample)


def _render(scene: Scene, t_s: float, height: int, width: int, supersample: int) -> StreetFrame:
    posed, pose = pose_primitives(scene, t_s), camera_pose(scene, t_s)
    lens = scene.ego.lens
    intrinsics = lens.intrinsics(height, width) if lens else street_intrinsics(height, width)
    view = View.pinhole(pose, intrinsics)
    buffer, outline = _cast_view(scene, posed, view)
    light = Light(
        scene.weather,
        shadow_map(posed, view, scene.weather, 1024 if width > 600 else 768),
        contact_shade(posed, view),
    )
    color, ground_class = shade(scene, posed, view, buffer, light)
    if supersample > 1:
        fine = View.pinhole(pose, intrinsics.resized(height * supersample, width * supersample))
        color, _ = shade(scene, posed, fine, _cast_view(scene, posed, fine)[0], light)
        color = color.reshape(height, supersample, width, supersample, 3).mean((1, 3))
    panoptic, depth = _annotate(posed, buffer.hits, outline, ground_class)
    return StreetFrame(
        image=expose(
            color, scene.weather, stream(scene.seed, "sensor", round(t_s * 1000)), _sun_pixel(view, scene.weather)
        ),
        panoptic=panoptic,
        depth_m=depth,
        intrinsics=intrinsics,
        pose=pose,
        base_pose=base_pose(scene, t_s),
        t_s=t_s,
    )


def _sun_pixel(view: View, weather: Weather) -> tuple[float, float] | None:
    """Where the sun is in the image (u, v), None where it is behind the camera."""
    x, y, z = weather.to_sun @ view.rotation
    k = view.intrinsics
    return (k.fx * x / z + k.cx, k.fy * y / z + k.cy) if k is not None and z > 0.05 else None


def _cast_view(scene: Scene, posed: Posed, view: View) -> tuple[GBuffer, HitMap]:
    depth, raised = ground_depth(view, scene.road)
    hits, outline = (
        HitMap(depth, HitMap.empty(view.height, view.width).primitive),
        HitMap.empty(view.height, view.width),
    )
    cast(posed, view, hits, FAR_M, outline)
    return GBuffer(hits, raised), outline


def _annotate(
    posed: Posed, hits: HitMap, outline: HitMap, ground_class: NDArray[np.uint8]
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Panoptic ids and depth, with solids filled to their outline and tiny segments void."""
    in_hole = outline.depth < hits.depth
    depth = np.where(in_hole, outline.depth, hits.depth)
    primitive = np.where(in_hole, outline.primitive, hits.primitive)
    on_solid = primitive >= 0
    class_id = np.where(on_solid, posed.class_id.take(primitive), ground_class)
    class_id = np.where(np.isinf(depth), classes.SKY, class_id)
    instance_id = np.where(on_solid, posed.instance_id.take(primitive), 0)
    panoptic = pack(class_id, instance_id)
    area = np.bincount(panoptic.ravel(), minlength=VOID_PANOPTIC_ID + 1)
    tiny = area < SMALLEST_SEGMENT_PX * panoptic.size / REFERENCE_PX
    return np.where(tiny.take(panoptic), np.uint16(VOID_PANOPTIC_ID), panoptic), depth


def single_image(seed: int, height: int, width: int, supersample: int = 1, level: str = STANDARD) -> Sample:
    """The annotated image of a seed: its scene at time 0, at a level of `levels`."""
    return render(build_scene(seed, level=level), 0.0, height, width, supersample).sample(f"street_{seed:07d}")


def drive(
    seed: int,
    frames: int,
    rate_hz: float,
    height: int,
    width: int,
    supersample: int = 1,
    only: Collection[int] | None = None,
    level: str = STANDARD,
) -> Iterator[StreetFrame]:
    """Frames of a drive through the scene of a seed, `rate_hz` per second; `only` draws just those indices.

    A drive of up to `DEFAULT_DURATION_S` seconds starts with `single_image` of its seed; a longer one gets a longer
    street, which is another one.

    Raises:
        ConfigError: no frames, or a rate that is not positive.
    """
    scene = drive_scene(seed, frames, rate_hz, level)
    wanted = [index for index in range(frames) if only is None or index in only]
    return (render(scene, index / rate_hz, height, width, supersample) for index in wanted)


def drive_scene(seed: int, frames: int, rate_hz: float, level: str = STANDARD) -> Scene:
    """The scene of a drive.

    Raises:
        ConfigError: no frames, or a rate that is not positive.
    """
    if frames < 1 or not rate_hz > 0:
        raise ConfigError(f"a drive of {frames} frames at {rate_hz} Hz: both must be positive")
    return build_scene(seed, duration_s=max(DEFAULT_DURATION_S, (frames - 1) / rate_hz), level=level)

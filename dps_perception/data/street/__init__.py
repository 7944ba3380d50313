"""The street world: seeded procedural streets with exact panoptic labels, metric depth, calibration and poses.

    scene = build_scene(seed=7)
    frame = render(scene, t_s=0.5, height=512, width=1024)
    sample = single_image(seed=7, height=512, width=1024)
    for frame in drive(seed=7, frames=50, rate_hz=10, height=512, width=1024): ...

Images are drawn by analytic ray casting in NumPy alone. The same arguments always give the same pixels.
"""

from .grammar import Scene, build_scene
from .render import StreetFrame, drive, render, single_image, street_intrinsics

__all__ = ["Scene", "StreetFrame", "build_scene", "drive", "render", "single_image", "street_intrinsics"]

"""The street world: seeded procedural streets with exact panoptic labels, metric depth, calibration and poses.

    scene = build_scene(seed=7)
    frame = render(scene, t_s=0.5, height=512, width=1024)
    sample = single_image(seed=7, height=512, width=1024)
    for frame in drive(seed=7, frames=50, rate_hz=10, height=512, width=1024): ...

Images are drawn by analytic ray casting in NumPy alone. The same arguments always give the same pixels.

There are two levels. `standard` is the benchmark: one car camera, four kinds of weather. `hard` is the same grammar
and the same rules for labels, depth and occlusion, with what photographs vary: cameras 0.4 to 2.2 m high on the road
and on the pavement, tilted, with 50 to 100 degrees across; night, dusk, fog, low suns, glare; exposure and white
balance; other coverings, colours, seasons, car bodies and clothes; crowds and vehicles close to the camera. The
sample's intrinsics say which lens it was. Pass `level="hard"`; `level="mixed"` makes even seeds standard and odd ones
hard. The held-out seeds (`seeds`) are the same for both levels.
"""

from .grammar import build_scene
from .render import StreetFrame, drive, render, single_image, street_intrinsics
from .scene import Scene

__all__ = ["Scene", "StreetFrame", "build_scene", "drive", "render", "single_image", "street_intrinsics"]

"""Writing a street drive as a rosbag2 (MCAP): images, calibration, transforms and ground truth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from ...files import replacing
from ..bag_writer import BagWriter
from ..drive_bag import write_street_frame
from .dataset import NANOSECONDS, versions
from .levels import STANDARD
from .pose import camera_in_base
from .render import drive_scene, render


@dataclass(frozen=True)
class BagJob:
    """What a bag holds: `frames` frames of the drive of `seed`, `rate_hz` per second; sizes in pixels; `level` is one
    of `levels.LEVELS`."""

    seed: int
    frames: int
    rate_hz: float
    height: int
    width: int
    supersample: int = 1
    level: str = STANDARD


START_NS = 1_700_000_000 * NANOSECONDS
"""Stamp of the first frame: a fixed moment, so that a bag is the same each time it is written."""


def write_bag(path: Path, job: BagJob, *, overwrite: bool = False) -> None:
    """Write the bag folder `path` and, beside it, `<path>.config.json`.

    The bag is written under a hidden name and renamed when it is complete.

    Raises:
        ConfigError: no frames, or a rate that is not positive.
        DatasetError: `path` exists and `overwrite` is off.
    """
    scene = drive_scene(job.seed, job.frames, job.rate_hz, job.level)
    mount = camera_in_base(scene)
    with BagWriter(path, overwrite=overwrite) as writer:
        for index in tqdm(range(job.frames), unit="frame", desc=path.name):
            frame = render(scene, index / job.rate_hz, job.height, job.width, job.supersample)
            stamp_ns = START_NS + round(frame.t_s * NANOSECONDS)
            write_street_frame(
                writer,
                index,
                stamp_ns,
                frame.image,
                frame.panoptic,
                frame.depth_m,
                frame.intrinsics,
                frame.pose,
                mount,
            )
    with replacing(path.with_name(f"{path.name}.config.json")) as beside:
        beside.write_text(json.dumps(asdict(job) | versions(job.level), indent=1))

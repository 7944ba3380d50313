"""Writing street images and drives to disk: a DVPS folder (resumable, over several processes) or a bag."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from ...errors import ConfigError, DatasetError
from ...files import replacing
from ...ranks import rank_and_size
from ..dvps import is_complete, sample_name, write_sample
from .levels import STANDARD, level_of
from .render import drive, single_image

VERSION = 5
"""Of the standard level: raised whenever a seed gives other pixels, so that datasets are never mixed."""
HARD_VERSION = 2
"""The same of the hard level."""
NAME = "street"
NANOSECONDS = 1_000_000_000
_SINGLE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class FolderJob:
    """What a dataset folder holds.

    Attributes:
        root, split: where it goes.
        seeds: one image, or one drive, for each.
        height, width: pixels.
        supersample: see `render`.
        drive_frames: frames of each drive; 1 for single images.
        rate_hz: frames per second of drives.
        level: one of `levels.LEVELS`.
    """

    root: Path
    split: str
    seeds: range
    height: int
    width: int
    supersample: int = 1
    drive_frames: int = 1
    rate_hz: float = 10.0
    level: str = STANDARD

    @property
    def own_seeds(self) -> range:
        """Seeds of this process: under torchrun its share, otherwise all."""
        rank, size = rank_and_size()
        return self.seeds[rank::size]

    def missing(self) -> list[int]:
        """Seeds of which a sample is not complete yet."""
        return [s for s in self.seeds if not all(self._done(s, frame) for frame in range(self.drive_frames))]

    def _done(self, seed: int, frame: int) -> bool:
        return is_complete(self.root, self.split, sample_name(seed, frame, NAME))

    def write_seed(self, seed: int) -> int:
        """Write what is missing of a seed; return the number of samples written."""
        if self.drive_frames == 1:
            sample = single_image(seed, self.height, self.width, self.supersample, self.level)
            write_sample(self.root, self.split, seed, 0, sample, NAME)
            return 1
        wanted = {frame for frame in range(self.drive_frames) if not self._done(seed, frame)}
        size = (self.height, self.width, self.supersample)
        frames = drive(seed, self.drive_frames, self.rate_hz, *size, only=wanted, level=self.level)
        for index, frame in zip(sorted(wanted), frames, strict=True):
            sample = frame.sample(sample_name(seed, index, NAME))
            stamp_ns = round(frame.t_s * NANOSECONDS)
            write_sample(self.root, self.split, seed, index, sample, NAME, pose=frame.pose, stamp_ns=stamp_ns)
        return len(wanted)


def write_folder(job: FolderJob, processes: int) -> int:
    """Write a dataset folder; return the number of samples written (those already complete are kept).

    Raises:
        ConfigError: no seeds, fewer than one process, or no such level.
        DatasetError: the split was written with another size, seed layout, level or version of the street world.
    """
    if not job.seeds:
        raise ConfigError("no seeds: give START:STOP with STOP above START, or train, validation, test, drives")
    if processes < 1:
        raise ConfigError(f"{processes} processes: at least 1 is needed")
    level_of(job.seeds.start, job.level)
    _record_config(job)
    missing = [seed for seed in job.missing() if seed in job.own_seeds]
    done = len(job.own_seeds) - len(missing)
    written = 0
    with tqdm(total=len(job.own_seeds), initial=done, unit="seed", desc=f"{job.root.name}/{job.split}") as bar:
        for count in _run(job, missing, min(processes, max(1, len(missing)))):
            written += count
            bar.update()
    return written


def _run(job: FolderJob, seeds: list[int], processes: int) -> Iterator[int]:
    if processes == 1:
        yield from map(job.write_seed, seeds)
        return
    # Each process is one core's worth of NumPy; their threads would only fight. Spawned ones read it at import.
    before = {name: os.environ.get(name) for name in _SINGLE_THREAD}
    os.environ.update(dict.fromkeys(_SINGLE_THREAD, "1"))
    try:
        with multiprocessing.get_context("spawn").Pool(processes, _ignore_interrupt) as pool:
            yield from pool.imap_unordered(job.write_seed, seeds)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def versions(level: str) -> dict[str, int]:
    """The versions of the street world that images of a level depend on."""
    return {"street_version": VERSION} | ({} if level == STANDARD else {"hard_version": HARD_VERSION})


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process; only the parent answers it, by ending the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _record_config(job: FolderJob) -> None:
    """Write `<root>/<split>/config.json`, or check that the one there is about the same world."""
    path = job.root / job.split / "config.json"
    config = {key: value for key, value in asdict(job).items() if key not in ("root", "split", "seeds")}
    config |= versions(job.level) | {"seeds": [job.seeds.start, job.seeds.stop]}
    if path.exists():
        try:
            known = json.loads(path.read_text())
        except ValueError as error:
            raise DatasetError(f"{path} is not JSON ({error}); remove it if the folder's samples are fine") from error
        for key, value in config.items():
            # A split from before there were levels says none: it is standard.
            before = known.get(key, STANDARD if key == "level" else None)
            if key != "seeds" and before != value:
                raise DatasetError(
                    f"{path.parent} was written with {key} = {before}, now {value}; "
                    "use the same options to resume, or another folder"
                )
        start, stop = known.get("seeds", config["seeds"])
        config["seeds"] = [min(start, job.seeds.start), max(stop, job.seeds.stop)]
    with replacing(path) as beside:
        beside.write_text(json.dumps(config, indent=1))

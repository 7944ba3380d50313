"""`dps_synthesize`: write street images, drives or a bag."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ... import cli
from ...errors import ConfigError, nearest
from . import seeds
from .dataset import FolderJob, write_folder
from .drive_bag import BagJob, write_bag
from .levels import LEVELS, STANDARD

DEFAULT_SIZE = "512x1024"
SIZE_LIMITS = (32, 8192)
"""Smallest and largest side that can be asked for, pixels."""


def parse_seeds(text: str) -> range:
    """Seeds of "START:STOP", of a single number, or of a name in `seeds.NAMED`.

    Raises:
        ConfigError: anything else, or an empty range.
    """
    if text in seeds.NAMED:
        return seeds.NAMED[text]
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        names = ", ".join(seeds.NAMED)
        raise ConfigError(
            f"seeds '{text}': give START:STOP (e.g. 0:1000), a number, or one of {names}{nearest(text, seeds.NAMED)}"
        )
    start = int(match[1])
    stop = int(match[2]) if match[2] else start + 1
    if stop <= start:
        raise ConfigError(f"seeds '{text}' are none: STOP must be above START")
    return range(start, stop)


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_synthesize`."""
    parser = argparse.ArgumentParser(
        prog="dps_synthesize",
        description="Write images of the street world with panoptic labels, metric depth, calibration and poses.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    show = argparse.ArgumentDefaultsHelpFormatter

    folder = commands.add_parser("folder", help="a dataset in the Cityscapes-DVPS layout", formatter_class=show)
    folder.add_argument("out", type=Path, help="dataset folder; samples already complete in it are kept")
    folder.add_argument("--split", default="train", help="subfolder of the dataset")
    folder.add_argument("--seeds", required=True, help=f"START:STOP, or one of {', '.join(seeds.NAMED)}")
    folder.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="worker processes")
    folder.add_argument("--drive-frames", type=int, default=1, help="frames per seed; 1 writes single images")
    folder.add_argument("--rate", type=float, default=10.0, help="frames per second of drives")
    _add_image_options(folder)

    bag = commands.add_parser("bag", help="a drive as a rosbag2 folder (MCAP) with ground truth", formatter_class=show)
    bag.add_argument("out", type=Path, help="bag folder to write")
    bag.add_argument("--seed", type=int, default=seeds.DRIVES.start, help="of the scene; 3000000 and up are held out")
    bag.add_argument("--frames", type=int, default=50, help="number of frames")
    bag.add_argument("--rate", type=float, default=10.0, help="frames per second")
    bag.add_argument("--overwrite", action="store_true", help="replace an existing bag")
    _add_image_options(bag)
    return parser


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", default=DEFAULT_SIZE, help="HEIGHTxWIDTH in pixels")
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default=STANDARD,
        help="hard: any camera, light, season and crowd; mixed: even seeds standard, odd seeds hard",
    )
    parser.add_argument("--supersample", type=int, default=1, help="colour rays per pixel and axis, 1 to 4")


def command(argv: Sequence[str] | None) -> None:
    """Run the command line.

    Raises:
        ConfigError, DatasetError: a bad argument, or a folder that holds something else.
    """
    args = make_parser().parse_args(argv)
    height, width = cli.parse_size(args.size, *SIZE_LIMITS)
    if not 1 <= args.supersample <= 4:
        raise ConfigError(f"--supersample {args.supersample}: 1 to 4 are possible")
    if not args.rate > 0:
        raise ConfigError(f"--rate {args.rate}: must be above 0 frames per second")
    if args.command == "bag":
        job = BagJob(args.seed, args.frames, args.rate, height, width, args.supersample, args.level)
        write_bag(args.out, job, overwrite=args.overwrite)
        print(f"{args.out}: {args.frames} frames written")
    else:
        _write_folder(args, height, width)


def _write_folder(args: argparse.Namespace, height: int, width: int) -> None:
    if args.drive_frames < 1:
        raise ConfigError(f"--drive-frames {args.drive_frames}: at least 1 is needed")
    if re.fullmatch(r"[\w-]+", args.split) is None:
        raise ConfigError(f"--split '{args.split}': letters, digits, _ and - only, e.g. train")
    chosen = parse_seeds(args.seeds)
    image = (height, width, args.supersample)
    job = FolderJob(args.out, args.split, chosen, *image, args.drive_frames, args.rate, args.level)
    written = write_folder(job, args.processes)
    kept = len(job.own_seeds) * job.drive_frames - written
    print(f"{args.out / args.split}: {written} samples written, {kept} kept")


def main() -> int:
    """Entry point of `dps_synthesize`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

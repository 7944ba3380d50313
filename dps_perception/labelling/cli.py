"""`dps_label`: large networks label a folder, a video or bags in our dataset format."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from .. import cli
from ..data.bag_topics import BagTopics
from ..errors import ConfigError, nearest
from ..evaluation.provenance import provenance
from ..inference.backends.devices import pick_device
from ..labels import LABEL_SPACES
from .contact_sheet import write_sheets
from .depth_scale import Scale, SensorScale
from .depth_teacher import DepthTeacher
from .frames import FrameSequence, Parting, Thinning, open_frames
from .hub import library
from .label_mapping import mapping_for
from .labeller import Labeller, Tally, require_training, write_labels
from .panoptic_teacher import PanopticTeacher
from .record import Record

LARGEST_DEPTH_M = 255.0
"""Where the dataset format ends."""
_ROLES = ("image", "camera_info", "depth", "cloud")


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_label`."""
    parser = argparse.ArgumentParser(
        prog="dps_label",
        description="Label images with large networks of transformers, as a dataset that dps_train reads "
        "(format dvps). Run again it goes on where it stopped; run with another source it adds that.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="folder of images, image, video, bag, or folder of bags")
    parser.add_argument("out", type=Path, help="dataset folder to write")
    teachers = parser.add_argument_group("teachers", "a name on the Hugging Face hub, or a folder")
    teachers.add_argument("--panoptic", metavar="NAME", help="Mask2Former, MaskFormer, OneFormer or EoMT")
    teachers.add_argument("--depth", metavar="NAME", help="metric depth: Depth Anything V2, Depth Pro, ZoeDepth, GLPN")
    teachers.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    classes = parser.add_argument_group("labels")
    classes.add_argument("--label-space", default="cityscapes", help=f"classes to write: {', '.join(LABEL_SPACES)}")
    classes.add_argument("--label-table", type=Path, metavar="FILE", help="JSON table of your own, see docs/labels.md")
    classes.add_argument("--min-confidence", type=float, default=0.5, help="pixels below it are void; above 0, below 1")
    depth = parser.add_argument_group("depth")
    depth.add_argument("--max-depth", type=float, metavar="M", help="unknown beyond it; default: the teacher's own")
    depth.add_argument(
        "--teacher-focal-px",
        type=float,
        metavar="F",
        help="focal length of the depth teacher's training camera in pixels of the network's input, where it is not "
        "known by name; 0: don't scale by focal length",
    )
    depth.add_argument(
        "--sensor-scale",
        choices=get_args(SensorScale),
        default="bag",
        help="scale depth to the bag's LiDAR or depth camera: one factor for the bag, or for each frame",
    )
    images = parser.add_argument_group("images")
    images.add_argument("--camera", type=Path, metavar="FILE", help="of images and videos: .yaml of ROS or .json")
    images.add_argument("--fov-deg", type=float, metavar="A", help="instead: field of view along the longer side")
    images.add_argument("--rectified", action="store_true", help="the images are undistorted already")
    images.add_argument(
        "--topic", action="append", default=[], metavar="ROLE=NAME", help=f"of a bag; roles: {', '.join(_ROLES)}"
    )
    thin = images.add_mutually_exclusive_group()
    thin.add_argument("--every", type=int, default=1, help="take every n-th frame")
    thin.add_argument("--fps", type=float, help="take at most so many frames a second of a video or bag")
    images.add_argument("--limit", type=int, help="take at most so many frames of each sequence")
    images.add_argument("--val-share", type=float, default=0.2, help="share at the end of each sequence to validate on")
    images.add_argument(
        "--gap-s", type=float, default=1.0, help="seconds before it that are left out (images: 1 s each)"
    )
    parser.add_argument("--sheet-images", type=int, default=24, help="images on the contact sheets; 0 draws none")
    return parser


def command(argv: Sequence[str] | None) -> None:
    """Label, and draw contact sheets; status 1 where images could not be read."""
    args = make_parser().parse_args(argv)
    _check(args)
    thinning, parting = Thinning(args.every, args.fps, args.limit), Parting(args.val_share, args.gap_s)
    sequences = open_frames(args.source, args.camera, args.fov_deg, args.rectified, _topics(args))
    if args.fps is not None and not any(frames.has_time for frames in sequences):
        raise ConfigError("--fps is for videos and bags; images of a folder have no time: use --every")
    chosen = [frames.frames(thinning, parting) for frames in sequences]
    require_training(chosen)
    labeller, settings = _labeller(args)
    made_by = {**provenance("dps_label", argv), "torch": torch.__version__, "transformers": library().__version__}
    record, tally = Record(args.out, settings, made_by), Tally()
    try:
        for frames, infos in zip(sequences, chosen, strict=True):
            number = record.sequence(_source(args, frames, len(infos)))
            scale = _scale(record.sources[number], frames, infos, labeller)
            record.write()
            write_labels(frames, infos, labeller, scale, args.out, number, tally)
    except torch.OutOfMemoryError as error:
        raise ConfigError(f"out of memory on {args.device}; take smaller teachers or --device cpu ({error})") from error
    print(tally.summary(args.panoptic is not None, args.depth is not None), flush=True)
    splits = sorted({info.split for infos in chosen for info in infos if (args.out / info.split).is_dir()})
    if args.sheet_images and splits:
        sheets = write_sheets(args.out, splits, labeller.label_space, args.sheet_images)
        print(f"look at {sheets[0].parent} ({len(sheets)} pages) before you train on {args.out}", flush=True)
    if tally.faults:
        shown = "\n  ".join(tally.faults[:20])
        print(f"{len(tally.faults)} images could not be read:\n  {shown}", file=sys.stderr, flush=True)
        raise SystemExit(1)


def _check(args: argparse.Namespace) -> None:
    """Values that argparse can't judge."""
    if not (args.panoptic or args.depth):
        raise ConfigError(
            "give at least one teacher, e.g. --panoptic facebook/mask2former-swin-large-cityscapes-panoptic "
            "--depth depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf"
        )
    if args.label_space not in LABEL_SPACES:
        raise ConfigError(
            f"no label space '{args.label_space}'{nearest(args.label_space, LABEL_SPACES)}; "
            f"there are {', '.join(LABEL_SPACES)}"
        )
    if not 0 < args.min_confidence < 1:
        raise ConfigError(f"--min-confidence {args.min_confidence} must be above 0 and below 1")
    if args.max_depth is not None and not 0 < args.max_depth <= LARGEST_DEPTH_M:
        raise ConfigError(f"--max-depth {args.max_depth} must be above 0 and at most {LARGEST_DEPTH_M:g} m")
    if args.teacher_focal_px is not None and not 0 <= args.teacher_focal_px < math.inf:
        raise ConfigError(f"--teacher-focal-px {args.teacher_focal_px} must be 0 or more")
    if args.out.resolve().is_relative_to(args.source.resolve()):
        raise ConfigError(
            f"'{args.out}' lies in the source '{args.source}', which it would add images to; write elsewhere"
        )
    if args.sheet_images < 0:
        raise ConfigError(f"--sheet-images {args.sheet_images} must be 0 or more")


def _topics(args: argparse.Namespace) -> BagTopics:
    """Topics of bags; measured depth is only looked for where it is used."""
    given: dict[str, str] = {}
    for text in args.topic:
        role, equals, name = text.partition("=")
        if not equals or not name or role not in _ROLES:
            raise ConfigError(f"--topic '{text}': give ROLE=NAME with one of the roles {', '.join(_ROLES)}")
        given[role] = name
    off: dict[str, Any] = {}
    if args.sensor_scale == "off" or not args.depth:
        off = {"depth": None, "cloud": None}
    return BagTopics(**{"panoptic": None, **off, **given})


def _labeller(args: argparse.Namespace) -> tuple[Labeller, dict[str, Any]]:
    """The teachers, and the settings that make labels what they are, for the record."""
    device = pick_device(args.device)
    settings: dict[str, Any] = {"label_space": args.label_space}
    panoptic = mapping = depth = None
    if args.panoptic:
        panoptic = PanopticTeacher(args.panoptic, device, args.min_confidence)
        mapping = mapping_for(panoptic.names, LABEL_SPACES[args.label_space], args.label_table)
        if mapping.unnamed:
            _say(f"void, since {mapping.table} does not name them: {', '.join(mapping.unnamed)}")
        settings["panoptic"] = {
            **vars(panoptic.identity),
            **mapping.to_dict(panoptic.names),
            "min_confidence": args.min_confidence,
        }
    max_depth_m = args.max_depth or LARGEST_DEPTH_M
    if args.depth:
        depth = DepthTeacher(args.depth, device, args.teacher_focal_px)
        if depth.focal_px is None and not depth.estimates_focal and args.teacher_focal_px is None:
            _say(
                f"warning: the focal length of the camera that '{args.depth}' was trained with is not known, so depth "
                "is not scaled to this camera's; give --teacher-focal-px"
            )
        settings["depth"] = {
            **vars(depth.identity),
            "teacher_focal_px": "estimated for each image" if depth.estimates_focal else depth.focal_px,
            "teacher_max_depth_m": depth.max_depth_m,
            "max_depth_m": max_depth_m,
            "sensor_scale": args.sensor_scale,
        }
    return Labeller(panoptic, mapping, depth, max_depth_m, args.sensor_scale), settings


def _source(args: argparse.Namespace, frames: FrameSequence, number: int) -> dict[str, Any]:
    """What a sequence of the dataset is, for the record."""
    return {
        "source": str(args.source.resolve()),
        "name": frames.name,
        "frames": len(frames.stamps_ns),
        "fingerprint": frames.fingerprint(),
        "chosen": number,
        "every": args.every,
        "fps": args.fps,
        "limit": args.limit,
        "val_share": args.val_share,
        "gap_s": args.gap_s,
        "camera": str(args.camera.resolve()) if args.camera else None,
        "fov_deg": args.fov_deg,
        "rectified": args.rectified,
        "sensor": frames.sensor,
    }


def _scale(source: dict[str, Any], frames: FrameSequence, infos: list[Any], labeller: Labeller) -> Scale | None:
    """The depth scale of a sequence: that of an earlier run, or measured now and recorded."""
    if "scale" not in source:
        scale = labeller.scale_of(frames, infos)
        source["scale"] = None if scale is None else scale.to_dict()
        if scale is not None:
            _say(f"{frames.name}: {frames.sensor} says depth times {scale}")
    return Scale(**source["scale"]) if source["scale"] else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Console entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

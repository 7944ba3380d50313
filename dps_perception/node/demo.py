"""`dps_demo`: real camera images and a drive through a synthetic street, through the real node, to one HTML report.

Each of node, replay and this recorder is a process of its own; they meet on ROS topics only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .. import cli
from ..data.bag import BagReader
from ..data.street.cli import SIZE_LIMITS
from ..data.street.dataset import VERSION as STREET_VERSION
from ..errors import ConfigError, DpsError
from ..evaluation import Scores
from ..evaluation.provenance import provenance
from ..evaluation.report import Report, Section, write_report
from ..evaluation.score_report import latency_summary
from ..files import replacing
from . import demo_report as page
from .demo_images import (
    ASSUMED_FOV_DEG,
    START_NS,
    STEP_NS,
    CameraImage,
    motorcycle,
    packaged_images,
    spread,
    user_images,
    write_camera_bag,
)
from .demo_measure import busiest_stamp, latencies_ms, read_model, score_drive, shown_frames
from .demo_processes import Children, ros_environment, stop_requests_as_interrupts
from .demo_session import DEMO_PARAMETERS, Recording, Session, session

CAMERA, DRIVE = "camera images", "street drive"
DRIVE_SEED = 3_000_000
DRIVE_SIZE = "512x1024"
DRIVE_RATE_HZ = 5.0
_PICTURED_FRAMES = 3


def make_parser() -> argparse.ArgumentParser:
    """The command line of `dps_demo`."""
    parser = argparse.ArgumentParser(
        prog="dps_demo",
        description="Play real camera images and a held-out street drive into the node, record and score what it "
        "publishes, and write one HTML report.",
    )
    add = parser.add_argument
    add(
        "--images",
        type=Path,
        metavar="PATH",
        help="your own: a folder of images, a video, or one image [what packages hold]",
    )
    add(
        "--fov",
        type=float,
        default=ASSUMED_FOV_DEG,
        help="field of view assumed for your images, degrees [%(default)g]",
    )
    add("--out", type=Path, default=Path("outputs/demo"), help="folder for report, recordings and logs [%(default)s]")
    add("--weights", default="", help="weights file, name of shipped weights, or of a family [EfficientDPS]")
    add("--frames", type=int, default=60, help="frames of the street drive [%(default)s]")
    add("--max-images", type=int, default=3, help="at most so many images of each source [%(default)s]")
    add("--size", default=DRIVE_SIZE, metavar="HxW", help="of the drive's images [%(default)s]")
    add(
        "--seed",
        type=int,
        default=DRIVE_SEED,
        help="of the street; 3000000 and up are held out from training [%(default)s]",
    )
    return parser


def camera_images(images: Path | None, fov_deg: float, limit: int) -> tuple[list[CameraImage], list[str]]:
    """The images to play, and what is left out for want of a package.

    Raises:
        DatasetError, ImageError: the user's images can't be read.
        DpsError: there is no image at all.
    """
    measured = motorcycle()
    absent = (
        []
        if measured
        else ["stereo image with measured depth of scikit-image, which is not installed (pip install scikit-image)"]
    )
    if images is not None:
        chosen = list(user_images(images, limit, fov_deg))
    else:
        chosen, missing = packaged_images(limit)
        absent += missing
    found = ([measured] if measured else []) + chosen
    if not found:
        raise DpsError(f"no camera image: {'; '.join(absent)}; or give your own with --images")
    return found, absent


def street_drive(args: argparse.Namespace, children: Children, ros: Session) -> Path:
    """The bag of a drive, rendered in a process of its own unless an equal one is there already.

    Raises:
        ChildError: rendering failed, or meanwhile the node.
    """
    bag: Path = args.out.parent / "drives" / f"street_v{STREET_VERSION}_{args.seed}_{args.frames}x{args.size}"
    if not (bag / "metadata.yaml").exists():
        print(f"Rendering a drive of {args.frames} frames through street {args.seed} (kept in {bag})", flush=True)
        words = ["bag", str(bag), "--seed", str(args.seed), "--frames", str(args.frames), "--size", args.size]
        module = "dps_perception.data.street.cli"
        children.start("dps_synthesize", module, *words, "--rate", str(DRIVE_RATE_HZ), show=True)
        while not children.finished("dps_synthesize"):
            ros.check_node()
            time.sleep(0.1)
    return bag


def play(args: argparse.Namespace, images: Sequence[CameraImage]) -> dict[str, Recording]:
    """Run the node, play images and drive into it one after the other, and record what it publishes.

    Raises:
        DpsError: one of the processes failed.
    """
    os.environ.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)
    os.environ.update(environment := ros_environment())
    recordings = {}
    with Children(args.out / "log", environment) as children, session(children) as ros:
        print(f"Starting dps_node in ROS domain {environment['ROS_DOMAIN_ID']}", flush=True)
        # A JSON string is a YAML string: what is in the path can't change its meaning.
        ros.start_node(DEMO_PARAMETERS | ({"weights": json.dumps(args.weights)} if args.weights else {}))
        write_camera_bag(args.out / "camera_images", images)
        bags = {CAMERA: args.out / "camera_images", DRIVE: street_drive(args, children, ros)}
        ros.wait_until_active()
        for title, bag in bags.items():
            recordings[title] = ros.play(bag, args.out / f"{title.replace(' ', '_')}_recording", title)
            print(f"{title}: {recordings[title].frames} frames in {recordings[title].seconds:.1f} s", flush=True)
    return recordings


def report(args: argparse.Namespace, images: Sequence[CameraImage], absent: list[str], played: dict[str, Recording],
           argv: Sequence[str] | None) -> Scores:  # fmt: skip
    """Score the recordings and write `report.html` and `demo.json`; return the drive's scores."""
    timings = {title: latencies_ms(recording) for title, recording in played.items()}
    rates = {title: r.frames / r.seconds if r.seconds else float("nan") for title, r in played.items()}
    with BagReader(played[CAMERA].bag) as reader:
        camera_frames = shown_frames(reader, [START_NS + i * STEP_NS for i in range(len(images))])
    with BagReader(played[DRIVE].bag) as reader:
        model = read_model(reader)
        scores = score_drive(reader, model.label_space)
        stamps = reader.common_stamps(played[DRIVE].received)
        drive_frames = shown_frames(reader, [stamps[i] for i in spread(len(stamps), _PICTURED_FRAMES)])
        busiest = shown_frames(reader, [busiest_stamp(reader)])
    if len(camera_frames) != len(images) or not drive_frames or not busiest:
        raise DpsError(f"outputs are missing, so there is nothing to show: {_counts(played)}")
    about = (
        f"{played[DRIVE].frames} frames of seed {args.seed} (held out from training), replayed by dps_replay, labelled "
        "by dps_node and scored from the recording by exact stamps."
    )
    made_with = {
        "model": f"{model.model_id} ({model.backend}, {model.precision})",
        "weights SHA-256": model.weights_sha256,
        **{f"recording, {title}": str(recording.bag) for title, recording in played.items()},
        **provenance("dps_demo", argv),
    }
    summary = Section("In short", [page.headline(scores, timings[DRIVE], list(played.values()))])
    sections = [
        summary,
        page.drive_section(scores, drive_frames, model.label_space, about, stamps[0]),
        page.cloud_section(busiest[0], model.label_space),
        page.instance_section(busiest[0], model.label_space),
        page.camera_section(images, camera_frames, absent),
        page.latency_section({title: timings[title] for title in (DRIVE, CAMERA)}, rates),
        page.arrival_section(played),
    ]
    subtitle = "One camera in; panoptic labels, metric depth, labelled points and instances out."
    write_report(args.out / "report.html", Report("dps_perception demo", sections, subtitle, made_with))
    measured = {
        image.name: page.depth_errors(frame.depth_m, frame.gt_depth_m)
        for image, frame in zip(images, camera_frames, strict=True)
        if frame.gt_depth_m is not None
    }
    numbers = {
        "drive": scores.to_dict(),
        "camera_depth": measured,
        "latency_ms": {title: latency_summary(stages) for title, stages in timings.items()},
        "received": {title: {"frames": r.frames, **r.received} for title, r in played.items()},
        "made_with": made_with,
    }
    with replacing(args.out / "demo.json") as beside:
        beside.write_text(json.dumps(numbers, indent=1))
    return scores


def _counts(played: dict[str, Recording]) -> str:
    short = [
        f"{topic} came for {count} of {recording.frames} {title}"
        for title, recording in played.items()
        for topic, count in recording.received.items()
        if count != recording.frames or recording.strangers[topic]
    ]
    return ", ".join(short) or "none"


def command(argv: Sequence[str] | None) -> None:
    """Run the demo.

    Raises:
        DpsError: something failed; one line says what.
    """
    begin = time.monotonic()
    args = make_parser().parse_args(argv)
    if args.frames < 1 or args.max_images < 1:
        raise ConfigError(f"--frames {args.frames}, --max-images {args.max_images}: at least 1 is needed")
    cli.parse_size(args.size, *SIZE_LIMITS)
    stop_requests_as_interrupts()
    images, absent = camera_images(args.images, args.fov, args.max_images)
    for line in absent:
        print(f"Left out: {line}")
    played = play(args, images)
    scores = report(args, images, absent, played, argv)
    print(scores.table())
    result = args.out / "report.html"
    print(f"Report after {time.monotonic() - begin:.0f} s: {result.resolve()}")
    if not all(recording.complete for recording in played.values()):
        raise DpsError(f"not every output arrived for every image: {_counts(played)}; logs are in {args.out / 'log'}")
    if os.environ.get("DISPLAY") and not os.environ.get("CI"):
        _open(result)


def _open(path: Path) -> None:
    """Show the report in a browser, where the desktop knows how to; without one it is named already."""
    try:
        subprocess.Popen(
            ["xdg-open", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        print(f"note: xdg-open can't show it ({error.strerror}); open the file yourself")


def main() -> int:
    """Entry point of `dps_demo`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

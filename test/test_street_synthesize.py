"""dps_synthesize: folders that resume, bags, and clear refusals."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dps_perception.data.bag import BagReader
from dps_perception.data.bag_dataset import BagDataset
from dps_perception.data.dvps import DvpsFolder
from dps_perception.data.street import drive, seeds, single_image
from dps_perception.data.street.cli import main, parse_seeds
from dps_perception.data.street.dataset import FolderJob, write_folder
from dps_perception.errors import ConfigError

COMMAND = [sys.executable, "-m", "dps_perception.data.street.cli"]


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob("0*.*")}


def test_folder_holds_the_images_of_its_seeds(tmp_path: Path) -> None:
    job = FolderJob(tmp_path, "train", range(4, 7), 64, 128)
    assert write_folder(job, processes=2) == 3
    folder = DvpsFolder(tmp_path, "train")
    assert folder.sample_ids == [f"{seed:06d}_000000_street" for seed in (4, 5, 6)]
    read, made = folder[1], single_image(5, 64, 128)
    np.testing.assert_array_equal(read.image, made.image)
    np.testing.assert_array_equal(read.panoptic, made.panoptic)
    near = made.depth_m < 255
    np.testing.assert_allclose(read.depth_m[near], made.depth_m[near], atol=1 / 256)
    assert read.intrinsics == made.intrinsics
    config = json.loads((tmp_path / "train" / "config.json").read_text())
    assert (config["seeds"], config["height"], config["width"]) == ([4, 7], 64, 128)


def test_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = ["folder", str(tmp_path), "--seeds", "0:12", "--size", "64x128", "--processes", "1"]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.DEVNULL)
    split, deadline = tmp_path / "train", time.monotonic() + 60
    while len(list(split.glob("0*_camera.json"))) < 3:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    complete = {p.name[:-12] for p in split.glob("0*_camera.json")}
    before = {name: entry for name, entry in files_of(split).items() if any(name.startswith(c) for c in complete)}
    assert 3 <= len(complete) < 12
    assert main_with(["folder", str(tmp_path), "--seeds", "0:12", "--size", "64x128", "--processes", "1"]) == 0
    after = files_of(split)
    assert len(after) == 4 * 12
    assert {name: after[name] for name in before} == before


def main_with(arguments: list[str]) -> int:
    from dps_perception import cli
    from dps_perception.data.street.cli import command

    return cli.run(command, arguments)


def test_drives_have_poses_and_stamps(tmp_path: Path) -> None:
    job = FolderJob(tmp_path, "drives", range(3, 4), 64, 128, drive_frames=3, rate_hz=5.0)
    assert write_folder(job, processes=1) == 3
    (tmp_path / "drives" / "000003_000001_street_camera.json").unlink()
    assert write_folder(job, processes=1) == 1
    camera = json.loads((tmp_path / "drives" / "000003_000001_street_camera.json").read_text())
    frame = list(drive(3, 3, 5.0, 64, 128))[1]
    assert camera["stamp_ns"] == 200_000_000
    np.testing.assert_allclose(camera["pose"], frame.pose)
    np.testing.assert_array_equal(DvpsFolder(tmp_path, "drives")[1].image, frame.image)


def test_bag_holds_the_drive(tmp_path: Path) -> None:
    out = tmp_path / "town"
    assert main_with(["bag", str(out), "--seed", "12", "--frames", "3", "--rate", "5", "--size", "64x128"]) == 0
    frames = list(drive(12, 3, 5.0, 64, 128))
    with BagReader(out) as reader:
        counts = {topic.name: topic.message_count for topic in reader.topics().values()}
    assert counts["/tf_static"] == 1
    assert counts["/tf"] == counts["/camera/image_raw"] == 3
    for sample, frame in zip(BagDataset(out), frames, strict=True):
        np.testing.assert_array_equal(sample.image, frame.image)
        np.testing.assert_array_equal(sample.panoptic, frame.panoptic)
        np.testing.assert_array_equal(sample.depth_m, frame.depth_m)
        assert sample.intrinsics == frame.intrinsics
    assert json.loads((tmp_path / "town.config.json").read_text())["seed"] == 12


def test_existing_bag_is_kept_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "town"
    out.mkdir()
    assert main_with(["bag", str(out), "--frames", "1", "--size", "64x128"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_named_seeds_are_disjoint() -> None:
    assert parse_seeds("test") == seeds.TEST == range(2_000_000, 2_000_100)
    assert parse_seeds("validation") == range(1_000_000, 1_000_060)
    assert parse_seeds("7") == range(7, 8)
    assert parse_seeds("0:1000") == range(1000)
    ordered = sorted(seeds.NAMED.values(), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ordered))


@pytest.mark.parametrize("text", ["", "5:5", "9:3", "-3:4", "1:2:3", "tset"])
def test_bad_seeds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seeds", "tset"], "did you mean 'test'"),
        (["--seeds", "0:1", "--size", "512"], "HEIGHTxWIDTH"),
        (["--seeds", "0:1", "--size", "0x128"], "HEIGHTxWIDTH"),
        (["--seeds", "0:1", "--processes", "0"], "processes"),
        (["--seeds", "0:1", "--drive-frames", "0"], "--drive-frames 0"),
        (["--seeds", "0:1", "--rate", "-1"], "--rate"),
        (["--seeds", "0:1", "--rate", "nan"], "--rate"),
        (["--seeds", "0:1", "--supersample", "9"], "--supersample"),
        (["--seeds", "0:1", "--split", "../x"], "--split"),
    ],
)
def test_bad_arguments_give_one_line(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_with(["folder", str(tmp_path / "set"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_folder_of_another_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(FolderJob(tmp_path, "train", range(1), 64, 128), processes=1)
    assert main_with(["folder", str(tmp_path), "--seeds", "0:1", "--size", "96x128", "--processes", "1"]) == 2
    assert "height = 64, now 96" in capsys.readouterr().err


def test_main_reads_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dps_synthesize", "folder", "nowhere", "--seeds", "x"])
    assert main() == 2
    assert "START:STOP" in capsys.readouterr().err

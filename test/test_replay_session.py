"""`dps_replay BAG --node`: node, recording, evaluation and viewer of one bag, each in its process, ended in order."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_weights import write_small_weights
from processes import Process, children_of, starter
from rosbags.highlevel import AnyReader

from dps_perception import cli
from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import CAMERA_IN_BASE, write_image, write_street_frame
from dps_perception.node import replay, replay_session
from dps_perception.node.demo_processes import ChildError

SIZE = (64, 128)
FRAMES = 4
START = 1_700_000_000_000_000_000
Start = Callable[..., Process]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for i in range(FRAMES):
            pixels, labels = rng.integers(0, 256, (*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint16)
            depth = np.full(SIZE, 9, np.float32)
            intrinsics = Intrinsics(100, 100, 63.5, 31.5, *SIZE)
            write_street_frame(writer, i, START + i * 200_000_000, pixels, labels, depth, intrinsics, CAMERA_IN_BASE)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))


@pytest.fixture
def start(tmp_path: Path, weights: str) -> Iterator[Start]:
    words = ("--node", "--weights", weights, "--out", tmp_path / "out")
    with starter("dps_perception.node.replay", Process.terminate, OMP_NUM_THREADS="1", DISPLAY="") as run:
        yield lambda bag, *arguments: run(bag, *words, *arguments)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_command_plays_scores_records_and_shows(tmp_path: Path, drive: Path, start: Start) -> None:
    results, picture = tmp_path / "results", tmp_path / "out.rrd"
    run = start(drive, "--every-frame", "--record", str(results), "--view", str(picture))
    out, err = run.communicate(timeout=380)
    assert run.returncode == 0, err
    assert f"/camera/image_raw x{FRAMES}" in out
    assert f"{FRAMES} images received, {FRAMES} processed, 0 dropped" in out
    assert f"{FRAMES} frames scored; not paired: 0 predictions" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["frames"] == {"received": FRAMES, "processed": FRAMES, "dropped": 0}
    assert report["times"]["processing_ms"]["p50"] > 0
    assert report["scores"]["images"] == FRAMES
    assert picture.stat().st_size > 10_000
    with AnyReader([results]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        encodings = {c.topic: (c.msgdef.format.name, c.ext.serialization_format) for c in reader.connections}
        texts = {c.topic: c.msgdef.data for c in reader.connections}
        panoptic = [reader.deserialize(r, c.msgtype) for c, _, r in reader.messages() if c.topic == "/dps/instances"]
    for name in ("panoptic", "depth", "points", "instances", "overlay", "stats", "camera_info", "markers"):
        assert counts[f"/dps/{name}"] == FRAMES
    for topic in ("/camera/image_raw", "/ground_truth/depth", "/ground_truth/panoptic"):
        assert counts[topic] == FRAMES
    assert (counts["/tf_static"], counts["/dps/panoptic_info"]) == (1, 1)
    # What Foxglove asks of a file: CDR messages, and the text of every type with all those that are nested in it.
    assert set(encodings.values()) == {("MSG", "cdr")}
    assert "MSG: dps_msgs/DepthStats" in texts["/dps/instances"]
    assert "MSG: geometry_msgs/Quaternion" in texts["/dps/instances"]
    assert len(panoptic) == FRAMES


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ctrl_c_in_a_loop_ends_all_and_leaves_a_whole_recording(tmp_path: Path, drive: Path, start: Start) -> None:
    run = start(drive, "--loop", "--rate", "2", "--evaluate", "false", "--record", str(tmp_path / "results"))
    end = time.monotonic() + 300
    # In the midst of it: a megabyte, several frames, has been recorded.
    while not any(path.stat().st_size > 1_000_000 for path in tmp_path.glob(".results.*/results/results.mcap")):
        assert time.monotonic() < end
        assert run.poll() is None
        time.sleep(0.05)
    children = children_of(run.pid)
    assert len(children) == 4
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert "stopped before the end" in out
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    with BagReader(tmp_path / "results") as reader:
        assert reader.topics()["/dps/stats"].message_count > 0


class Ended:
    """Children that end with these statuses, each after a last line."""

    def __init__(self, folder: Path, **statuses: int) -> None:
        self.statuses, self.folder = statuses, folder
        for name in statuses:
            self.log(name).write_text(f"first\nlast of {name}\n")

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def started(self, name: str) -> bool:
        return name in self.statuses

    def stop(self, name: str, patience_s: float) -> int:
        return self.statuses[name]

    def last_words(self, name: str) -> str:
        return "disk is full"


def test_a_recording_that_failed_is_told_after_ctrl_c_too(tmp_path: Path) -> None:
    def end(finished: bool, **statuses: int) -> list[str]:
        children: Any = Ended(tmp_path, **statuses)
        return replay_session._end(children, finished)

    (tmp_path / "dps_replay.log").write_text("of an earlier run")
    assert end(False, dps_record=0) == ["recorded last of dps_record"]
    assert end(True, dps_replay=0, dps_view=1) == ["last of dps_replay"]
    assert end(False, dps_record=-signal.SIGINT, dps_evaluate_live=2) == []  # before it had begun
    for finished, statuses in ((False, {"dps_record": 2}), (True, {"dps_evaluate_live": 2})):
        with pytest.raises(ChildError, match="disk is full"):
            end(finished, **statuses)


def test_the_report_of_an_earlier_run_does_not_stay(
    tmp_path: Path, drive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise ChildError("no node today")

    monkeypatch.setattr(replay_session, "session", refuse)
    monkeypatch.setattr(replay_session, "large_message_environment", dict)
    (tmp_path / "report.json").write_text("{}")
    assert cli.run(replay.command, [str(drive), "--node", "--out", str(tmp_path)]) == 2
    assert "no node today" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_mistakes_are_told_before_anything_is_started(
    tmp_path: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BagWriter(tmp_path / "two") as writer:
        for topic in ("/left", "/right"):
            write_image(writer, topic, START, np.zeros((*SIZE, 3), np.uint8), "rgb8", "camera")
    (tmp_path / "taken").mkdir()
    for words, told in {
        (str(tmp_path / "two"),): "2 topics could be the image",
        (
            str(tmp_path / "two"),
            "--image",
            "/left",
        ): "no topic is the camera_info (sensor_msgs/msg/CameraInfo); name it by --camera-info",
        (str(drive), "--record", str(tmp_path / "taken")): "exists already; remove it, or give --overwrite",
        (str(drive), "--topics", "/tf"): "--topics is not for --node",
    }.items():
        assert cli.run(replay.command, [words[0], "--node", *words[1:]]) == 2
        assert told in capsys.readouterr().err

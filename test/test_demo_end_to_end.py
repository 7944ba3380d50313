"""`dps_demo` with the real node, replay and recorder in their processes, on a small drive with untrained weights."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from demo_weights import write_small_weights
from processes import Process, children_of, starter

from dps_perception.data.bag import BagReader

Start = Callable[..., Process]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors"))


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Start]:
    with starter("dps_perception.node.demo", Process.terminate, OMP_NUM_THREADS="1", DISPLAY="") as start:

        def demo(weights: str, *arguments: str) -> Process:
            images = tmp_path / "images"
            images.mkdir()
            cv2.imwrite(str(images / "a.png"), np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
            words = ["--images", images, "--out", tmp_path / "out" / "demo", "--weights", weights]
            return start(*words, "--size", "64x128", *arguments)

        yield demo


@pytest.mark.slow
def test_report_recordings_and_every_output_with_its_stamp(tmp_path: Path, weights: str, start_demo: Start) -> None:
    demo = start_demo(weights, "--frames", "3")
    out, err = demo.communicate(timeout=170)
    assert demo.returncode == 0, err
    folder = tmp_path / "out" / "demo"
    assert f"{folder}/report.html" in out
    numbers = json.loads((folder / "demo.json").read_text())
    received = numbers["received"]["street drive"]
    assert set(received.values()) == {3}
    assert {"/dps/panoptic", "/dps/depth", "/dps/points", "/dps/instances", "/dps/overlay", "/dps/stats"} < set(
        received
    )
    assert set(numbers["received"]["camera images"].values()) == {2}  # the motorcycle and the image given
    assert numbers["drive"]["images"] == 3
    assert 0 < numbers["camera_depth"]["motorcycle (scikit-image, Middlebury 2014)"]["abs_rel_scaled"] < 2
    with BagReader(folder / "street_drive_recording") as reader:
        topics = reader.topics()
        stamps = reader.common_stamps(["/camera/image_raw", "/dps/points", "/dps/instances", "/ground_truth/depth"])
    assert len(stamps) == 3
    assert topics["/dps/panoptic_info"].message_count == 1
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") >= 20
    assert "Every output arrived for every image" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing is loaded from elsewhere
    assert sorted(p.name for p in folder.iterdir() if "partial" in p.name) == []


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_nothing_half_written(tmp_path: Path, weights: str, start_demo: Start) -> None:
    demo = start_demo(weights, "--frames", "3")
    end = time.monotonic() + 120
    log = tmp_path / "out" / "demo" / "log" / "dps_replay.log"
    while not log.exists():  # the node is active, and the first bag is about to be played
        assert time.monotonic() < end
        assert demo.poll() is None
        time.sleep(0.05)
    children = children_of(demo.pid)
    assert len(children) == 2
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert err.rstrip().endswith("interrupted")
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert sorted(p.name for p in (tmp_path / "out" / "demo").iterdir()) == ["camera_images", "log"]


@pytest.mark.slow
def test_wrong_weights_are_one_line(tmp_path: Path, start_demo: Start) -> None:
    demo = start_demo("no_such", "--frames", "1")
    _, err = demo.communicate(timeout=120)
    assert demo.returncode == 2
    assert err.splitlines()[-1].startswith("error: dps_node can't be configured: no weights file")
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "demo" / "report.html").exists()

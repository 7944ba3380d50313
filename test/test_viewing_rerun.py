"""The viewer: what a recording of the node becomes in a Rerun file, read back by Rerun's own command."""

from __future__ import annotations

import builtins
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from processes import starter
from rclpy.node import Node
from rclpy.serialization import serialize_message
from ros_fixtures import ros
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from dps_msgs.msg import ClassInfo, DepthStats, Instance, InstanceArray, PanopticInfo, PipelineStats
from dps_perception import cli
from dps_perception.data.bag_writer import BagWriter
from dps_perception.node import view
from dps_perception.node.graph import message_definitions, type_name_of
from dps_perception.node.qos import LATCHED
from dps_perception.node.spin import spin_until

FRAMES = 3
SIZE = (4, 6)
CAR = 13


def image(pixels: np.ndarray, encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels.strides[0])
    message.data.frombytes(pixels.tobytes())  # type: ignore[union-attr]
    return message


def cloud() -> PointCloud2:
    names = ("x", "y", "z", "rgb")
    fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(names)]
    points = np.ones((*SIZE, 4), np.float32)
    points[0, 0] = np.nan
    message = PointCloud2(height=SIZE[0], width=SIZE[1], fields=fields, point_step=16, row_step=16 * SIZE[1])
    message.data.frombytes(points.tobytes())  # type: ignore[union-attr]
    return message


def instances() -> InstanceArray:
    message = InstanceArray(model_id="hand-made", height=4, width=6, label_divisor=256)
    car = Instance(
        class_id=CAR, class_name="car", is_thing=True, track_id=7, depth=DepthStats(median=12.34), has_box=True
    )
    car.roi.width = car.roi.height = 2
    car.box_center.position.z = 12.0
    car.box_size.x = 1.8
    road = Instance(class_id=0, class_name="road", depth=DepthStats(median=5.0))
    message.instances = [road, car]
    return message


def outputs() -> dict[str, Any]:
    """One message of each output that the viewer shows, without stamp."""
    camera = CameraInfo(height=SIZE[0], width=SIZE[1])
    camera.p = np.array([5.0, 0, 2.5, 0, 0, 5, 1.5, 0, 0, 0, 1, 0])
    return {
        "overlay": image(np.zeros((*SIZE, 3), np.uint8), "rgb8"),
        "panoptic": image(np.full(SIZE, CAR * 256 + 1, np.uint16), "16UC1"),
        "depth": image(np.full(SIZE, np.inf, np.float32), "32FC1"),
        "camera_info": camera,
        "points": cloud(),
        "instances": instances(),
        "stats": PipelineStats(inference_ms=20.0, processing_ms=30.0, latency_ms=40.0, rate_hz=float("nan")),
    }


def info() -> PanopticInfo:
    message = PanopticInfo(model_id="hand-made", void_class_id=255)
    message.classes = [ClassInfo(class_id=CAR, name="car", is_thing=True)]
    return message


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "results"
    with BagWriter(path) as writer:

        def write(topic: str, stamp: int, message: Any) -> None:
            name = type_name_of(type(message))
            if not writer.knows(name):
                writer.register_types(message_definitions(type(message)))
            writer.add_topic(topic, name)
            writer.write_raw(topic, stamp * 10**9, serialize_message(message))

        write("/dps/panoptic_info", 1, info())
        for stamp in range(1, FRAMES + 1):
            messages = outputs() | {"image": image(np.zeros((*SIZE, 3), np.uint8), "bgr8")}
            for name, message in messages.items():
                message.header.stamp.sec = stamp
                write("/camera/image_raw" if name == "image" else f"/dps/{name}", stamp, message)
    return path


def rerun(*words: object) -> str:
    command = [sys.executable, "-m", "rerun", "rrd", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def rows(path: Path) -> Counter[str]:
    """Rows of each entity in a file, by `rerun rrd print`."""
    found: Counter[str] = Counter()
    for number, entity in re.findall(r"with (\d+) rows .*? - (/\S*) - data", rerun("print", path)):
        found[entity] += int(number)
    return found


SHOWN = {
    *("/overlay", "/world/camera", "/world/camera/panoptic", "/world/camera/depth", "/world/camera/boxes"),
    *("/world/points", "/world/instances", "/stages_ms/inference", "/stages_ms/processing", "/latency_ms"),
    *("/frames/processed", "/frames/dropped"),
}


def test_a_recorded_bag_becomes_a_file_with_everything(
    tmp_path: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(view.command, [str(recording), "--save", str(tmp_path / "out.rrd")]) == 0
    assert "panoptic_info x1" in capsys.readouterr().out
    rerun("verify", tmp_path / "out.rrd")
    found = rows(tmp_path / "out.rrd")
    assert {entity: found[entity] for entity in SHOWN} == dict.fromkeys(SHOWN, FRAMES)
    assert found["/world/camera/image"] == FRAMES
    assert found["/"] == 1  # names and colours of the classes
    assert "/rate_hz" not in found  # not known: no curve
    texts = rerun("print", "-vvv", tmp_path / "out.rrd")
    assert "car #7 12.3 m" in texts
    assert "road" not in texts


def test_live(tmp_path: Path) -> None:
    """All outputs of a node that publishes while the viewer looks, in a process of its own; Ctrl-C ends it well."""
    with ros() as (context, executor), starter("dps_perception.node.view") as start:
        node = Node("dps", context=context)
        executor.add_node(node)
        node.create_publisher(PanopticInfo, "~/panoptic_info", LATCHED).publish(info())
        publishers = {name: node.create_publisher(type(m), f"~/{name}", 10) for name, m in outputs().items()}
        viewer = start("--save", tmp_path / "live.rrd")
        assert spin_until(executor, lambda: all(p.get_subscription_count() for p in publishers.values()), 60)
        for stamp in range(1, FRAMES + 1):
            for name, message in outputs().items():
                message.header.stamp.sec = stamp
                publishers[name].publish(message)
        for publisher in publishers.values():
            publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=10))
        spin_until(executor, lambda: False, 1.0)
        viewer.send_signal(signal.SIGINT)
        out, err = viewer.communicate(timeout=60)
        assert viewer.returncode == 0, err
        assert f"instances x{FRAMES}" in out
        found = rows(tmp_path / "live.rrd")
        assert {entity: found[entity] for entity in SHOWN} == dict.fromkeys(SHOWN, FRAMES)


@pytest.fixture
def without_rerun(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "rerun":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_rerun_it_says_what_to_install(without_rerun: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(view.command, []) == 2
    assert "the viewer needs the package rerun-sdk: pip install rerun-sdk" in capsys.readouterr().err


def test_mistakes_are_one_line(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for words, told in {
        (str(recording),): "there is no display for a window",
        (str(recording), "--node", "/other"): "has no topic of node '/other'",
        (str(recording), "--save", str(tmp_path / "no" / "out.rrd")): "there is no folder",
        (str(recording), "--image", "/camera/image"): "did you mean '/camera/image_raw'",
        ("--point-stride", "0"): "--point-stride 0: must be 1 or more",
        (str(tmp_path / "none"),): "does not exist",
    }.items():
        assert cli.run(view.command, list(words)) == 2
        assert told in capsys.readouterr().err

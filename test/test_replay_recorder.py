"""The recorder in a process of its own: what is published is in the bag, also after Ctrl-C; nothing half-written."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dps_msgs.msg import DepthStats, Instance, InstanceArray
from dps_perception.data.bag import BagReader
from dps_perception.data.bag_writer import BagWriter
from dps_perception.errors import DatasetError


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def instances(index: int) -> InstanceArray:
    car = Instance(panoptic_id=13 * 256 + 1, class_name="car", depth=DepthStats(median=7.5))
    message = InstanceArray(model_id="hand-made", height=4, width=5, label_divisor=256, instances=[car])
    message.header.stamp.sec = 100 + index
    return message


def test_readable_after_ctrl_c(tmp_path: Path, source: Node, recorder: Any) -> None:
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    source.create_publisher(String, "/latched", latched).publish(String(data="once"))
    publisher = source.create_publisher(InstanceArray, "/instances", 10)
    loose = source.create_publisher(Image, "/loose", best_effort)
    process = recorder(tmp_path / "bag", "/instances", "/latched", "/loose", "/never")
    wait(lambda: publisher.get_subscription_count() == 1 and loose.get_subscription_count() == 1)
    sent = [instances(i) for i in range(5)]
    for message in sent:
        publisher.publish(message)
    assert publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=10))
    assert not (tmp_path / "bag").exists()  # not before it is whole
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert (process.returncode, err) == (0, "")
    assert "/instances x5, /latched x1, /loose x0, /never x0" in out
    with BagReader(tmp_path / "bag") as reader:
        topics = reader.topics()
        raw = list(reader.raw_messages(["/instances"]))
        message = reader.deserialize(raw[2])
    assert topics["/latched"].latched
    assert "/never" not in topics
    assert [deserialize_message(m.data, InstanceArray) for m in raw] == sent
    assert (message.header.stamp.sec, message.instances[0].class_name) == (102, "car")
    assert message.instances[0].depth.median == 7.5
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_stops_at_the_wanted_number(tmp_path: Path, source: Node, recorder: Any) -> None:
    publisher = source.create_publisher(String, "/text", 10)
    process = recorder(tmp_path / "bag", "/text", "--until", "/text=3")
    wait(lambda: publisher.get_subscription_count() == 1)
    for word in "abc":
        publisher.publish(String(data=word))
    assert process.wait(90) == 0
    with BagReader(tmp_path / "bag") as reader:
        assert [reader.deserialize(m).data for m in reader.raw_messages()] == ["a", "b", "c"]


def test_incomplete_recording_is_an_error_and_leaves_nothing(tmp_path: Path, source: Node, recorder: Any) -> None:
    process = recorder(tmp_path / "bag", "/text", "--until", "/text=3", "--timeout", 0.3)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 2
    assert err == "error: recording not complete after 0.3 s: {'/text': 0}, wanted {'/text': 3}\n"
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path) -> None:
        with BagWriter(path) as writer:
            monkeypatch.setattr(writer._file, "_file", open("/dev/full", "wb", buffering=0))  # noqa: SIM115
            writer.add_topic("/text", "std_msgs/msg/String")
            for _ in range(3):
                writer.write_raw("/text", 1, bytes(2**20))

    with pytest.raises(DatasetError, match=r"bag' can't be written: No space left on device"):
        fill(tmp_path / "bag")
    assert list(tmp_path.iterdir()) == []

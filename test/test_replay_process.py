"""`dps_replay` in a process of its own: order, exact bytes, pace, /clock, loop, offset, topics, lock step, mistakes."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from processes import starter
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_fixtures import ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader, header_stamp_ns
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import CAMERA_IN_BASE, write_street_frame
from dps_perception.node.pace import Pace
from dps_perception.node.spin import spin_until

START = 1_700_000_000_000_000_000
STEP = 100_000_000
FRAMES = 8
SIZE = (48, 64)
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for i in range(FRAMES):
            write_street_frame(
                writer,
                i,
                START + i * STEP,
                rng.integers(0, 256, (*SIZE, 3), np.uint8),
                np.zeros(SIZE, np.uint16),
                np.ones(SIZE, np.float32),
                Intrinsics(50, 50, 31.5, 23.5, *SIZE),
                CAMERA_IN_BASE,
            )
    return path


class Listener:
    """Subscriptions that keep (time of sending, topic, message) of all they get."""

    def __init__(self, context: rclpy.Context, executor: SingleThreadedExecutor) -> None:
        self.node = Node("listener", context=context)
        self.executor = executor
        executor.add_node(self.node)
        self.got: list[tuple[float, str, Any]] = []

    def listen(self, topic: str, kind: Any, raw: bool = False, qos: QoSProfile = RELIABLE) -> None:
        def keep(message: Any, info: Any) -> None:
            self.got.append((info["source_timestamp"] * 1e-9, topic, message))

        self.node.create_subscription(kind, topic, keep, qos, raw=raw)

    def of(self, topic: str) -> list[Any]:
        return [m for _, t, m in self.got if t == topic]

    def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        assert spin_until(self.executor, condition, timeout_s), [t for _, t, _ in self.got]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with ros() as both:
        yield Listener(*both)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with starter("dps_perception.node.replay") as start:
        yield start


def padded(data: bytes) -> bytes:
    """What arrives: DDS fills a message's end with zeros up to a multiple of four bytes."""
    return data + bytes(-len(data) % 4)


def test_exact_bytes_in_order_at_twice_the_pace(drive: Path, listener: Listener, start: Any) -> None:
    listener.listen("/camera/image_raw", Image, raw=True)
    listener.listen("/camera/camera_info", CameraInfo, raw=True)
    listener.listen("/tf_static", TFMessage, raw=True, qos=LATCHED)
    wait_for = ["1/camera/image_raw", "/camera/camera_info", "/tf_static"]
    replay = start(drive, "--rate", 2, "--wait-for-subscribers", *wait_for)
    listener.until(lambda: len(listener.got) == 2 * FRAMES + 1)
    with BagReader(drive) as reader:
        for topic in ("/camera/image_raw", "/camera/camera_info", "/tf_static"):
            assert [bytes(m) for m in listener.of(topic)] == [padded(m.data) for m in reader.raw_messages([topic])]
    times = [t for t, topic, _ in listener.got if topic == "/camera/image_raw"]
    # 0.7 s of recording at rate 2 are 0.35 s; a busy machine sends the first or the last one late.
    assert 0.15 < times[-1] - times[0] < 5
    assert replay.wait(90) == 0
    assert f"{5 * FRAMES + 1} messages published" in replay.communicate()[0]


def test_offset_topics_remap_and_clock(drive: Path, listener: Listener, start: Any) -> None:
    listener.listen("/front/image", Image)
    listener.listen("/camera/camera_info", CameraInfo)
    listener.listen("/tf_static", TFMessage, qos=LATCHED)
    listener.listen("/clock", Clock)
    start(
        *(drive, "--start-offset", 0.25, "--clock", 50, "--remap", "/camera/image_raw:=/front/image"),
        *("--topics", "/camera/image_raw", "/tf_static", "--wait-for-subscribers", "/front/image", "/tf_static"),
    )
    listener.until(lambda: len(listener.of("/front/image")) == FRAMES - 3)
    listener.until(
        lambda: listener.of("/tf_static") and len(listener.of("/clock")) > 5
    )  # topics don't wait for each other
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in listener.of("/front/image")]
    assert stamps == [START + i * STEP for i in range(3, FRAMES)]
    assert len(listener.of("/tf_static")) == 1  # recorded before the offset, and needed all the same
    assert not listener.of("/camera/camera_info")
    clock = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.of("/clock")]
    assert clock == sorted(clock)
    assert clock[-1] <= START + (FRAMES - 1) * STEP
    # A message is published when the clock has reached its stamp, never sooner: the clock stays behind the next one.
    before_last_image = [t for _, t, _ in listener.got].index("/front/image")
    first_clock = next(m for _, t, m in listener.got[:before_last_image] if t == "/clock").clock
    assert first_clock.sec * 10**9 + first_clock.nanosec <= START + 3 * STEP


def test_loop_until_ctrl_c(drive: Path, listener: Listener, start: Any) -> None:
    listener.listen("/camera/image_raw", Image, raw=True)
    replay = start(
        drive, "--loop", "--rate", 20, "--topics", "/camera/image_raw", "--wait-for-subscribers", "/camera/image_raw"
    )
    listener.until(lambda: len(listener.got) >= 2 * FRAMES + 3)
    replay.send_signal(signal.SIGINT)
    out, err = replay.communicate(timeout=90)
    assert replay.returncode == 0
    assert "(stopped)" in out
    assert err == ""
    stamps = [header_stamp_ns(bytes(m)) for m in listener.of("/camera/image_raw")]
    once = [START + i * STEP for i in range(FRAMES)]
    assert stamps[: 2 * FRAMES] == once + once


def test_lock_step_waits_for_each_result(drive: Path, listener: Listener, start: Any) -> None:
    """A slow consumer answers each image; no image may come before the answer to the one before."""
    answers = listener.node.create_publisher(CameraInfo, "/result", RELIABLE)
    in_hand: list[Image] = []
    overrun: list[int] = []

    def on_image(message: Image) -> None:
        listener.got.append((time.monotonic(), "/camera/image_raw", message))
        overrun.append(len(in_hand))
        in_hand.append(message)

    listener.node.create_subscription(Image, "/camera/image_raw", on_image, RELIABLE)
    replay = start(
        *(drive, "--rate", "inf", "--topics", "/camera/image_raw", "--wait-for-subscribers", "/camera/image_raw"),
        *("--lock-step", "/camera/image_raw=/result"),
    )
    for i in range(FRAMES):
        listener.until(lambda i=i: len(listener.of("/camera/image_raw")) == i + 1)
        # Given the chance, a player that doesn't wait would now send the next image.
        spin_until(listener.executor, lambda: len(in_hand) > 1, 0.05)
        if i == FRAMES - 1:  # nor may it end
            assert not spin_until(listener.executor, lambda: replay.poll() is not None, 1.0)
        answers.publish(CameraInfo(header=in_hand.pop().header))
    assert overrun == [0] * FRAMES
    assert replay.wait(90) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--topics", "/camera/image"], "no topic '/camera/image', did you mean '/camera/image_raw'?"),
        (["--rate", "0"], "--rate 0.0: must be above 0"),
        (["--remap", "/a"], "--remap '/a': give OLD:=NEW"),
        (["--wait-for-subscribers", "/nobody", "--wait-timeout", "0.2"], "(/nobody: 0 of 1, not played)"),
        (["--wait-for-subscribers", "2/tf", "--wait-timeout", "0.2"], "(/tf: 0 of 2)"),
        (["--lock-step", "/tf=/result", "--wait-timeout", "0.2"], "nobody publishes '/result' after 0.2 s"),
    ],
)
def test_mistakes_are_one_line(drive: Path, start: Any, arguments: list[str], told: str) -> None:
    replay = start(drive, *arguments)
    out, err = replay.communicate(timeout=90)
    assert replay.returncode == 2
    assert out == ""
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_missing_bag_is_one_line(tmp_path: Path, start: Any) -> None:
    _, err = start(tmp_path / "none").communicate(timeout=90)
    assert err == f"error: bag '{tmp_path / 'none'}' does not exist; give a rosbag2 folder, or a .mcap or .db3 file\n"


def test_type_without_package_is_left_out_or_told(tmp_path: Path, start: Any) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.register_types({"far_away_msgs/msg/Thing": "uint8 a"})
        writer.write("/thing", "far_away_msgs/msg/Thing", 1, writer.new("far_away_msgs/msg/Thing", a=1))
        writer.write("/ok", "std_msgs/msg/String", 2, writer.new("std_msgs/msg/String", data="x"))
    out, err = start(tmp_path / "bag").communicate(timeout=90)
    assert "1 messages published" in out
    assert "warning: topic '/thing' is not played: message type far_away_msgs/msg/Thing is not installed" in err
    asked = start(tmp_path / "bag", "--topics", "/thing")
    assert "error: message type far_away_msgs/msg/Thing is not installed" in asked.communicate(timeout=90)[1]
    assert asked.returncode == 2


def test_pace_by_hand() -> None:
    now = [100.0]
    pace = Pace(5_000_000_000, 4.0, clock=lambda: now[0])
    assert pace.due_in_s(7_000_000_000) == pytest.approx(0.5)
    now[0] += 0.25
    assert pace.now_ns(10**18) == 6_000_000_000
    assert pace.now_ns(5_500_000_000) == 5_500_000_000
    pace.restart(7_000_000_000)
    assert pace.due_in_s(7_400_000_000) == pytest.approx(0.1)
    at_once = Pace(0, float("inf"), clock=lambda: now[0])
    assert at_once.due_in_s(10**15) <= 0
    assert at_once.now_ns(10**15) == 10**15

"""The Fast DDS profile lets large messages through between processes, best effort too; by default most are lost."""

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Empty
from test_house_packaging import ROOT

from dps_perception.node.spin import spin_until

PROFILE = ROOT / "config" / "fastdds.xml"
SENDER = """
import array, sys, rclpy, rclpy.executors
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Empty
rclpy.init()
node = rclpy.create_node("sender")
qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[sys.argv[1]])
publisher = node.create_publisher(Image, "large", qos)
size = int(sys.argv[2])
message = Image(height=1, width=size, step=size, encoding="mono8", data=array.array("B", b"\\x07" * size))
def send(_):
    message.header.stamp.sec += 1
    publisher.publish(message)
node.create_subscription(Empty, "next", send, 10)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    node.destroy_node()  # or its shared memory stays for ever
    rclpy.try_shutdown()
"""


def test_the_profile_is_the_one_that_tests_use():
    assert str(PROFILE) in (os.environ.get(f"{name}_DEFAULT_PROFILES_FILE") for name in ("FASTDDS", "FASTRTPS"))
    space = {"d": "http://www.eprosima.com"}
    tree = ElementTree.parse(PROFILE)
    segment, piece, queue = (
        int(tree.findtext(f".//d:{name}", None, space))
        for name in ("segment_size", "maxMessageSize", "port_queue_capacity")
    )
    assert segment >= 3 * 42_000_000  # three clouds of 2 million points on their way
    assert queue * 64_000 >= segment  # the queue is not what a full segment overflows
    assert piece >= 1 << 20
    assert tree.findtext(".//d:useBuiltinTransports", None, space) == "false"


@pytest.mark.parametrize(
    ("sender", "size"),
    [
        ("BEST_EFFORT", 1920 * 1080 * 3),  # a camera's image
        ("RELIABLE", 1024 * 2048 * 20),  # our cloud at Nav2, which asks for best effort
    ],
)
def test_no_large_message_to_a_best_effort_subscriber_is_lost(sender, size):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("receiver", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    got = []
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, "large", lambda m: got.append((m.header.stamp.sec, m.data)), qos)
    ask = node.create_publisher(Empty, "next", 10)
    process = subprocess.Popen([sys.executable, "-c", SENDER, sender, str(size)])
    try:
        met = lambda: node.count_publishers("large") > 0 and ask.get_subscription_count() > 0  # noqa: E731
        assert spin_until(executor, met, 60)
        for _ in range(20):  # until both sides of the topic know each other
            ask.publish(Empty())
            if spin_until(executor, lambda: bool(got), 1):
                break
        first = len(got)
        for number in range(first, first + 5):
            ask.publish(Empty())
            assert spin_until(executor, lambda number=number: len(got) > number, 10), f"after {number}: lost"
        stamps = [stamp for stamp, _ in got]
        assert stamps[-6:] == list(range(stamps[-1] - 5, stamps[-1] + 1))
        assert got[-1][1].tobytes() == b"\x07" * size
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)

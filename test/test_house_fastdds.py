"""The Fast DDS profile lets large best-effort images through between processes; by default all of them are lost."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from test_house_packaging import ROOT

PROFILE = ROOT / "config" / "fastdds.xml"
BYTES = 1920 * 1080 * 3
SENDER = f"""
import array, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("sender")
publisher = node.create_publisher(Image, "large", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
message = Image(height=1080, width=1920, step=5760, encoding="rgb8", data=array.array("B", b"\\x07" * {BYTES}))
def send():
    message.header.stamp.sec += 1
    publisher.publish(message)
node.create_timer(0.1, send)
rclpy.spin(node)
"""


def test_the_profile_is_the_one_that_tests_use():
    assert str(PROFILE) in (os.environ.get(f"{name}_DEFAULT_PROFILES_FILE") for name in ("FASTDDS", "FASTRTPS"))
    space = {"d": "http://www.eprosima.com"}
    tree = ElementTree.parse(PROFILE)
    sizes = [int(tree.findtext(f".//d:{name}", None, space)) for name in ("segment_size", "maxMessageSize")]
    assert sizes[0] >= 3 * 33_000_000  # three 4K images on their way
    assert tree.findtext(".//d:useBuiltinTransports", None, space) == "false"


def test_large_best_effort_images_arrive_from_another_process():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("receiver", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    got = []
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, "large", lambda m: got.append((m.header.stamp.sec, bytes(m.data))), qos)
    sender = subprocess.Popen([sys.executable, "-c", SENDER])
    try:
        for _ in range(600):
            executor.spin_once(timeout_sec=0.1)
            if len(got) == 5:
                break
            assert sender.poll() is None
        stamps = [stamp for stamp, _ in got]
        assert len(got) == 5
        assert stamps == sorted(set(stamps))
        assert all(data == b"\x07" * BYTES for _, data in got)
    finally:
        sender.kill()
        sender.wait()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)

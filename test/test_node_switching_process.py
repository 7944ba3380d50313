"""The real node in a process of its own is switched through all backends that are here, under a 10 Hz stream."""

import itertools
import signal
import time

import numpy as np
import pytest
from node_fakes import camera_info, image, ros
from node_process import Process
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from dps_msgs.msg import PipelineStats
from dps_perception.inference.backends.registry import availability
from dps_perception.node.spin import spin_until

PERIOD_S = 0.1
SIZE = (64, 128)


class Stream:
    """Feeds a node at 10 Hz and keeps its stats."""

    def __init__(self, context, executor, process):
        self.node, self.executor, self.process = Node("stream", context=context), executor, process
        executor.add_node(self.node)
        self.stats, self.sent = [], []
        self.node.create_subscription(PipelineStats, "/dps/stats", self.stats.append, 100)
        self.images = self.node.create_publisher(Image, "image", 1)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", 1)
        self.setter = self.node.create_client(SetParametersAtomically, "/dps/set_parameters_atomically")
        self.pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8).tobytes()

    def start(self):
        self.until(lambda: self.images.get_subscription_count() > 0 and self.setter.service_is_ready(), 100)
        self.node.create_timer(PERIOD_S, self.send)
        self.until(lambda: len(self.stats) >= 3)

    def send(self):
        stamp = divmod(round(len(self.sent) * PERIOD_S * 1e9) + 10**9, 10**9)
        message = image(size=SIZE, stamp=stamp)
        message.data = type(message.data)("B", self.pixels)
        self.images.publish(message)
        self.infos.publish(camera_info(SIZE, stamp))
        self.sent.append(time.monotonic())

    def until(self, condition, timeout_s=60):
        assert spin_until(self.executor, condition, timeout_s), self.process.text()
        assert self.process.popen.poll() is None, self.process.text()

    def switch(self, **values):
        """Ask for a change and wait for the first frame after it; frames sent meanwhile: (first, last) in `stats`."""
        before = len(self.stats)
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        future = self.setter.call_async(SetParametersAtomically.Request(parameters=parameters))
        self.until(future.done)
        assert future.result().result.successful, future.result().result.reason
        wanted = tuple(values.values())
        self.until(lambda: (self.stats[-1].backend, self.stats[-1].precision) == wanted)
        return before - 1, len(self.stats)

    def more(self, number):
        """Wait for so many more frames."""
        goal = len(self.stats) + number
        self.until(lambda: len(self.stats) >= goal)

    def gaps_s(self, first=0, last=None):
        """Seconds of the stream between frames that came out."""
        stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in self.stats[first:last]]
        return [b - a for a, b in itertools.pairwise(stamps)]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_frame_is_lost_and_no_memory_through_all_backends(small_weights, small_cache, tmp_path):
    precisions = {"torch": "fp32", "onnxruntime": "fp32", "openvino": "fp32", "tensorrt": "fp16"}
    wishes = [{"backend": n, "precision": precisions[n]} for n, missing in availability().items() if not missing]
    assert len(wishes) >= 3
    process = Process(
        tmp_path,
        "--ros-args",
        "-p",
        f"weights:={small_weights}",
        "-p",
        "precision:=fp32",
        "-p",
        "qos_output_depth:=100",
    )
    try:
        with ros() as (context, executor):
            stream = Stream(context, executor, process)
            stream.start()
            steady, switches = [], []
            laps = itertools.cycle([*wishes[1:], wishes[0]])

            def lap(number, frames):
                for values in itertools.islice(laps, number):
                    switches.append((stream.switch(**values), values["backend"]))
                    first = len(stream.stats)
                    stream.more(frames)
                    steady.append(max(stream.gaps_s(first - 1)))

            lap(len(wishes), 15)
            levels_mb = []
            for _ in range(2 + 20 // len(wishes) + 1):
                lap(len(wishes), 2)
                levels_mb.append(process.memory_mb())
            # What is resident goes up and down by 20 MB with the order in which threads free; a leak only goes up.
            grown_mb = min(levels_mb[-2:]) - max(levels_mb[:2])
            # Periods of the slower backend as they are here and now, and what a busy machine held up even this process.
            period_s = max(PERIOD_S, *steady)
            stall_s = max(b - a for a, b in itertools.pairwise(stream.sent)) - PERIOD_S
            longest = {f"{i} {name}": max(stream.gaps_s(*span)) for i, (span, name) in enumerate(switches)}
            lost = len(stream.sent) - len(stream.stats)
            print(f"longest gaps {longest}, period {period_s}, stall {stall_s}, {len(stream.sent)} sent, {lost} lost")
            assert max(longest.values()) <= 2 * period_s + stall_s + 0.01
            assert lost < 0.25 * len(stream.sent)  # one in four, on a machine that does much else
            assert grown_mb < 30, levels_mb
        assert process.end(signal.SIGINT) == 0, process.text()
        assert "switched to openvino" in process.text()
    finally:
        process.kill()

"""The ROS side of the demo: a running node in another process, bags played into it, its output recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from tqdm import tqdm

from dps_msgs.msg import PipelineStats

from ..data.bag import BagReader
from ..data.bag_writer import BagWriter
from ..data.drive_bag import DRIVE_TOPICS
from .demo_processes import ChildError, Children
from .live_stats import RunStats
from .qos import profile
from .recorder import Recorder
from .replay_plan import NODE, output
from .spin import ros_node, spin_until

PER_FRAME = ("panoptic", "semantic", "confidence", "depth", "camera_info", "points", "instances", "overlay", "stats")
LATCHED = ("panoptic_info",)
START_TIMEOUT_S = 180.0
FRAME_TIMEOUT_S = 60.0
POINT_STRIDE = 2
DEMO_PARAMETERS = {
    "point_stride": str(POINT_STRIDE),
    "qos_input": "reliable",
    "qos_input_depth": "10",
    "qos_output": "reliable",
    "qos_output_depth": "10",
}


@dataclass(frozen=True)
class Recording:
    """What came of playing one bag.

    Attributes:
        bag: the recorded bag, with the inputs, ground truth and all outputs.
        frames: images that were played.
        received: output topic -> how many of the images' stamps it came with.
        strangers: output topic -> messages with a stamp that no image has.
        seconds: wall time from the first image to the last output.
    """

    bag: Path
    frames: int
    received: dict[str, int]
    strangers: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Every output came for every image, with its stamp and no other."""
        return all(n == self.frames for n in self.received.values()) and not any(self.strangers.values())


class Session:
    """A ROS context of our own, beside a `dps_node` process. Made by `session`."""

    def __init__(self, children: Children, node: Node, executor: SingleThreadedExecutor) -> None:
        self._children = children
        self._node = node
        self._executor = executor

    def start_node(
        self,
        parameters: Mapping[str, str],
        image: str = DRIVE_TOPICS.image,
        camera_info: str = DRIVE_TOPICS.camera_info,
        params_file: Path | None = None,
        ros_args: Sequence[str] = (),
    ) -> None:
        """Start `dps_node`; it loads its model while we do other things. Values of parameters are YAML.

        `ros_args` begin with --ros-args; their parameters beat those of the file and `parameters`.
        """
        self._children.start(
            "dps_node",
            "dps_perception.node.main",
            *("--ros-args", "-r", f"image:={image}", "-r", f"camera_info:={camera_info}"),
            *(("--params-file", str(params_file)) if params_file else ()),
            *(word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")),
            *ros_args,
        )

    def check_node(self) -> None:
        """Raise ChildError if `dps_node` has ended or could not be configured."""
        self._children.check("dps_node")
        log = self._children.log("dps_node").read_text(errors="replace")
        if "configure failed:" in log:
            reason = log.split("configure failed:", 1)[1].strip().splitlines()[0]
            raise ChildError(f"dps_node can't be configured: {reason}")

    def wait_until_active(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait until the model is loaded and warmed up, or until `stopped()`.

        Raises:
            ChildError: the node ended, can't be configured, or takes too long.
        """
        client: Any = self._node.create_client(GetState, f"{NODE}/get_state")
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            self.check_node()
            if stopped():
                return
            if client.service_is_ready():
                answer = client.call_async(GetState.Request())
                spin_until(self._executor, answer.done, 2.0)
                state = answer.result() if answer.done() else None
                if state is not None and state.current_state.id == State.PRIMARY_STATE_ACTIVE:
                    self._node.destroy_client(client)
                    return
            spin_until(self._executor, lambda: False, 0.1)
        raise ChildError(f"dps_node is not active after {START_TIMEOUT_S:g} s; see {self._children.log('dps_node')}")

    def play(self, bag: Path, out: Path, title: str) -> Recording:
        """Play a bag into the node, frame by frame as it gets done, and record all that is published to `out`.

        Raises:
            ChildError: the node or the replay ended badly.
            DatasetError: the bag can't be read or written.
        """
        with BagReader(bag) as reader:
            source_topics = list(reader.topics())
            images = reader.common_stamps([DRIVE_TOPICS.image])
        outputs = [output(name) for name in PER_FRAME]
        started: list[float] = []
        stamps: dict[str, list[int]] = {topic: [] for topic in outputs}
        with (
            BagWriter(out, overwrite=True, compress=True) as writer,
            tqdm(total=len(images), desc=title, unit="frame", disable=None) as bar,
        ):

            def on_message(topic: str, stamp_ns: int | None) -> None:
                if topic in stamps and stamp_ns is not None:
                    stamps[topic].append(stamp_ns)
                if topic == DRIVE_TOPICS.image and not started:
                    started.append(time.monotonic())
                if topic == output("stats"):
                    bar.update()

            recorder = Recorder(
                self._node, writer, [*source_topics, *outputs, *(output(name) for name in LATCHED)], on_message
            )
            try:
                self._spin(lambda: all(recorder.connected(topic) for topic in outputs), 20.0, "outputs of dps_node")
                both = (f"2{DRIVE_TOPICS.image}", f"2{DRIVE_TOPICS.camera_info}")
                rest = [f"1{topic}" for topic in source_topics if f"2{topic}" not in both]
                self._children.start(
                    "dps_replay",
                    "dps_perception.node.replay",
                    *(str(bag), "--lock-step", f"{DRIVE_TOPICS.image}={output('stats')}"),
                    *("--wait-timeout", str(FRAME_TIMEOUT_S), "--wait-for-subscribers", *both, *rest),
                )
                while not self._children.finished("dps_replay"):
                    self._children.check("dps_node")
                    self._executor.spin_once(timeout_sec=0.1)
                spin_until(
                    self._executor,
                    lambda: all(recorder.counts[topic] >= len(images) for topic in outputs),
                    FRAME_TIMEOUT_S,
                )
                ended = time.monotonic()
                recorder.drain(self._executor)
            finally:
                recorder.close()
        wanted = set(images)
        return Recording(
            bag=out,
            frames=len(images),
            received={topic: len(wanted & set(stamps[topic])) for topic in outputs},
            strangers={topic: sum(s not in wanted for s in stamps[topic]) for topic in outputs},
            seconds=ended - started[0] if started else 0.0,
        )

    def listen_to_stats(self) -> RunStats:
        """Sums up what comes on ~/stats from now on, while this session spins."""
        stats = RunStats()
        topic = output("stats")
        every = profile("best_effort", 50)  # that takes from a node of either qos_output
        self._node.create_subscription(PipelineStats, topic, lambda m: stats.add(m, time.monotonic()), every)
        return stats

    def spin_once(self) -> None:
        self._executor.spin_once(timeout_sec=0.1)

    def _spin(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        if not spin_until(self._executor, condition, timeout_s):
            self.check_node()
            raise ChildError(f"no {what} after {timeout_s:g} s; see {self._children.log('dps_node')}")


@contextlib.contextmanager
def session(children: Children) -> Iterator[Session]:
    """A Session in the domain that the environment names; the ROS context ends with the block."""
    with ros_node(lambda context: Node("dps_demo", context=context)) as (node, executor):
        yield Session(children, node, executor)

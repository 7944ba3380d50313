"""Live evaluation pairs predictions with ground truth by exact stamp, whatever order they come in."""

from __future__ import annotations

import contextlib
import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from processes import starter
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_fixtures import ros
from sensor_msgs.msg import Image

from dps_msgs.msg import ClassInfo, PanopticInfo, PipelineStats
from dps_perception import cli
from dps_perception.evaluation import Evaluator
from dps_perception.labels import CITYSCAPES
from dps_perception.node import live_evaluation
from dps_perception.node.live_evaluation import LiveEvaluation, summary
from dps_perception.node.qos import LATCHED
from dps_perception.node.spin import spin_until

ROAD, CAR = 0, 13 * 256 + 1


def image(stamp: int, pixels: np.ndarray, encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels.strides[0])
    message.header.stamp.sec = stamp
    message.data.frombytes(pixels.tobytes())  # type: ignore[union-attr]
    return message


Rig = tuple[SingleThreadedExecutor, LiveEvaluation, dict[str, Any]]


@contextlib.contextmanager
def evaluation(evaluator: Evaluator | None, **more: str) -> Iterator[Rig]:
    """Executor, node, and publishers of what it scores and of the truth, by topic."""
    with ros() as (context, executor):
        node = LiveEvaluation(evaluator, panoptic="/dps/panoptic", depth="/dps/depth", context=context, **more)
        executor.add_node(node)
        topics = ("/dps/panoptic", "/dps/depth", "/ground_truth/panoptic", "/ground_truth/depth")
        publishers = {topic: node.create_publisher(Image, topic, 50) for topic in topics}
        assert spin_until(executor, lambda: all(p.get_subscription_count() for p in publishers.values()))
        yield executor, node, publishers


@pytest.fixture
def rig() -> Iterator[Rig]:
    with evaluation(Evaluator(CITYSCAPES)) as rig:
        yield rig


def test_pairs_by_stamp_and_scores(rig: Rig) -> None:
    executor, node, publishers = rig
    truth = np.full((4, 8), ROAD, np.uint16)
    truth[:, :4] = CAR
    # The car is found but for one of its four columns: IoU 12/16 for the car, 16/20 for the road.
    predicted = truth.copy()
    predicted[:, 3] = ROAD
    gt_depth = np.full((4, 8), 10, np.float32)
    for stamp in (1, 2, 3):  # ground truth first, as it is when a node takes its time
        publishers["/ground_truth/depth"].publish(image(stamp, gt_depth, "32FC1"))
        publishers["/ground_truth/panoptic"].publish(image(stamp, truth, "16UC1"))
    for stamp in (2, 3, 4):  # the first frame was dropped; the last has no ground truth
        publishers["/dps/panoptic"].publish(image(stamp, predicted, "16UC1"))
        publishers["/dps/depth"].publish(image(stamp, gt_depth * np.float32(1.2), "32FC1"))
    assert spin_until(executor, lambda: node.evaluator.images == 2)
    scores = node.evaluator.compute()
    assert scores.pq == pytest.approx(100 * (12 / 16 + 16 / 20) / 2)
    assert scores.abs_rel == pytest.approx(0.2)
    # A depth that is 20 % off is right at lambda 0.5 and 0.25, and takes all pixels away at 0.1.
    assert scores.dpq == pytest.approx(2 / 3 * scores.pq)
    assert summary(scores).startswith("2 frames: PQ 77.5 (things 75.0, stuff 80.0), DPQ 51.7")


def test_malformed_frame_is_skipped(rig: Rig) -> None:
    executor, node, publishers = rig
    for stamp, shape in ((1, (4, 9)), (2, (4, 8))):
        for topic, publisher in publishers.items():
            size = shape if topic == "/dps/panoptic" else (4, 8)
            if "depth" in topic:
                publisher.publish(image(stamp, np.ones(size, np.float32), "32FC1"))
            else:
                publisher.publish(image(stamp, np.full(size, ROAD, np.uint16), "16UC1"))
    assert spin_until(executor, lambda: node.evaluator.images == 1)


def send(publishers: dict[str, Any], stamp: int, *topics: str) -> None:
    depth, labels = np.full((4, 8), 10, np.float32), np.full((4, 8), ROAD, np.uint16)
    for topic in topics:
        publishers[topic].publish(image(stamp, depth, "32FC1") if "depth" in topic else image(stamp, labels, "16UC1"))


def test_a_looping_bag_counts_once_and_goes_on(rig: Rig) -> None:
    executor, node, publishers = rig
    truth, predicted = ("/ground_truth/panoptic", "/ground_truth/depth"), ("/dps/panoptic", "/dps/depth")
    for stamp in range(100, 160):  # more than may wait: the node is dead slow
        send(publishers, stamp, *truth)
        spin_until(executor, lambda stamp=stamp: node.unpaired()[1] == stamp - 99)
    send(publishers, 159, *predicted)
    assert spin_until(executor, lambda: node.evaluator.images == 1)
    for stamp in (100, 101, 102):  # from the start again; now the node gets two of three
        send(publishers, stamp, *truth)
    for stamp in (100, 102, 7):
        send(publishers, stamp, *predicted)
    assert spin_until(executor, lambda: node.evaluator.images == 3)
    send(publishers, 102, *truth, *predicted)  # and once more
    send(publishers, 101, *predicted)
    assert spin_until(executor, lambda: node.evaluator.images == 4)
    assert node.pairs.paired == 4
    assert node.unpaired() == (1, 56)
    predictions, truths = node.unpaired(now=False)  # the rest, some thirty, may still find their other half
    assert predictions == 0
    assert 24 <= truths <= 30


def publish_classes(node: LiveEvaluation, max_depth: float = 80.0) -> None:
    info = PanopticInfo(model_id="two classes", min_depth=max_depth / 100, max_depth=max_depth)
    for class_id, name in enumerate(("ground", "thing")):
        info.classes.append(ClassInfo(class_id=class_id, name=name, is_thing=bool(class_id)))
    node.create_publisher(PanopticInfo, "/dps/panoptic_info", LATCHED).publish(info)


def test_classes_come_from_the_node_and_scores_go_to_diagnostics() -> None:
    with evaluation(None, panoptic_info="/dps/panoptic_info") as (executor, node, publishers):
        said: list[Any] = []
        node.create_subscription(DiagnosticArray, "/diagnostics", said.append, 10)
        assert spin_until(executor, lambda: bool(said))
        assert said[0].status[0].message == "no frame was scored yet"
        send(publishers, 1, *publishers)
        assert spin_until(executor, lambda: node.pairs.paired == 1)
        assert node.evaluator is None  # what the ids mean is not known yet
        publish_classes(node)
        assert spin_until(executor, lambda: node.evaluator is not None and node.evaluator.images == 1)
        assert node.evaluator.label_space.names == ("ground", "thing")
        assert spin_until(executor, lambda: "1 frames" in said[-1].status[0].message)
        values = {pair.key: pair.value for pair in said[-1].status[0].values}
        assert (values["PQ"], values["DPQ"], values["frames"]) == ("100.00", "100.00", "1")


def test_a_model_without_depth_is_scored_by_its_labels() -> None:
    with evaluation(None, panoptic_info="/dps/panoptic_info") as (executor, node, publishers):
        said: list[Any] = []
        node.create_subscription(DiagnosticArray, "/diagnostics", said.append, 10)
        labels = ("/dps/panoptic", "/ground_truth/panoptic")
        send(publishers, 1, *labels, "/ground_truth/depth")  # before it is known that no depth will come
        publish_classes(node, max_depth=math.nan)
        assert spin_until(executor, lambda: node.evaluator is not None and node.evaluator.images == 1)
        send(publishers, 2, *labels, "/ground_truth/depth")
        send(publishers, 3, "/ground_truth/panoptic", "/ground_truth/depth")
        assert spin_until(executor, lambda: node.evaluator.images == 2 and node.unpaired() == (0, 1))
        assert node.evaluator.compute().images_with_depth == 0
        assert summary(node.evaluator.compute()) == "2 frames: PQ 100.0 (things nan, stuff 100.0), mIoU 100.0, no depth"
        assert spin_until(executor, lambda: bool(said) and "2 frames" in said[-1].status[0].message)
        values = {pair.key: pair.value for pair in said[-1].status[0].values}
        assert values["PQ"] == "100.00"
        assert "DPQ" not in values
        assert node.scored_outputs == ("panoptic",)


def test_frames_that_waited_too_long_for_classes_count_as_not_scored() -> None:
    with evaluation(None, panoptic_info="/dps/panoptic_info") as (executor, node, publishers):
        for stamp in range(1, 34):
            send(publishers, stamp, *publishers)
            assert spin_until(executor, lambda stamp=stamp: node.pairs.paired == stamp)
        publish_classes(node)
        assert spin_until(executor, lambda: node.evaluator is not None and node.evaluator.images == 30)
        assert node.unscored == 3


def test_the_nodes_figures_are_written_where_no_frame_could_be_scored(
    tmp_path: Path,
) -> None:
    report = tmp_path / "report.json"
    with ros() as (context, executor), starter("dps_perception.node.live_evaluation") as start:
        node = Node("source", context=context)
        executor.add_node(node)
        publisher = node.create_publisher(PipelineStats, "/dps/stats", 10)
        process = start("--json", report)
        assert spin_until(executor, lambda: publisher.get_subscription_count() > 0, 60)
        publisher.publish(PipelineStats(frames_in=3, frames_processed=2, frames_dropped=1))
        assert publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=10))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "no frame was scored" in err
    assert json.loads(report.read_text())["frames"] == {"received": 3, "processed": 2, "dropped": 1}


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(live_evaluation.command, ["--label-space", "cityscape"]) == 2
    assert "did you mean 'cityscapes'?" in capsys.readouterr().err

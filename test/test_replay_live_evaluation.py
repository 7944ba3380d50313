"""Live evaluation pairs predictions with ground truth by exact stamp, whatever order they come in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from dps_perception import cli
from dps_perception.evaluation import Evaluator
from dps_perception.labels import CITYSCAPES
from dps_perception.node import live_evaluation
from dps_perception.node.live_evaluation import LiveEvaluation, summary
from dps_perception.node.spin import spin_until

ROAD, CAR = 0, 13 * 256 + 1


def image(stamp: int, pixels: np.ndarray, encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels.strides[0])
    message.header.stamp.sec = stamp
    message.data.frombytes(pixels.tobytes())  # type: ignore[union-attr]
    return message


@pytest.fixture
def ros() -> Iterator[tuple[SingleThreadedExecutor, LiveEvaluation, dict[str, Any]]]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LiveEvaluation(Evaluator(CITYSCAPES), panoptic="/dps/panoptic", depth="/dps/depth", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    topics = ("/dps/panoptic", "/dps/depth", "/ground_truth/panoptic", "/ground_truth/depth")
    publishers = {topic: node.create_publisher(Image, topic, 50) for topic in topics}
    assert spin_until(executor, lambda: all(p.get_subscription_count() for p in publishers.values()))
    yield executor, node, publishers
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def test_pairs_by_stamp_and_scores(ros: tuple[SingleThreadedExecutor, LiveEvaluation, dict[str, Any]]) -> None:
    executor, node, publishers = ros
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


def test_malformed_frame_is_skipped(ros: tuple[SingleThreadedExecutor, LiveEvaluation, dict[str, Any]]) -> None:
    executor, node, publishers = ros
    for stamp, shape in ((1, (4, 9)), (2, (4, 8))):
        for topic, publisher in publishers.items():
            size = shape if topic == "/dps/panoptic" else (4, 8)
            if "depth" in topic:
                publisher.publish(image(stamp, np.ones(size, np.float32), "32FC1"))
            else:
                publisher.publish(image(stamp, np.full(size, ROAD, np.uint16), "16UC1"))
    assert spin_until(executor, lambda: node.evaluator.images == 1)


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(live_evaluation.command, ["--label-space", "cityscape"]) == 2
    assert "did you mean 'cityscapes'?" in capsys.readouterr().err

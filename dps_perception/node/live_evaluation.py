"""Scores a running node: pairs its output with ground-truth topics by exact stamp and prints running PQ and DPQ.

`python -m dps_perception.node.live_evaluation` beside a node that gets a drive from `dps_replay`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import message_filters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from .. import cli
from ..data.bag_messages import decode_depth, decode_raw
from ..data.drive_bag import DRIVE_TOPICS
from ..errors import ConfigError, DpsError, nearest
from ..evaluation import MAX_DEPTH_M, Evaluator, Scores
from ..files import replacing
from ..labels import CITYSCAPES, LABEL_SPACES
from .graph import split_ros_args
from .spin import StopSignal
from .throttle import Throttle

# Frames whose ground truth waits for the prediction: at 10 Hz a node may be three seconds late.
_QUEUE = 30


class LiveEvaluation(Node):
    """Feeds an `Evaluator` with predictions and ground truth of the same stamp.

    Args:
        evaluator: counts what is paired.
        panoptic, depth: topics of the node that is scored.
        gt_panoptic, gt_depth: topics of the ground truth.
        on_frame: called after each scored frame.
        context: an initialised ROS context.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        panoptic: str,
        depth: str,
        gt_panoptic: str = DRIVE_TOPICS.panoptic,
        gt_depth: str = DRIVE_TOPICS.depth,
        on_frame: Callable[[], None] = lambda: None,
        context: rclpy.Context | None = None,
    ) -> None:
        super().__init__("dps_live_evaluation", context=context)
        self.evaluator = evaluator
        self._on_frame = on_frame
        self._warn = Throttle(self.get_logger().warning)
        # Best effort receives from publishers of either kind.
        qos = QoSProfile(depth=_QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT)
        topics = (panoptic, depth, gt_panoptic, gt_depth)
        self._inputs = [message_filters.Subscriber(self, Image, topic, qos_profile=qos) for topic in topics]
        self._pairs = message_filters.TimeSynchronizer(self._inputs, _QUEUE)
        self._pairs.registerCallback(self._score)

    def _score(self, panoptic: Image, depth: Image, gt_panoptic: Image, gt_depth: Image) -> None:
        try:
            self.evaluator.update(
                decode_raw(panoptic), decode_depth(depth), decode_raw(gt_panoptic), decode_depth(gt_depth)
            )
        except DpsError as error:
            self._warn("frame", f"frame at {panoptic.header.stamp.sec} s is not scored: {error}")
            return
        self._on_frame()


def summary(scores: Scores) -> str:
    """One line: frames, PQ, DPQ, depth error."""
    return (
        f"{scores.images} frames: PQ {scores.pq:.1f} (things {scores.pq_things:.1f}, stuff {scores.pq_stuff:.1f}), "
        f"DPQ {scores.dpq:.1f}, mIoU {scores.miou:.1f}, depth abs rel {scores.abs_rel:.3f}"
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dps_perception.node.live_evaluation",
        description="Score a running dps_node against ground-truth topics, paired by exact stamp, until Ctrl-C.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--node", default="/dps", help="full name of the node that is scored")
    parser.add_argument("--gt-panoptic", default=DRIVE_TOPICS.panoptic, help="topic of the true panoptic ids (16UC1)")
    parser.add_argument("--gt-depth", default=DRIVE_TOPICS.depth, help="topic of the true depth (32FC1 or 16UC1)")
    parser.add_argument("--label-space", default=CITYSCAPES.name, help=f"one of: {', '.join(LABEL_SPACES)}")
    parser.add_argument("--max-depth", type=float, default=MAX_DEPTH_M, help="depth errors skip what is farther [m]")
    parser.add_argument("--every", type=int, default=10, help="print the running scores after so many frames")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many frames; 0: at Ctrl-C")
    parser.add_argument("--json", type=Path, help="write all scores to this file at the end")
    return parser


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    if args.label_space not in LABEL_SPACES:
        raise ConfigError(
            f"no label space '{args.label_space}'{nearest(args.label_space, LABEL_SPACES)}; "
            f"there is: {', '.join(LABEL_SPACES)}"
        )
    if args.every < 1 or args.frames < 0:
        raise ConfigError(f"--every {args.every}, --frames {args.frames}: give at least 1, and 0 or more")
    evaluator = Evaluator(LABEL_SPACES[args.label_space], max_depth_m=args.max_depth)
    signal = StopSignal()
    rclpy.init(args=ros, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = LiveEvaluation(
            evaluator,
            panoptic=f"{args.node}/panoptic",
            depth=f"{args.node}/depth",
            gt_panoptic=args.gt_panoptic,
            gt_depth=args.gt_depth,
            on_frame=lambda: _say(evaluator, args.every),
        )
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not signal.received and not 0 < args.frames <= evaluator.images:
            executor.spin_once(timeout_sec=0.2)
        executor.shutdown()
        node.destroy_node()
    finally:
        signal.restore()
        rclpy.try_shutdown()
    if not evaluator.images:
        raise DpsError(
            f"no frame was scored: {args.node}/panoptic, {args.node}/depth, {args.gt_panoptic} and {args.gt_depth} "
            "never had one stamp in common; `ros2 topic hz` shows which is silent"
        )
    scores = evaluator.compute()
    print(scores.table())
    if args.json:
        with replacing(args.json) as beside:
            beside.write_text(json.dumps(scores.to_dict(), indent=1, allow_nan=False))
        print(f"wrote {args.json}")


def _say(evaluator: Evaluator, every: int) -> None:
    if evaluator.images % every == 0:
        print(summary(evaluator.compute()), flush=True)


def main() -> int:
    """Entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

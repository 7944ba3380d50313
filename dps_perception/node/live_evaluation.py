"""`dps_evaluate_live`: pairs a node's output with ground-truth topics by exact stamp; running PQ and DPQ."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import message_filters
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from sensor_msgs.msg import Image

from dps_msgs.msg import PanopticInfo, PipelineStats

from .. import cli
from ..data.bag_messages import decode_depth, decode_raw, label_space_of
from ..data.drive_bag import DRIVE_TOPICS
from ..errors import ConfigError, DpsError, nearest
from ..evaluation import MAX_DEPTH_M, Evaluator, Scores
from ..files import replacing
from ..labels import LABEL_SPACES
from .exact_pairs import ExactPairs
from .graph import Awaited, split_ros_args
from .live_stats import RunStats
from .qos import LATCHED
from .spin import StopSignal, ros_node, spin_until
from .throttle import Throttle

# Frames whose ground truth waits for the prediction: at 10 Hz a node may be three seconds late.
_QUEUE = 30
_SAY_S = 1.0
_LOOK_S = 0.1
_Frame = tuple[Image, Image | None, Image, Image | None]  # panoptic and depth, predicted and true


class LiveEvaluation(Node):
    """Feeds an `Evaluator` with predictions and ground truth of the same stamp; says the scores on /diagnostics.

    Each stamp counts once, however often a bag loops. Where ~/panoptic_info says that the model has no depth, panoptic
    ids alone are paired and scored.

    Args:
        evaluator: counts what is paired; None makes one for the classes that the node names on ~/panoptic_info.
        panoptic, depth, panoptic_info, stats: topics of the node that is scored.
        gt_panoptic, gt_depth: topics of the ground truth.
        ground_truth: whether there is any; without it only ~/stats is summed up.
        max_depth_m: for the evaluator that is made here.
        on_frame: called after each scored frame.
        context: an initialised ROS context.
    """

    def __init__(
        self,
        evaluator: Evaluator | None,
        *,
        panoptic: str,
        depth: str,
        panoptic_info: str = "",
        stats: str = "",
        gt_panoptic: str = DRIVE_TOPICS.panoptic,
        gt_depth: str = DRIVE_TOPICS.depth,
        ground_truth: bool = True,
        max_depth_m: float = MAX_DEPTH_M,
        on_frame: Callable[[], None] = lambda: None,
        context: rclpy.Context | None = None,
    ) -> None:
        super().__init__("dps_live_evaluation", context=context)
        self.evaluator = evaluator
        self.unscored = 0
        self._ground_truth = ground_truth
        self._max_depth_m = max_depth_m
        self._on_frame = on_frame
        self._warn = Throttle(self.get_logger().warning)
        self._has_depth = True
        self._waiting_for_classes: dict[bool, deque[_Frame]] = {d: deque(maxlen=_QUEUE) for d in (True, False)}
        topics = (panoptic, depth, gt_panoptic, gt_depth) if ground_truth else ()
        inputs = [message_filters.SimpleFilter() for _ in topics]
        self.pairs = ExactPairs(inputs, _QUEUE)
        self.pairs.registerCallback(lambda *frame: self._paired(frame, True))
        self._label_pairs = ExactPairs(inputs[::2], _QUEUE)
        self._label_pairs.registerCallback(lambda own, true: self._paired((own, None, true, None), False))
        if panoptic_info:
            self.create_subscription(PanopticInfo, panoptic_info, self._take_classes, LATCHED)
        # As reliably as it is offered: a lost frame would look like a miss.
        awaited = Awaited(self, _LOOK_S)
        for topic, source in zip(topics, inputs, strict=True):
            awaited.subscribe(topic, source.signalMessage, kind=Image)
        self.stats = RunStats()
        if stats:
            awaited.subscribe(stats, lambda m: self.stats.add(m, time.monotonic()), kind=PipelineStats)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.create_timer(_SAY_S, self._say)

    def unpaired(self, *, now: bool = True) -> tuple[int, int]:
        """(predictions without ground truth, ground truth without a prediction), in frames; see `ExactPairs`."""
        if not self._has_depth:
            return self._label_pairs.unpaired((0,), now=now), self._label_pairs.unpaired((1,), now=now)
        return self.pairs.unpaired((0, 1), now=now), self.pairs.unpaired((2, 3), now=now)

    @property
    def scored_outputs(self) -> tuple[str, ...]:
        """What of the model is scored, by name."""
        return ("panoptic", "depth") if self._has_depth else ("panoptic",)

    def _take_classes(self, message: PanopticInfo) -> None:
        label_space = label_space_of(message)
        self._has_depth = math.isfinite(message.max_depth)
        if self.evaluator is None:
            self.evaluator = Evaluator(label_space, max_depth_m=self._max_depth_m)
            for frame in self._waiting_for_classes[self._has_depth]:
                self._score(self.evaluator, *frame)
            self._waiting_for_classes.clear()
        elif self.evaluator.label_space.classes != label_space.classes:
            self._warn(
                "classes",
                f"the node's classes ({message.model_id}) differ from those that are scored "
                f"({self.evaluator.label_space.name}); start the evaluation again for scores of this model",
            )

    def _paired(self, frame: _Frame, with_depth: bool) -> None:
        if self.evaluator is None:
            waiting = self._waiting_for_classes[with_depth]
            self.unscored += with_depth and len(waiting) == _QUEUE
            waiting.append(frame)
        elif with_depth == self._has_depth:
            self._score(self.evaluator, *frame)

    def _score(
        self, evaluator: Evaluator, panoptic: Image, depth: Image | None, gt_panoptic: Image, gt_depth: Image | None
    ) -> None:
        try:
            depths = [None if image is None else decode_depth(image) for image in (depth, gt_depth)]
            evaluator.update(decode_raw(panoptic), depths[0], decode_raw(gt_panoptic), depths[1])
        except DpsError as error:
            self.unscored += 1
            self._warn("frame", f"frame at {panoptic.header.stamp.sec} s is not scored: {error}")
            return
        self._on_frame()

    def _say(self) -> None:
        """Publish the running scores, for people who look at /diagnostics anyway."""
        predictions, truths = self.unpaired(now=False) if self._ground_truth else (0, 0)
        values = {"predictions without ground truth": str(predictions), "ground truth without prediction": str(truths)}
        values["frames that could not be scored"] = str(self.unscored)
        level, text = DiagnosticStatus.WARN, "no frame was scored yet"
        if not self._ground_truth:
            level, text = DiagnosticStatus.OK, f"{self.stats.frames} frames, no ground truth"
        elif self.evaluator is not None and self.evaluator.images:
            scores = self.evaluator.compute()
            level, text = DiagnosticStatus.OK, summary(scores)
            values |= {"frames": str(scores.images), "PQ": f"{scores.pq:.2f}", "mIoU": f"{scores.miou:.2f}"}
            if scores.images_with_depth:
                values |= {"DPQ": f"{scores.dpq:.2f}", "depth abs rel": f"{scores.abs_rel:.4f}"}
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(DiagnosticStatus(level=level, name="dps_live_evaluation", message=text, values=pairs))
        self._diagnostics.publish(message)


def summary(scores: Scores) -> str:
    """One line: frames, PQ, mIoU, and of a model with depth DPQ and depth error."""
    text = f"{scores.images} frames: PQ {scores.pq:.1f} (things {scores.pq_things:.1f}, stuff {scores.pq_stuff:.1f}), "
    if not scores.images_with_depth:
        return f"{text}mIoU {scores.miou:.1f}, no depth"
    return f"{text}DPQ {scores.dpq:.1f}, mIoU {scores.miou:.1f}, depth abs rel {scores.abs_rel:.3f}"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="dps_evaluate_live",
        description="Score a running dps_node against ground-truth topics, paired by exact stamp, and sum up its "
        "~/stats, until Ctrl-C. The running scores are printed and published on /diagnostics; a bag that loops counts "
        "once.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--node", default="/dps", help="full name of the node that is scored")
    parser.add_argument("--gt-panoptic", default=DRIVE_TOPICS.panoptic, help="topic of the true panoptic ids (16UC1)")
    parser.add_argument("--gt-depth", default=DRIVE_TOPICS.depth, help="topic of the true depth (32FC1 or 16UC1)")
    parser.add_argument(
        "--label-space",
        default="auto",
        help=f"auto: the classes that the node names on ~/panoptic_info; or one of: {', '.join(LABEL_SPACES)}",
    )
    parser.add_argument("--max-depth", type=float, default=MAX_DEPTH_M, help="depth errors skip what is farther [m]")
    parser.add_argument("--every", type=int, default=10, help="print the running scores after so many frames")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many frames; 0: at Ctrl-C")
    parser.add_argument("--no-ground-truth", action="store_true", help="frames, rate and latency only")
    parser.add_argument("--json", type=Path, help="write all numbers to this file at the end")
    return parser


def _evaluator(args: argparse.Namespace) -> Evaluator | None:
    if args.every < 1 or args.frames < 0:
        raise ConfigError(f"--every {args.every}, --frames {args.frames}: give at least 1, and 0 or more")
    if args.label_space == "auto":
        return None
    if args.label_space not in LABEL_SPACES:
        raise ConfigError(
            f"no label space '{args.label_space}'{nearest(args.label_space, LABEL_SPACES)}; "
            f"there is: auto, {', '.join(LABEL_SPACES)}"
        )
    return Evaluator(LABEL_SPACES[args.label_space], max_depth_m=args.max_depth)


def command(argv: Sequence[str] | None) -> None:
    """Run the command line."""
    own, ros = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(own)
    evaluator = _evaluator(args)

    def make(context: rclpy.Context) -> LiveEvaluation:
        return LiveEvaluation(
            evaluator,
            panoptic=f"{args.node}/panoptic",
            depth=f"{args.node}/depth",
            panoptic_info=f"{args.node}/panoptic_info",
            stats=f"{args.node}/stats",
            gt_panoptic=args.gt_panoptic,
            gt_depth=args.gt_depth,
            ground_truth=not args.no_ground_truth,
            max_depth_m=args.max_depth,
            on_frame=lambda: _print_running(node, args.every),
            context=context,
        )

    signal = StopSignal()
    try:
        with ros_node(make, ros) as (node, executor):
            spin_until(executor, lambda: signal.received or 0 < args.frames <= _frames(node), math.inf)
    finally:
        signal.restore()
    _report(node, args)


def _report(node: LiveEvaluation, args: argparse.Namespace) -> None:
    print(node.stats.summary())
    found = node.stats.to_dict()
    if node.evaluator is not None and node.evaluator.images:
        scores = node.evaluator.compute()
        predictions, truths = node.unpaired()
        print(scores.table())
        print(
            f"{scores.images} frames scored; not paired: {predictions} predictions without ground truth, {truths} of "
            f"ground truth without prediction; {node.unscored} could not be scored"
        )
        found["unpaired"] = {"predictions": predictions, "ground_truth": truths, "unscored": node.unscored}
        found["scores"] = scores.to_dict()
    if args.json:
        with replacing(args.json) as beside:
            beside.write_text(json.dumps(found, indent=1, allow_nan=False))
        print(f"wrote {args.json}")
    if not args.no_ground_truth and not _frames(node):
        missing = f"; no classes came on {args.node}/panoptic_info either" if node.evaluator is None else ""
        true_topics = (args.gt_panoptic, args.gt_depth)[: len(node.scored_outputs)]
        topics = ", ".join([*(f"{args.node}/{name}" for name in node.scored_outputs), *true_topics])
        raise DpsError(
            f"no frame was scored: {topics} never had one stamp in common; `ros2 topic hz` shows which is "
            f"silent{missing}"
        )


def _frames(node: LiveEvaluation) -> int:
    return node.evaluator.images if node.evaluator is not None else 0


def _print_running(node: LiveEvaluation, every: int) -> None:
    if node.evaluator is not None and node.evaluator.images % every == 0:
        print(summary(node.evaluator.compute()), flush=True)


def main() -> int:
    """Entry point of `dps_evaluate_live`."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())

"""What a run of a bag through the node consists of, and the words for its commands.

For `dps_replay --node` and the launch file alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.bag import BagReader
from ..data.bag_topics import BagTopics, find_topics
from ..data.drive_bag import DRIVE_TOPICS
from ..errors import ConfigError, DatasetError

NODE = "/dps"
CLOCK_HZ = 100.0
WAIT_S = 180.0
"""How long the bag waits for the node, which may have a model to load, and for each of its results."""

_TRANSFORMS = ("/tf", "/tf_static")
_CURES = {
    "as topics.image": "by --image (image:= of the launch file)",
    "as topics.camera_info": "by --camera-info (camera_info:= of the launch file)",
    "as topics.depth": f"'{DRIVE_TOPICS.depth}' when you record, or leave the scores out with --evaluate false",
}


def output(name: str) -> str:
    """Full topic of one of the node's outputs, e.g. "/dps/panoptic"."""
    return f"{NODE}/{name}"


@dataclass(frozen=True)
class Plan:
    """Topics of the bag, and which processes run beside node and replay.

    Attributes:
        bag: what is played.
        image, camera_info: the node's inputs.
        truth: panoptic ids and depth to score against or to record, as far as there are any.
        transforms: /tf and /tf_static, as far as the bag has them.
        evaluate: PQ and DPQ are computed; `truth` has both topics then.
        every_frame: the bag waits for the node.
        record: bag to write, or None.
        view: file for the viewer, "" for its window, or None.
    """

    bag: Path
    image: str
    camera_info: str
    truth: tuple[str, ...]
    transforms: tuple[str, ...]
    evaluate: bool
    every_frame: bool
    record: Path | None
    view: str | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is played: never what a node published when the bag was recorded, as this one publishes it too."""
        return (self.image, self.camera_info, *self.truth, *self.transforms)

    def node_parameters(self) -> dict[str, str]:
        """Parameters of the node, as YAML."""
        lossless = {"qos_input": "reliable", "qos_input_depth": "10"} if self.every_frame else {}
        return {"use_sim_time": "true", **lossless}

    def replay_words(self, others: int = 0) -> list[str]:
        """Arguments of dps_replay but those of time; `others` subscribe to ~/stats besides the processes here."""
        lock_step = ["--lock-step", f"{self.image}={output('stats')}"] if self.every_frame else []
        waits = ["--wait-timeout", str(WAIT_S), "--wait-for-subscribers", *self._subscribers(others)]
        return [str(self.bag), "--topics", *self.inputs, *lock_step, *waits]

    def _subscribers(self, others: int) -> Iterator[str]:
        """N/TOPIC for all that are to miss nothing."""
        recorded, viewed = self.record is not None, self.view is not None
        yield f"{1 + recorded + viewed}{self.image}"
        yield f"{1 + recorded}{self.camera_info}"
        yield from (f"{self.evaluate + recorded}{topic}" for topic in self.truth)
        yield from (f"1{topic}" for topic in self.transforms if recorded)
        yield f"{1 + recorded + viewed + others}{output('stats')}"
        if self.evaluate:
            yield from (f"{1 + recorded + viewed}{output(name)}" for name in ("panoptic", "depth"))

    def evaluation_words(self) -> list[str]:
        """Arguments of dps_evaluate_live; without ground truth it reports frames, rate and latency."""
        if not self.evaluate:
            return ["--node", NODE, "--no-ground-truth"]
        panoptic, depth = self.truth
        return ["--node", NODE, "--gt-panoptic", panoptic, "--gt-depth", depth]

    def record_words(self) -> list[str]:
        """Arguments of dps_record."""
        return [str(self.record), *self.inputs, "--node", NODE]

    def view_words(self) -> list[str]:
        """Arguments of dps_view."""
        return ["--node", NODE, "--image", self.image, *(["--save", self.view] if self.view else [])]


def make_plan(
    bag: Path,
    *,
    image: str = "",
    camera_info: str = "",
    evaluate: str = "auto",
    every_frame: bool = False,
    record: Path | None = None,
    overwrite: bool = False,
    view: str | None = None,
) -> Plan:
    """Find the topics in the bag, and whether there is ground truth; `evaluate` is "auto", "true" or "false".

    Raises:
        DatasetError: the bag or a topic is missing, or several topics could be meant; or there is no ground truth
            where an evaluation is asked for.
        ConfigError: what is to be recorded exists already.
    """
    with BagReader(bag) as reader:
        held = {topic.name for topic in reader.topics().values() if topic.message_count}
        depth: str | None = DRIVE_TOPICS.depth if DRIVE_TOPICS.depth in held else None
        if depth is None and DRIVE_TOPICS.panoptic in held and evaluate != "false":
            depth = ""  # the one of the image's size and frame
        try:
            topics = find_topics(reader, BagTopics(image, camera_info, depth, cloud=None), ignore=(f"{NODE}/",))
        except DatasetError as error:
            text = str(error)
            for found, cure in _CURES.items():
                text = text.replace(found, cure)
            raise DatasetError(text) from error
        truth = tuple(topic for topic in (topics.panoptic, topics.depth) if topic)
        if evaluate == "true" and len(truth) < 2:
            raise DatasetError(
                f"an evaluation is asked for, but bag '{bag}' has no ground truth (panoptic ids on "
                f"{DRIVE_TOPICS.panoptic}, and depth of the image's size); its topics are: {reader.described()}"
            )
    if record is not None and record.exists() and not overwrite:
        raise ConfigError(f"'{record}', which is to be recorded, exists already; remove it, or give --overwrite")
    evaluated = evaluate != "false" and len(truth) == 2
    used = truth if evaluated or record is not None else ()
    transforms = tuple(topic for topic in _TRANSFORMS if topic in held)
    return Plan(bag, topics.image, topics.camera_info, used, transforms, evaluated, every_frame, record, view)

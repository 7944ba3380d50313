"""`dps_replay` in this process: what is chosen and when it ends, QoS, pausing and stepping, /clock in a loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import ros_fixtures
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import Trigger

from dps_perception.data.bag import BagReader
from dps_perception.data.bag_writer import BagWriter
from dps_perception.errors import ConfigError
from dps_perception.node.controls import Controls
from dps_perception.node.pace import Pace
from dps_perception.node.player import Player, ReplayError
from dps_perception.node.qos import publisher_qos
from dps_perception.node.replay_options import ReplayOptions, make_parser, options_of, read_qos, time_words
from dps_perception.node.spin import spin_until

START = 1_700_000_000_000_000_000
STEP = 100_000_000
TEXT = "std_msgs/msg/String"
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "texts"
    with BagWriter(path) as writer:
        writer.add_topic("/loose", TEXT, reliable=False, depth=3)
        writer.add_topic("/map", TEXT, latched=True)
        for i in range(10):
            for topic in ("/text", "/loose"):
                writer.write(topic, TEXT, START + i * STEP, writer.new(TEXT, data=f"{i}"))
        writer.write("/map", TEXT, START, writer.new(TEXT, data="map"))
    return path


class Ros:
    """A player's node and a listener, each with its own executor, in one context."""

    def __init__(self, context: rclpy.Context, executor: SingleThreadedExecutor) -> None:
        self.executor = executor
        self.node = Node("listener", context=context)
        self.player = Node("dps_replay", context=context)
        self.playing = SingleThreadedExecutor(context=context)
        executor.add_node(self.node)
        self.playing.add_node(self.player)
        self.got: list[tuple[str, Any]] = []

    def listen(self, topic: str, kind: Any = String) -> None:
        self.node.create_subscription(kind, topic, lambda m: self.got.append((topic, m)), RELIABLE)

    def texts(self) -> list[str]:
        return [m.data for topic, m in self.got if topic != "/clock"]


@pytest.fixture
def ros() -> Iterator[Ros]:
    with ros_fixtures.ros() as (context, executor):
        ros = Ros(context, executor)
        yield ros
        ros.playing.shutdown()
        ros.player.destroy_node()


def options(bag: Path, *words: object) -> ReplayOptions:
    return options_of(make_parser().parse_args([str(bag), "--no-progress", *map(str, words)]))


def play(ros: Ros, bag: Path, chosen: ReplayOptions, expected: int, times: int = 1) -> None:
    """Play a bag, until so many texts have come."""
    with BagReader(bag) as reader:
        player = Player(reader, ros.player, ros.playing, chosen)
        player.wait_for_subscribers(chosen.wait_for)
        for _ in range(times):
            player.play(reader.start_ns + int(chosen.start_offset_s * 1e9))
        player.flush()
    assert spin_until(ros.executor, lambda: len(ros.texts()) >= expected)


def test_offset_duration_and_end(bag: Path) -> None:
    assert options(bag).end_ns(START) is None
    assert options(bag, "--playback-duration", 0.25).end_ns(START) == START + 250_000_000
    assert options(bag, "--playback-until-sec", 1_700_000_001).end_ns(START) == START + 10**9
    both = ("--playback-duration", 0.1, "--playback-until-nsec", START + 5)
    assert options(bag, *both).end_ns(START) == START + 100_000_000  # the later one, as in ros2 bag play


def test_part_of_the_bag_is_played(ros: Ros, bag: Path) -> None:
    ros.listen("/text")
    waiting = ("--wait-for-subscribers", "/text", "--rate", 20)
    play(ros, bag, options(bag, "--start-offset", 0.15, "--playback-duration", 0.35, *waiting), 4)
    assert ros.texts() == ["2", "3", "4", "5"]


def test_choice_of_topics(bag: Path) -> None:
    names = ["/text", "/loose", "/map"]

    def chosen(*words: str) -> list[str]:
        return [name for name in names if options(bag, *words).chooses(name)]

    assert chosen() == names
    assert chosen("--regex", "^/(te|ma)") == ["/text", "/map"]
    assert chosen("--topics", "/loose", "--regex", "map") == ["/loose", "/map"]
    assert chosen("--exclude-topics", "/map", "/text") == ["/loose"]
    assert chosen("--regex", "t|o", "-x", "loose") == ["/text"]


def test_qos_is_that_of_the_recording_or_the_one_asked_for(bag: Path, tmp_path: Path) -> None:
    with BagReader(bag) as reader:
        topics = reader.topics()
    loose, latched, text = (publisher_qos(topics[name], {}) for name in ("/loose", "/map", "/text"))
    assert (loose.reliability, loose.durability) == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
    assert (latched.reliability, latched.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    assert (text.reliability, text.durability, text.depth) == (
        ReliabilityPolicy.RELIABLE,
        DurabilityPolicy.VOLATILE,
        10,
    )
    path = tmp_path / "qos.yaml"
    path.write_text("/loose: {reliability: reliable, history: keep_all}\n/text: {depth: 3}\n")
    overridden = read_qos(path)
    loose, text = (publisher_qos(topics[name], overridden[name]) for name in ("/loose", "/text"))
    assert (loose.reliability, loose.history) == (ReliabilityPolicy.RELIABLE, HistoryPolicy.KEEP_ALL)
    assert text.depth == 3
    for bad, told in {
        "/text: {reliability: sometimes}": "reliability: sometimes is not known; reliability: reliable or best_effort",
        "/text: {depth: 0}": "depth: 0 is not known",
        "- /text": "write e.g. /camera/image_raw:",
    }.items():
        path.write_text(bad)
        with pytest.raises(ConfigError, match=told):
            read_qos(path)


def test_pause_step_and_go_on_by_service(ros: Ros, bag: Path) -> None:
    ros.listen("/text")
    answers: list[str] = []
    steps: list[tuple[str, Callable[[], bool]]] = [
        ("play_next", lambda: ros.texts() == ["0"]),
        ("play_next", lambda: ros.texts() == ["0", "1"]),
        ("resume", lambda: len(ros.texts()) == 10),
        ("play_next", lambda: True),
    ]
    with BagReader(bag) as reader:
        player = Player(
            reader, ros.player, ros.playing, options(bag, "--topics", "/text", "--start-paused", "--rate", 5)
        )
        Controls(ros.player, player)
        clients = {name: ros.node.create_client(Trigger, f"/dps_replay/{name}") for name, _ in steps}
        assert spin_until(ros.executor, lambda: all(c.service_is_ready() for c in clients.values()))
        player.wait_for_subscribers({"/text": 1})
        asked: list[Any] = []

        def direct() -> bool:
            """From between the player's messages: do the next step when the one before has had its effect."""
            ros.executor.spin_once(timeout_sec=0)
            if len(asked) == len(answers) and (not answers or steps[len(answers) - 1][1]()) and len(asked) < len(steps):
                asked.append(clients[steps[len(asked)][0]].call_async(Trigger.Request()))
            if len(asked) > len(answers) and asked[-1].done():
                answers.append(asked[-1].result().message)
            return False

        player._stopped = direct
        player.play(reader.start_ns)
        assert spin_until(ros.executor, lambda: len(ros.texts()) == 10)
    assert answers[:3] == ["", "", "playing"]


def test_going_on_right_after_a_step_plays_to_the_end(ros: Ros, bag: Path) -> None:
    limit = time.monotonic() + 10
    with BagReader(bag) as reader:
        chosen = options(bag, "--topics", "/text", "--start-paused", "--rate", "inf")
        player = Player(reader, ros.player, ros.playing, chosen, stopped=lambda: time.monotonic() > limit)
        assert player.play_next()
        player.pause(False)  # before the step was taken
        player.play(reader.start_ns)
    assert player.counts == {"/text": 10}


def test_keys() -> None:
    class Player:
        paused, rate, steps = False, 1.0, 0

        def pause(self, paused: bool) -> None:
            self.paused = paused

        def play_next(self) -> bool:
            self.steps += self.paused
            return self.paused

    class Services:
        def create_service(self, *_: object) -> None: ...

    player: Any = Player()
    services: Any = Services()
    controls = Controls(services, player)
    assert "press space first" in controls.key(b"\x1b[C")
    assert controls.key(b" ") == "paused"
    assert controls.key(b"\x1b[C") == "next message"
    assert player.steps == 1
    assert controls.key(b" ") == "playing"
    assert controls.key(b"\x1b[A") == "rate 1.10"
    assert controls.key(b"\x1b[B") == "rate 1.00"
    assert controls.key(b"x") == ""


def test_clock_jumps_back_with_the_loop_before_the_messages_do(ros: Ros, bag: Path) -> None:
    ros.listen("/text")
    ros.listen("/clock", Clock)
    words = ("--topics", "/text", "--clock", 50, "--rate", 4, "--wait-for-subscribers", "/text", "/clock")
    play(ros, bag, options(bag, *words), 20, times=2)
    assert ros.texts() == [str(i) for i in range(10)] * 2
    clock = [m.clock.sec * 10**9 + m.clock.nanosec for topic, m in ros.got if topic == "/clock"]
    jumps = [i for i in range(1, len(clock)) if clock[i] < clock[i - 1]]
    assert len(jumps) == 1
    assert clock[jumps[0]] == START
    assert max(clock) <= START + 9 * STEP


def test_pace_held_and_changed_by_hand() -> None:
    now = [100.0]
    pace = Pace(0, 2.0, clock=lambda: now[0])
    now[0] += 1
    pace.hold(True)
    assert pace.now_ns(10**18) == 2_000_000_000
    now[0] += 50
    assert pace.now_ns(10**18) == 2_000_000_000
    assert pace.due_in_s(0) == float("inf")
    pace.hold(False)
    assert pace.due_in_s(3_000_000_000) == pytest.approx(0.5)
    pace.hold(True)
    pace.restart(2_000_000_000)
    assert pace.held
    now[0] += 50
    pace.hold(False)
    assert pace.due_in_s(3_000_000_000) == pytest.approx(0.5)
    pace.rate = 0.5
    assert pace.due_in_s(3_000_000_000) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "words",
    [
        ("--record", "out"),
        ("--view",),
        ("--overwrite",),
        ("--evaluate", "auto"),
        ("--evaluate", "true"),
        ("--out", "there"),
    ],
)
def test_what_belongs_to_a_run_through_the_node_is_told(bag: Path, words: tuple[str, ...]) -> None:
    if words[-1] == "auto":
        options(bag, *words)  # the default may be said
        return
    with pytest.raises(ConfigError, match=f"{words[0]} is for a replay through the node: give --node too"):
        options(bag, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("--topics", "/text"),
        ("--start-paused",),
        ("--qos-profile-overrides-path", "qos.yaml"),
        ("--wait-for-subscribers", "/text"),
        ("--wait-for-all-acked", "0"),
        ("--wait-timeout", "5"),
        ("--lock-step", "/text=/result"),
    ],
)
def test_what_has_no_meaning_with_the_node_is_told(bag: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"{words[0]} is not for --node"):
        options(bag, "--node", *words)


def test_when_and_how_long_is_passed_on_to_the_replay_of_a_run(bag: Path) -> None:
    given = ["--rate=2.0", "--playback-until-nsec=-5", "--loop"]
    args = make_parser().parse_args([str(bag), "--node", "--clock", *given, "--delay", "0"])
    assert sorted(time_words(args)) == sorted(given)


@pytest.mark.parametrize("words", [("--playback-duration", "inf"), ("--playback-until-sec", "nan")])
def test_times_that_are_no_numbers_are_told(bag: Path, words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"{words[0]} {words[1]}: must be a number of seconds"):
        options(bag, *words)


@pytest.mark.parametrize("words", [("--regex", "nothing"), ("--start-offset", "99", "--exclude-topics", "/map")])
def test_a_loop_with_nothing_in_it_is_told(ros: Ros, bag: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(ReplayError, match=r"nothing to play: .* it lasts 0\.9 s and has .*/text"):
        play(ros, bag, options(bag, "--loop", *words), 0)

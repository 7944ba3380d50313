"""replay.launch.py, run with stand-ins for launch and launch_ros: our commands take the arguments it gives them."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_node_launch import LAUNCH, REPLAY, declared

from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import CAMERA_IN_BASE, write_camera_info, write_image, write_street_frame
from dps_perception.errors import DatasetError
from dps_perception.node import live_evaluation, record, view
from dps_perception.node.replay_options import make_parser, options_of

SIZE = (8, 16)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    with BagWriter(path) as writer:
        for i in range(2):
            pixels, labels = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint16)
            intrinsics = Intrinsics(9, 9, 7.5, 3.5, *SIZE)
            depth = np.ones(SIZE, np.float32)
            write_street_frame(writer, i, 10**9 + i, pixels, labels, depth, intrinsics, CAMERA_IN_BASE)
    return path


class Made:
    """Any launch class: keeps what it was made of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    @property
    def name(self) -> str:
        return str(self.args[0])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the launch file with arguments; what it starts, and what it gives to dps.launch.py."""
    given: dict[str, str] = {}
    kinds: dict[str, type] = {}

    def module(name: str, *classes: str) -> None:
        made = types.ModuleType(name)
        for kind in classes:
            kinds[kind] = type(kind, (Made,), {"perform": lambda self, _: given[self.name]})
            setattr(made, kind, kinds[kind])
        monkeypatch.setitem(sys.modules, name, made)

    module("launch", "LaunchContext", "LaunchDescription")
    names = "DeclareLaunchArgument IncludeLaunchDescription OpaqueFunction RegisterEventHandler Shutdown TimerAction"
    module("launch.actions", *names.split())
    module("launch.event_handlers", "OnProcessExit")
    module("launch.launch_description_sources", "PythonLaunchDescriptionSource")
    module("launch.substitutions", "LaunchConfiguration")
    module("launch_ros", "nothing")
    module("launch_ros.actions", "Node")

    def run(**arguments: str) -> tuple[dict[str, list[str]], dict[str, str]]:
        spec = importlib.util.spec_from_file_location("replay_launch", REPLAY)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        given.update({a.name: a.kwargs["default_value"] for a in loaded.ARGUMENTS}, **arguments)
        made = loaded.actions(None)
        nodes = {a.kwargs["executable"]: a.kwargs["arguments"] for a in made if isinstance(a, kinds["Node"])}
        (include,) = [a for a in made if isinstance(a, kinds["IncludeLaunchDescription"])]
        (handler,) = [a for a in made if isinstance(a, kinds["RegisterEventHandler"])]
        assert handler.args[0].kwargs["target_action"].kwargs["executable"] == "dps_replay"
        return nodes, dict(include.kwargs["launch_arguments"])

    return run


def test_only_the_bag_is_required(started: Any, drive: Path) -> None:
    required = [name for name, (default, *_) in declared(REPLAY).items() if getattr(default, "value", "") is None]
    assert required == ["bag"]
    nodes, forwarded = started(bag=str(drive))
    assert set(nodes) == {"dps_replay", "dps_evaluate_live"}
    assert set(forwarded) <= set(declared(LAUNCH))
    assert (forwarded["image"], forwarded["camera_info"]) == ("/camera/image_raw", "/camera/camera_info")
    assert (forwarded["use_sim_time"], forwarded["rviz"]) == ("true", "true")
    options = options_of(make_parser().parse_args(nodes["dps_replay"]))
    assert (options.bag, options.clock_hz, options.rate, options.loop) == (drive, 100.0, 1.0, False)
    inputs = {"/camera/image_raw", "/camera/camera_info", "/ground_truth/panoptic", "/ground_truth/depth"}
    assert options.wait_for == dict.fromkeys((*inputs, "/dps/stats", "/dps/panoptic", "/dps/depth"), 1)
    assert options.topics is not None
    assert set(options.topics) == {*inputs, "/tf", "/tf_static"}
    evaluation = live_evaluation.make_parser().parse_args(nodes["dps_evaluate_live"])
    assert (evaluation.node, evaluation.gt_depth) == ("/dps", "/ground_truth/depth")


def test_everything_asked_for(started: Any, drive: Path) -> None:
    asked = {"loop": "true", "every_frame": "true", "rate": "2", "record": "out", "view": "out.rrd"}
    nodes, forwarded = started(bag=str(drive), evaluate="false", weights="other", **asked)
    assert set(nodes) == {"dps_replay", "dps_evaluate_live", "dps_record", "dps_view"}
    assert forwarded["weights"] == "other"
    options = options_of(make_parser().parse_args(nodes["dps_replay"]))
    assert (options.loop, options.rate, options.lock_step) == (True, 2.0, ("/camera/image_raw", "/dps/stats"))
    recorded = {"/ground_truth/panoptic": 1, "/ground_truth/depth": 1, "/tf": 1, "/tf_static": 1}
    watched = {"/camera/image_raw": 3, "/camera/camera_info": 2, "/dps/stats": 3}
    assert options.wait_for == watched | recorded
    assert (forwarded["qos_input"], forwarded["qos_input_depth"]) == ("reliable", "10")
    assert set(forwarded) <= set(declared(LAUNCH))
    assert live_evaluation.make_parser().parse_args(nodes["dps_evaluate_live"]).no_ground_truth
    recording = record.make_parser().parse_args(nodes["dps_record"])
    assert recording.node == ["/dps"]
    with BagReader(drive) as reader:
        assert set(recording.topics) == set(reader.topics())
    assert view.make_parser().parse_args(nodes["dps_view"]).save == Path("out.rrd")


def test_scores_without_ground_truth_are_refused(started: Any, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        write_image(writer, "/image", 1, np.zeros((*SIZE, 3), np.uint8), "rgb8", "camera")
        write_camera_info(writer, "/camera_info", 1, Intrinsics(9, 9, 7.5, 3.5, *SIZE), "camera")
    with pytest.raises(DatasetError, match=r"has no ground truth .*; its topics are: /camera_info"):
        started(bag=str(tmp_path / "bag"), evaluate="true")


def test_a_topic_that_is_not_there_is_told(started: Any, drive: Path) -> None:
    with pytest.raises(DatasetError, match="no topic '/camera/image', did you mean '/camera/image_raw'"):
        started(bag=str(drive), image="/camera/image")

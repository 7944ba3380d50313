"""What a run through the node plays of a bag: never what a node published before, never a choice that is not needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dps_perception.camera import Intrinsics
from dps_perception.data.bag import BagReader
from dps_perception.data.bag_topics import find_image
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import CAMERA_IN_BASE, write_camera_info, write_image, write_street_frame
from dps_perception.errors import DatasetError
from dps_perception.node.replay_options import make_parser, options_of
from dps_perception.node.replay_plan import make_plan

SIZE = (8, 16)
CAMERA = Intrinsics(9, 9, 7.5, 3.5, *SIZE)
PIXELS, LABELS, DEPTH = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint16), np.ones(SIZE, np.float32)
FRAME = "camera_optical_frame"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a run through the node records it."""
    path = tmp_path_factory.mktemp("bags") / "recording"
    with BagWriter(path) as writer:
        write_street_frame(writer, 0, 10**9, PIXELS, LABELS, DEPTH, CAMERA, CAMERA_IN_BASE)
        for name, pixels, encoding in (
            ("overlay", PIXELS, "rgb8"),
            ("panoptic", LABELS, "16UC1"),
            ("depth", DEPTH, "32FC1"),
        ):
            write_image(writer, f"/dps/{name}", 10**9, pixels, encoding, FRAME)
        write_camera_info(writer, "/dps/camera_info", 10**9, CAMERA, FRAME)
    return path


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two registered depth images and two clouds, no labels."""
    path = tmp_path_factory.mktemp("bags") / "robot"
    with BagWriter(path) as writer:
        write_camera_info(writer, "/cam/camera_info", 10**9, CAMERA, FRAME)
        write_image(writer, "/cam/image", 10**9, PIXELS, "rgb8", FRAME)
        for topic in ("/cam/depth", "/cam/depth_filtered"):
            write_image(writer, topic, 10**9, DEPTH, "32FC1", FRAME)
        for topic in ("/lidar", "/radar"):
            writer.add_topic(topic, "sensor_msgs/msg/PointCloud2")
            writer.write_raw(topic, 10**9, bytes(8))
    return path


def test_a_recording_of_the_node_is_played_again_without_what_the_node_published(recording: Path) -> None:
    plan = make_plan(recording)
    assert plan.evaluate
    truth = {"/ground_truth/panoptic", "/ground_truth/depth"}
    assert set(plan.inputs) == {"/camera/image_raw", "/camera/camera_info", "/tf", "/tf_static"} | truth
    options = options_of(make_parser().parse_args(plan.replay_words()))
    assert options.topics == plan.inputs
    with BagReader(recording) as reader:
        assert not [t for t in reader.topics() if options.chooses(t) and t.startswith("/dps/")]


def test_depth_and_clouds_that_nobody_needs_are_no_choice(robot: Path) -> None:
    for evaluate in ("auto", "false"):
        plan = make_plan(robot, evaluate=evaluate)
        assert plan.inputs == ("/cam/image", "/cam/camera_info")
        assert not plan.evaluate
    with pytest.raises(DatasetError, match="an evaluation is asked for, but"):
        make_plan(robot, evaluate="true")


def test_a_choice_of_depth_to_score_against_tells_a_way_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        write_camera_info(writer, "/cam/camera_info", 1, CAMERA, FRAME)
        write_image(writer, "/cam/image", 1, PIXELS, "rgb8", FRAME)
        write_image(writer, "/ground_truth/panoptic", 1, LABELS, "16UC1", FRAME)
        for topic in ("/cam/depth", "/cam/depth_filtered"):
            write_image(writer, topic, 1, DEPTH, "32FC1", FRAME)
    told = "name one of /cam/depth, /cam/depth_filtered '/ground_truth/depth' when you record, or .* --evaluate false"
    with pytest.raises(DatasetError, match=told):
        make_plan(tmp_path / "bag")
    assert not make_plan(tmp_path / "bag", evaluate="false").evaluate


def test_ground_truth_is_recorded_though_not_scored(recording: Path, tmp_path: Path) -> None:
    plan = make_plan(recording, evaluate="false", record=tmp_path / "out")
    assert {"/ground_truth/panoptic", "/ground_truth/depth"} < set(plan.record_words())
    assert plan.evaluation_words() == ["--node", "/dps", "--no-ground-truth"]
    assert "/ground_truth/depth" not in make_plan(recording, evaluate="false").inputs


def test_every_frame_asks_for_a_connection_that_loses_none(recording: Path) -> None:
    plan = make_plan(recording, every_frame=True)
    assert plan.node_parameters() == {"use_sim_time": "true", "qos_input": "reliable", "qos_input_depth": "10"}
    options = options_of(make_parser().parse_args(plan.replay_words(others=1)))
    assert options.lock_step == ("/camera/image_raw", "/dps/stats")
    assert options.wait_for["/dps/stats"] == 2


def test_the_cameras_image_is_found_beside_the_nodes_pictures(recording: Path) -> None:
    with BagReader(recording) as reader:
        assert find_image(reader, ignore=("/dps/",)) == "/camera/image_raw"
        with pytest.raises(DatasetError, match="2 topics could be the image"):
            find_image(reader)

"""The real node in a process of its own, with real (tiny, untrained) weights; a plain rclpy node gets every output."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from node_fakes import camera_info, image, overrides, ros
from node_process import Process
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sensor_msgs.msg import CameraInfo, Image

from dps_msgs.msg import PanopticInfo, PipelineStats
from dps_perception import cli
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace
from dps_perception.models.efficientdps import EfficientDPS
from dps_perception.models.efficientdps_config import EfficientDPSConfig
from dps_perception.models.weights import METADATA_KEY, ModelInfo, save_weights
from dps_perception.node import main
from dps_perception.node.encode import OUTPUTS
from dps_perception.node.node import DpsNode
from dps_perception.node.qos import LATCHED
from dps_perception.node.spin import spin_until

SIZE = (48, 96)


def write_tiny(path, label_space=CITYSCAPES):
    torch.manual_seed(0)
    config = EfficientDPSConfig(
        backbone="resnet18", channels=8, num_queries=6, num_groups=1, norm="batch", num_classes=len(label_space)
    )
    network = EfficientDPS(config)
    with torch.no_grad():
        network.train()(torch.randint(0, 256, (2, 64, 128, 3), dtype=torch.uint8))
        network.class_head[-1].bias += 4  # every query becomes a segment
    info = ModelInfo(
        model_id="tiny", preset="efficientdps_r18", config=config, label_space=label_space,
        input_size=(64, 128), focal_px=100.0, min_depth_m=0.5, max_depth_m=88.0,
        training={"config": {"data": {"root": "data/street"}}},
    )  # fmt: skip
    save_weights(path, network, info)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def start(tmp_path):
    processes = []

    def starting(*arguments):
        processes.append(Process(tmp_path, *arguments))
        return processes[-1]

    yield starting
    for process in processes:
        process.kill()


def test_a_second_process_receives_every_output_with_the_sources_stamp(start, weights):
    process = start(
        "--ros-args", "-p", f"weights:={weights}", "-p", "device:=cpu", "-p", "diagnostics_period:=0.2",
        *(word for name in ("score_threshold_things", "score_threshold_stuff", "mask_threshold", "overlap_threshold")
          for word in ("-p", f"{name}:=0.0")),
        "-r", "image:=/cam/image_raw", "-r", "camera_info:=/cam/camera_info", "-r", "__ns:=/robot",
    )  # fmt: skip
    with ros() as (context, executor):
        node = Node("plain", context=context)
        executor.add_node(node)
        kinds = {name: kind for name, (kind, _) in OUTPUTS.items()} | {"stats": PipelineStats}
        got = {name: [] for name in kinds}
        for name, kind in kinds.items():
            node.create_subscription(kind, f"/robot/dps/{name}", got[name].append, 1)
        latched, health = [], []
        node.create_subscription(PanopticInfo, "/robot/dps/panoptic_info", latched.append, LATCHED)
        node.create_subscription(DiagnosticArray, "/diagnostics", health.append, 1)
        images = node.create_publisher(Image, "/cam/image_raw", 1)
        infos = node.create_publisher(CameraInfo, "/cam/camera_info", 1)
        rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
        sent = []

        def send():
            stamp = (1000 + len(sent), 500_000_000 + len(sent))
            message = image(size=SIZE, stamp=stamp, frame_id="optical")
            message.data = type(message.data)("B", rgb.tobytes())
            images.publish(message)
            infos.publish(camera_info(SIZE, stamp, "optical", f=75.0))
            sent.append(stamp)

        def going():
            assert process.popen.poll() is None, process.text()
            return images.get_subscription_count() > 0

        assert spin_until(executor, going, 100), process.text()
        node.create_timer(0.2, send)
        assert spin_until(executor, lambda: all(got.values()) and latched and health, 40), (
            process.text(),
            [name for name in got if not got[name]],
        )
        for name, messages in got.items():
            header = messages[-1].markers[0].header if name == "markers" else messages[-1].header
            assert (header.stamp.sec, header.stamp.nanosec) in sent, name
            assert header.frame_id == "optical", name
            if name not in ("stats", "markers"):
                assert (messages[-1].height, messages[-1].width) == SIZE, name
        assert (latched[0].model_id, latched[0].dataset, len(latched[0].classes)) == ("tiny", "street", 19)
        assert len(latched[0].weights_sha256) == 64
        ids = set(np.frombuffer(got["panoptic"][-1].data, np.uint16).tolist()) - {65535}
        assert ids
        assert np.isfinite(np.frombuffer(got["depth"][-1].data, np.float32)).any()
        assert got["stats"][-1].inference_ms > 0
        assert got["camera_info"][-1].k[0] == 75.0
        assert {s.name for s in health[-1].status} == {"robot/dps: input", "robot/dps: processing", "robot/dps: model"}
    assert process.end(signal.SIGINT) == 0, process.text()
    assert "Traceback" not in process.text()


def test_sigterm_while_it_waits_ends_in_order():
    """In this process: `command` returns, and the signal handlers are as before."""

    def stop_when_it_is_there():
        with ros() as (context, executor):
            node = Node("plain", context=context)
            executor.add_node(node)
            seen.append(spin_until(executor, lambda: "dps" in node.get_node_names(), 20))
        os.kill(os.getpid(), signal.SIGTERM)

    seen = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop_when_it_is_there)
    thread.start()
    assert cli.run(main.command, ["--ros-args", "-p", "autostart:=false"]) == 0
    thread.join(20)
    assert seen == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_unknown_parameter_ends_it_with_one_clear_line(capfd):
    assert cli.run(main.command, ["--ros-args", "-p", "score_treshold_things:=0.4"]) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: unknown parameter 'score_treshold_things', did you mean 'score_threshold_things'?")


def test_help_is_quick_and_shows_the_remappings(capsys):
    with pytest.raises(SystemExit) as ended:
        main.command(["--help"])
    assert ended.value.code == 0
    assert "--ros-args -r image:=/camera/image_raw" in " ".join(capsys.readouterr().out.split())


def missing(folder, weights):
    return folder / "nowhere.safetensors"


def truncated(folder, weights):
    path = folder / "short.safetensors"
    path.write_bytes(weights.read_bytes()[:5000])
    return path


def other_family(folder, weights):
    path = folder / "family.safetensors"
    with safe_open(weights, framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    save_file(load_file(weights), path, {METADATA_KEY: json.dumps({**metadata, "family": "nextdps"})})
    return path


def other_label_space(folder, weights):
    space = LabelSpace("two", (ClassInfo("floor", False, (9, 9, 9)), ClassInfo("box", True, (1, 2, 3))))
    return write_tiny(folder / "two.safetensors", space)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "no weights file"),
        (truncated, "may be truncated: copy or download it again"),
        (other_family, "is of family 'nextdps'; this version knows efficientdps, panopticdepth, realtime_panoptic"),
        (other_label_space, "have label space 'two', the parameter label_space asks for 'cityscapes'"),
    ],
)
def test_unusable_weights_leave_the_node_unconfigured_with_the_reason(tmp_path, weights, make, reason):
    path = make(tmp_path, weights)
    with ros() as (context, _):
        values = overrides(autostart=False, weights=str(path), label_space="cityscapes", device="cpu")
        node = DpsNode(context=context, parameter_overrides=values)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert reason in node.health.failure
        assert node.state == "unconfigured"
        node.set_parameters(overrides(weights=str(weights)))
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        node.trigger_shutdown()
        node.destroy_node()

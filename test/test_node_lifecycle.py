"""The node with a predictor whose answers are known: transitions, live changes, bad input, faults, services."""

import gc
import threading

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from node_fakes import CAR, FakePredictor, camera_info, image, overrides, ros
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import SetBool, Trigger

from dps_msgs.msg import InstanceArray, PanopticInfo, PipelineStats
from dps_perception.node.node import DpsNode
from dps_perception.node.qos import LATCHED
from dps_perception.node.spin import spin_until

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class Rig:
    """The node, and a second node that feeds it and keeps what it publishes."""

    def __init__(self, context, executor, load=FakePredictor, image_type=Image, image_topic="image", qos=1, **values):
        self.executor = executor
        self.loaded = []
        self.node = DpsNode(self._remember(load), context=context, parameter_overrides=overrides(**values))
        self.other = Node("other", context=context)
        for node in (self.node, self.other):
            executor.add_node(node)
        self.got = {}
        self.images = self.other.create_publisher(image_type, image_topic, qos)
        self.infos = self.other.create_publisher(CameraInfo, "camera_info", 1)
        self.warnings = []
        self.node._throttle = lambda kind, text: self.warnings.append((kind, text))

    def _remember(self, load):
        def loading(*args, **settings):
            self.loaded.append(load(*args, **settings))
            return self.loaded[-1]

        return loading

    @property
    def predictor(self):
        return self.loaded[-1]

    def listen(self, **topics):
        for name, kind in topics.items():
            self.got[name] = []
            qos = LATCHED if name == "panoptic_info" else 10
            topic = "/diagnostics" if name == "diagnostics" else f"/dps/{name}"
            self.other.create_subscription(kind, topic, self.got[name].append, qos)

    def until(self, condition, timeout_s=10.0):
        assert spin_until(self.executor, condition, timeout_s), f"warnings: {self.warnings}"

    def ready(self):
        """Active, and every topic has found its other side."""
        self.until(lambda: self.node.state == "active")
        self.until(lambda: self.images.get_subscription_count() > 0 and self.infos.get_subscription_count() > 0)
        outputs = self.node._outputs
        names = [n for n in self.got if n in outputs._publishers]
        self.until(lambda: all(outputs._publishers[n].get_subscription_count() for n in names))
        if "stats" in self.got:
            self.until(lambda: outputs.wants_stats)

    def send(self, second, info=True, **changes):
        self.images.publish(image(stamp=(second, 0), **changes))
        if info:
            self.infos.publish(camera_info(stamp=(second, 0)))

    def stamps(self, name):
        return [m.header.stamp.sec for m in self.got[name]]

    def call(self, kind, name, **request):
        client = self.other.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(kind.Request(**request))
        self.until(future.done)
        return future.result()

    def status(self, part):
        """The latest diagnostics of "input", "processing" or "model"."""
        arrays = self.got["diagnostics"] or [DiagnosticArray(status=[DiagnosticStatus(name=f"dps: {part}")])]
        return next(s for s in arrays[-1].status if s.name == f"dps: {part}")


@pytest.fixture
def rig():
    with ros() as (context, executor):
        rigs = []

        def make(**values):
            rigs.append(Rig(context, executor, **values))
            return rigs[-1]

        yield make
        for r in rigs:
            for predictor in r.loaded:
                predictor.free.set()
            if r.node.state in ("inactive", "active"):
                r.node.trigger_shutdown()


def test_transitions_in_order(rig):
    r = rig(autostart=False)
    node = r.node
    assert node.state == "unconfigured"
    assert node.trigger_configure() == SUCCESS
    assert r.predictor.warm
    assert node.state == "inactive"
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert r.predictor.closed
    assert node.state == "unconfigured"
    assert node.trigger_shutdown() == SUCCESS
    assert node.state == "finalized"


def test_transitions_again_and_again_leave_nothing_behind(rig):
    r = rig(autostart=False)

    def cycle():
        for step in ("configure", "activate", "deactivate", "cleanup"):
            assert getattr(r.node, f"trigger_{step}")() == SUCCESS

    cycle()
    gc.collect()
    threads, publishers = threading.active_count(), len(list(r.node.publishers))
    subscriptions, timers = len(list(r.node.subscriptions)), len(list(r.node.timers))
    for _ in range(10):
        cycle()
    assert threading.active_count() == threads
    assert len(list(r.node.publishers)) == publishers
    assert len(list(r.node.subscriptions)) == subscriptions
    assert len(list(r.node.timers)) == timers
    assert all(p.closed for p in r.loaded)


def test_lifecycle_services_and_autostart_off(rig):
    r = rig(autostart=False)
    assert r.call(GetState, "/dps/get_state").current_state.label == "unconfigured"
    request = ChangeState.Request()
    request.transition.label = "configure"
    assert r.call(ChangeState, "/dps/change_state", transition=request.transition).success
    assert r.call(GetState, "/dps/get_state").current_state.label == "inactive"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"weights": "missing"}, "no weights file 'missing'"),
        ({"device": "cuda:9"}, "PyTorch sees 0 GPUs"),
        ({"input_height": 64}, "set both"),
        ({"label_space": "cityscape"}, "label space 'cityscapes', the parameter label_space asks for 'cityscape'"),
    ],
)
def test_a_failing_configure_is_clean_and_says_why(rig, values, reason):
    r = rig(autostart=False, diagnostics_period=0.1, **values)
    r.listen(diagnostics=DiagnosticArray)
    before = len(list(r.node.publishers))
    assert r.node.trigger_configure() == FAILURE
    assert r.node.state == "unconfigured"
    assert len(list(r.node.publishers)) == before
    assert all(p.closed for p in r.loaded)
    r.until(lambda: reason in r.status("model").message)
    assert r.status("model").level == DiagnosticStatus.ERROR
    right = {"weights": "", "device": "cpu", "input_height": 0, "label_space": "cityscapes"}
    r.node.set_parameters(overrides(**right))
    assert r.node.trigger_configure() == SUCCESS  # put right without a restart


def test_an_unexpected_error_while_loading_goes_back_to_unconfigured(rig):
    def load(*_, **__):
        raise KeyError("surprise")

    r = rig(load=load, autostart=False)
    assert r.node.trigger_configure() == TransitionCallbackReturn.ERROR
    assert r.node.state == "unconfigured"


def test_a_frame_comes_out_as_it_went_in(rig):
    r = rig()
    r.listen(panoptic=Image, stats=PipelineStats, panoptic_info=PanopticInfo, instances=InstanceArray)
    r.ready()
    r.send(41)
    r.until(lambda: r.got["panoptic"] and r.got["stats"] and r.got["instances"] and r.got["panoptic_info"])
    message = r.got["panoptic"][0]
    assert (message.header.stamp.sec, message.header.frame_id) == (41, "camera")
    assert np.frombuffer(message.data, np.uint16).reshape(24, 32)[9, 9] == CAR * 256 + 1
    stats = r.got["stats"][0]
    assert (stats.header.stamp.sec, stats.backend, stats.precision) == (41, "torch", "fp32")
    assert (stats.preprocess_ms, stats.inference_ms, stats.fusion_ms) == (1, 2, 3)
    assert (stats.frames_in, stats.frames_processed, stats.frames_dropped) == (1, 1, 0)
    assert stats.processing_ms >= stats.decode_ms + stats.publish_ms
    info = r.got["panoptic_info"][0]
    assert (info.label_divisor, info.void_class_id, info.void_panoptic_id) == (256, 255, 65535)
    assert (info.classes[CAR].name, info.classes[CAR].is_thing, info.weights_sha256) == ("car", True, "ab" * 32)
    assert r.predictor.threads == {"dps_worker"}
    assert r.predictor.seen[0][1].fx == 20.0


def test_nothing_is_published_or_received_unless_active(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    r.node.trigger_deactivate()
    r.until(lambda: r.images.get_subscription_count() == 0)
    r.send(1)
    r.node.trigger_activate()
    r.ready()
    r.send(2)
    r.until(lambda: r.got["panoptic"])
    assert r.stamps("panoptic") == [2]


BAD_IMAGES = {
    "zero size": dict(size=(0, 0)),
    "unknown encoding": dict(encoding="rgb9"),
    "wrong step": dict(channels=2),
    "no pixels at all": dict(size=(24, 0)),
}


def test_bad_images_are_skipped_with_a_warning_and_the_next_good_one_is_done(rig):
    r = rig(diagnostics_period=0.1)
    r.listen(panoptic=Image, diagnostics=DiagnosticArray)
    r.ready()
    second = 0
    for what, changes in BAD_IMAGES.items():
        second += 2
        r.warnings.clear()
        r.send(second, **changes)
        r.until(lambda: r.warnings)
        assert r.warnings[0][0] == "ImageError", what
        r.until(lambda: r.status("processing").level == DiagnosticStatus.ERROR)
        r.send(second + 1)
        r.until(lambda second=second: r.stamps("panoptic")[-1:] == [second + 1])
        r.until(lambda: r.status("processing").level == DiagnosticStatus.OK)
    truncated = image(stamp=(100, 0))
    truncated.data = truncated.data[:-5]
    r.images.publish(truncated)
    r.infos.publish(camera_info(stamp=(100, 0)))
    r.until(lambda: "truncated" in r.warnings[-1][1])
    assert r.stamps("panoptic") == [3, 5, 7, 9]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (camera_info(f=0.0, stamp=(1, 0)), "fx=0.0"),
        (camera_info((48, 64), stamp=(1, 0)), "camera_info is for 64x48 pixels, the image is 32x24"),
    ],
)
def test_a_useless_calibration_withholds_3d_only(rig, info, expected):
    r = rig(diagnostics_period=0.1)
    r.listen(panoptic=Image, instances=InstanceArray, points=PointCloud2, diagnostics=DiagnosticArray)
    r.ready()
    r.send(1, info=False)
    r.infos.publish(info)
    r.until(lambda: r.got["panoptic"] and r.got["instances"])
    assert not any(i.has_position for i in r.got["instances"][0].instances)
    assert any(kind == "calibration" and expected in text for kind, text in r.warnings)
    r.until(lambda: expected in r.status("input").message)
    assert r.status("input").level == DiagnosticStatus.ERROR
    r.send(2)
    r.until(lambda: r.got["points"])
    assert r.stamps("points") == [2]
    r.until(lambda: r.status("input").level == DiagnosticStatus.OK)


def test_without_camera_info_2d_goes_on_after_the_timeout(rig):
    r = rig(camera_info_timeout=0.2, diagnostics_period=0.1)
    r.listen(panoptic=Image, instances=InstanceArray, points=PointCloud2, diagnostics=DiagnosticArray)
    r.ready()
    r.send(1, info=False)
    r.until(lambda: r.stamps("panoptic") == [1])
    r.send(2, info=False)
    r.until(lambda: r.stamps("panoptic") == [1, 2])
    assert ("camera_info", "/camera_info: no camera_info arrives") in [(k, t.partition(";")[0]) for k, t in r.warnings]
    assert not r.got["instances"][0].instances[-1].has_position
    r.until(lambda: "no camera_info matches" in r.status("input").message)
    for second in range(3, 20):  # as soon as it comes, 3D is back
        r.send(second)
        if spin_until(r.executor, lambda: bool(r.got["points"]), 0.3):
            break
    assert r.got["points"]


def test_live_parameters_apply_on_the_next_frame(rig):
    r = rig()
    r.listen(points=PointCloud2, depth=Image, panoptic_info=PanopticInfo)
    r.ready()
    r.send(1)
    r.until(lambda: len(r.got["points"]) == 1 and len(r.got["depth"]) == 1)
    assert r.got["points"][0].width == 32
    new = dict(point_stride=2, max_depth=8.0, score_threshold_things=0.9, score_threshold_stuff=0.6, frame_id="map")
    r.node.set_parameters(overrides(**new))
    r.send(2)
    r.until(lambda: len(r.got["points"]) == 2 and len(r.got["depth"]) == 2)
    assert (r.got["points"][1].width, r.got["points"][1].header.frame_id) == (16, "map")
    depth = np.frombuffer(r.got["depth"][1].data, np.float32)
    assert np.isposinf(depth[np.frombuffer(r.got["depth"][0].data, np.float32) > 8]).all()
    thresholds = r.predictor.seen[-1][2]
    assert (thresholds.score_things, thresholds.score_stuff) == (0.9, 0.6)
    r.until(lambda: [round(m.score_threshold, 3) for m in r.got["panoptic_info"]][-1] == 0.6)


def test_a_slow_model_drops_the_oldest_frames_and_counts_them(rig):
    r = rig(qos_input_depth=10, qos_output_depth=10)
    r.listen(panoptic=Image, stats=PipelineStats)
    r.ready()
    r.predictor.free.clear()
    r.send(1)
    r.until(lambda: len(r.predictor.seen) == 1)
    for second in (2, 3, 4, 5):
        r.send(second)
        r.until(lambda second=second: r.node._worker.counts.received == second)
    r.predictor.free.set()
    r.until(lambda: len(r.got["stats"]) == 2)
    assert r.stamps("panoptic") == [1, 5]
    assert r.got["stats"][-1].frames_dropped == 3
    assert r.got["stats"][-1].frames_in == 5


def test_a_backend_that_throws_loses_one_frame(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    predict, r.predictor.predict = r.predictor.predict, lambda *_: (_ for _ in ()).throw(RuntimeError("device lost"))
    r.send(1)
    r.until(lambda: r.warnings)
    assert "device lost" in r.warnings[0][1]
    r.predictor.predict = predict
    r.send(2)
    r.until(lambda: r.stamps("panoptic") == [2])


def test_enable_switches_the_stream_off_and_on(rig):
    r = rig(diagnostics_period=0.1)
    r.listen(panoptic=Image, diagnostics=DiagnosticArray)
    r.ready()
    answer = r.call(SetBool, "/dps/enable", data=False)
    assert (answer.success, answer.message) == (True, "disabled, active")
    r.until(lambda: r.images.get_subscription_count() == 0)
    r.until(lambda: r.status("processing").message == "disabled")
    assert r.call(SetBool, "/dps/enable", data=True).success
    r.ready()
    r.send(7)
    r.until(lambda: r.stamps("panoptic") == [7])


def test_reload_takes_the_new_weights_and_frees_the_old(rig):
    r = rig()
    r.listen(panoptic=Image, panoptic_info=PanopticInfo)
    r.ready()
    r.node.set_parameters([Parameter("weights", value="better")])
    answer = r.call(Trigger, "/dps/reload_model")
    assert (answer.success, answer.message) == (True, "loaded better")
    first, second = r.loaded
    assert first.closed
    assert not second.closed
    r.until(lambda: r.got["panoptic_info"][-1].model_id == "better")
    r.send(1)
    r.until(lambda: r.stamps("panoptic") == [1])
    assert (len(first.seen), len(second.seen)) == (0, 1)


def test_a_failed_reload_leaves_the_old_model_running(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    r.node.set_parameters([Parameter("weights", value="missing")])
    answer = r.call(Trigger, "/dps/reload_model")
    assert not answer.success
    assert "no weights file 'missing'" in answer.message
    r.send(1)
    r.until(lambda: r.stamps("panoptic") == [1])
    assert not r.predictor.closed


def test_reload_needs_a_configured_node(rig):
    answer = rig(autostart=False).call(Trigger, "/dps/reload_model")
    assert (answer.success, answer.message) == (False, "the node is unconfigured; configure it first")


def test_compressed_images_are_found_by_type(rig):
    import cv2

    r = rig(image_type=CompressedImage)
    r.listen(panoptic=Image)
    r.ready()
    message = CompressedImage(format="png")
    message.header.stamp.sec = 9
    message.header.frame_id = "camera"
    message.data.frombytes(cv2.imencode(".png", np.full((24, 32, 3), 50, np.uint8))[1].tobytes())
    r.images.publish(message)
    r.infos.publish(camera_info(stamp=(9, 0)))
    r.until(lambda: r.stamps("panoptic") == [9])
    assert r.node._inputs.transport == "compressed"


def test_compressed_topic_beside_the_image_is_found(rig):
    r = rig(image_type=CompressedImage, image_topic="image/compressed")
    r.ready()
    assert r.node._inputs.image_topic == "/image/compressed"


def test_a_topic_of_another_type_is_named(rig):
    r = rig(image_type=PointCloud2)
    r.until(lambda: r.warnings)
    assert r.warnings[0][1].startswith("/image is published as sensor_msgs/msg/PointCloud2; remap 'image'")


def test_qos_that_cannot_match_names_both_sides(rig):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    r = rig(qos=best_effort, qos_input="reliable", qos_output="best_effort", image_transport="raw")
    r.until(lambda: r.warnings)
    assert "/other: best_effort, volatile; this node asks for reliable, volatile" in r.warnings[0][1]
    assert "qos_input:=best_effort" in r.warnings[0][1]
    r.until(lambda: r.node.state == "active")
    r.warnings.clear()
    r.listen(panoptic=Image)  # reliable
    r.until(lambda: r.warnings)
    assert (
        "/dps/panoptic: subscribers ask for /other: reliable, volatile; this node offers best_effort"
        in r.warnings[0][1]
    )


def test_an_empty_frame_id_is_warned_about(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    r.send(1, frame_id="")
    r.until(lambda: r.got["panoptic"])
    assert r.warnings[0][0] == "frame_id"

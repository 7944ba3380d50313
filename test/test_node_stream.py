"""Frames through the node, with a predictor whose answers are known: outputs, live changes, bad input, faults."""

from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_fakes import CAR, ROAD, FakePredictor, camera_info, image, overrides
from node_rig import rigs
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from dps_msgs.msg import InstanceArray, PanopticInfo, PipelineStats
from dps_perception.kernels.cloud import POINT_DTYPE
from dps_perception.node.spin import spin_until


@pytest.fixture
def rig():
    with rigs() as make:
        yield make


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
    assert r.predictor.threads == {"dps_network"}
    assert r.predictor.seen[0][1].fx == 20.0


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
    thresholds = r.predictor.fused_with[-1]
    assert (thresholds.score_things, thresholds.score_stuff) == (0.9, 0.6)
    r.until(lambda: [round(m.score_threshold, 3) for m in r.got["panoptic_info"]][-1] == 0.6)


def test_classes_are_left_out_of_the_cloud_at_run_time(rig):
    r = rig()
    r.listen(points=PointCloud2)
    r.ready()
    refused = r.node.set_parameters(overrides(no_point_classes="cra"))[0]
    assert not refused.successful
    assert "has no class 'cra', did you mean 'car'" in refused.reason
    assert r.node.set_parameters(overrides(no_point_classes="car"))[0].successful
    r.send(1)
    r.until(lambda: r.got["points"])
    message = r.got["points"][0]
    points = np.frombuffer(message.data, POINT_DTYPE)
    car = points["label"] == CAR
    assert car.any()
    assert np.isnan(points["z"][car]).all()
    assert np.isfinite(points["z"][points["label"] == ROAD]).all()


def test_a_slow_model_drops_the_oldest_frames_and_counts_them(rig):
    r = rig(overlap="none", qos_input_depth=10, qos_output_depth=10)
    r.listen(panoptic=Image, stats=PipelineStats)
    r.ready()
    r.predictor.free.clear()
    r.send(1)
    r.until(lambda: len(r.predictor.seen) == 1)
    for second in (2, 3, 4, 5):
        r.send(second)
        r.until(lambda second=second: r.node._worker.counts().received == second)
    r.predictor.free.set()
    r.until(lambda: len(r.got["stats"]) == 2)
    assert r.stamps("panoptic") == [1, 5]
    assert r.got["stats"][-1].frames_dropped == 3
    assert r.got["stats"][-1].frames_in == 5


def test_a_backend_that_throws_loses_one_frame(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    infer, r.predictor.infer = r.predictor.infer, lambda *_: (_ for _ in ()).throw(RuntimeError("device lost"))
    r.send(1)
    r.until(lambda: r.warnings)
    assert "device lost" in r.warnings[0][1]
    r.predictor.infer = infer
    r.send(2)
    r.until(lambda: r.stamps("panoptic") == [2])


def test_an_output_that_can_not_be_made_loses_one_frame(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    publish, r.node.cameras[0].line.outputs.publish = (
        r.node.cameras[0].line.outputs.publish,
        lambda _: (_ for _ in ()).throw(RuntimeError("no room")),
    )
    r.send(1)
    r.until(lambda: r.warnings)
    assert "no room" in r.warnings[0][1]
    r.node.cameras[0].line.outputs.publish = publish
    r.send(2)
    r.until(lambda: r.stamps("panoptic") == [2])


def two_on_their_way(r):
    """Frame 1 is held up in the model, frame 2 is decoded and waits for it."""
    r.predictor.free.clear()
    r.send(1)
    r.until(lambda: len(r.predictor.seen) == 1)
    r.send(2)
    r.until(lambda: r.node._worker._places[1])


def test_a_frame_keeps_the_parameters_that_it_was_decoded_with(rig):
    r = rig(overlap="all", qos_output_depth=10)
    r.listen(points=PointCloud2)
    r.ready()
    two_on_their_way(r)
    r.node.set_parameters(overrides(point_stride=2, score_threshold_things=0.9))
    r.predictor.free.set()
    r.until(lambda: len(r.got["points"]) == 2)
    r.send(3)
    r.until(lambda: len(r.got["points"]) == 3)
    assert [message.width for message in r.got["points"]] == [32, 32, 16]
    assert [thresholds.score_things for thresholds in r.predictor.fused_with] == [0.2, 0.2, 0.9]


def test_deactivating_publishes_what_is_on_its_way(rig):
    r = rig(overlap="all", qos_output_depth=10)
    r.listen(panoptic=Image)
    r.ready()
    two_on_their_way(r)
    drain = r.node._worker.drain

    def draining(*args):
        r.predictor.free.set()
        return drain(*args)

    r.node._worker.drain = draining
    r.node.trigger_deactivate()
    assert r.node.state == "inactive"
    r.until(lambda: r.stamps("panoptic") == [1, 2])


def test_without_overlap_a_frame_is_finished_before_the_next_is_decoded(rig):
    r = rig(overlap="none")
    r.listen(stats=PipelineStats)
    r.ready()
    r.predictor.free.clear()
    r.send(1)
    r.until(lambda: len(r.predictor.seen) == 1)
    r.send(2)
    r.until(lambda: r.node._worker._places[0])
    assert not r.node._worker._places[1]
    r.predictor.free.set()
    r.until(lambda: len(r.got["stats"]) == 2)
    stats = r.got["stats"][1]
    assert stats.processing_ms >= stats.waiting_ms > stats.decode_ms + stats.publish_ms


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
    assert r.node.cameras[0].inputs.transport == "compressed"


def test_compressed_topic_beside_the_image_is_found(rig):
    r = rig(image_type=CompressedImage, image_topic="image/compressed")
    r.ready()
    assert r.node.cameras[0].inputs.image_topic == "/image/compressed"


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


def test_a_model_without_depth_publishes_what_it_has_and_says_so(rig):
    def load(weights="", **settings):
        predictor = FakePredictor(weights, **settings)
        predictor.model = replace(predictor.model, config=predictor.model.config.without_depth())
        return predictor

    r = rig(load=load)
    made_of_depth = {"depth": Image, "depth_color": Image, "points": PointCloud2, "markers": MarkerArray}
    r.listen(panoptic=Image, stats=PipelineStats, **made_of_depth)
    r.ready()
    for second in (1, 2):
        r.send(second)
        r.until(lambda second=second: r.stamps("stats")[-1:] == [second])
    assert r.stamps("panoptic") == [1, 2]
    assert not any(r.got[name] for name in made_of_depth)
    said = [text for kind, text in r.warnings if kind == "no depth"]
    assert said
    assert "~/depth, ~/depth_color, ~/points, ~/markers stay silent" in said[0]

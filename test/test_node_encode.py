"""Messages of a scene: pixel for pixel what the prediction says, on one grid, with the header of the source."""

import numpy as np
import pytest
from node_fakes import CAR, ROAD, SKY, camera_info, fake_prediction
from sensor_msgs.msg import PointField
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from dps_perception.camera import Intrinsics, back_project
from dps_perception.data.calibration import intrinsics_of
from dps_perception.evaluation.pictures import color_depth, overlay
from dps_perception.labels import CITYSCAPES
from dps_perception.node.encode import OUTPUTS, Encoder
from dps_perception.node.instances import decode_mask
from dps_perception.node.scene import Scene, View
from dps_perception.types import Prediction, Segment

H, W = 24, 32
RGB = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)


def scene(prediction=None, rgb=RGB, calibrated=True, **view):
    info = camera_info(rgb.shape[:2]) if calibrated else None
    intrinsics = intrinsics_of(info, rgb.shape[:2]) if calibrated else None
    header = Header(frame_id="optical")
    header.stamp.sec, header.stamp.nanosec = 12, 34
    prediction = prediction or fake_prediction(*rgb.shape[:2])
    return Scene(header, rgb, prediction, intrinsics, info, CITYSCAPES, "model", View(**view))


NUMBERS = {PointField.FLOAT32: "<f4", PointField.UINT16: "<u2"}


def read_points(message):
    """(height, width) structured array, read as the fields say."""
    fields = {
        "names": [f.name for f in message.fields],
        "formats": [NUMBERS[f.datatype] for f in message.fields],
        "offsets": [f.offset for f in message.fields],
        "itemsize": message.point_step,
    }
    assert all(f.count == 1 for f in message.fields)
    assert len(message.data) == message.row_step * message.height
    return np.frombuffer(message.data, np.dtype(fields)).reshape(message.height, message.width)


def pixels(message, dtype, channels=1):
    array = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return array[..., 0] if channels == 1 else array


def test_images_hold_the_prediction():
    s, encoder, p = scene(), Encoder(), fake_prediction(H, W)
    wanted = {
        "panoptic": ("16UC1", np.uint16, 1, p.panoptic),
        "semantic": ("mono8", np.uint8, 1, p.panoptic >> 8),
        "confidence": ("mono8", np.uint8, 1, np.rint(p.confidence * 255)),
        "depth": ("32FC1", np.float32, 1, p.depth_m),
        "overlay": ("rgb8", np.uint8, 3, overlay(RGB, p.panoptic, CITYSCAPES)),
        "depth_color": ("rgb8", np.uint8, 3, color_depth(p.depth_m, 80.0)),
    }
    for name, (encoding, dtype, channels, array) in wanted.items():
        message = OUTPUTS[name][1](encoder, s)
        assert message.encoding == encoding
        assert message.step == W * channels * np.dtype(dtype).itemsize
        assert message.is_bigendian == 0
        np.testing.assert_array_equal(pixels(message, dtype, channels), array, err_msg=name)


def test_every_output_carries_the_sources_header():
    encoder, s = Encoder(), scene()
    for name, (kind, encode) in OUTPUTS.items():
        message = encode(encoder, s)
        assert isinstance(message, kind)
        headers = [m.header for m in message.markers] if name == "markers" else [message.header]
        for header in headers:
            assert (header.stamp.sec, header.stamp.nanosec, header.frame_id) == (12, 34, "optical"), name


def test_messages_are_filled_where_they_are():
    """What is published is the memory that was written: no field of a later scene's message is another array."""
    encoder = Encoder()
    for name in ("panoptic", "semantic", "confidence", "depth", "points"):
        encode = OUTPUTS[name][1]
        first = encode(encoder, scene())
        data = first.data
        changed = fake_prediction(H, W)
        changed.panoptic[3, 4] = CAR * 256 + 7
        changed.depth_m[3, 4], changed.confidence[3, 4] = 2.5, 0.4
        before = bytes(data)
        second = encode(encoder, scene(changed))
        assert second.data is data, name
        assert bytes(data) != before, name
        np.testing.assert_array_equal(data, encode(Encoder(), scene(changed)).data, err_msg=name)


def test_what_was_warmed_up_leaves_nothing_behind():
    encoder = Encoder()
    encoder.warm_up()
    message = encoder.points(scene())
    assert (message.height, message.width, message.header.frame_id) == (H, W, "optical")
    assert len(encoder.instances(scene()).instances) == 3


def test_buffers_follow_the_size_and_never_show_an_older_scene():
    encoder = Encoder()
    first = encoder.panoptic(scene())
    kept = bytes(first.data)
    small = encoder.panoptic(scene(rgb=RGB[:10, :12].copy()))
    assert (small.height, small.width, len(small.data)) == (10, 12, 240)
    again = encoder.panoptic(scene())
    assert bytes(again.data) == kept


def test_void_is_255_in_semantic_and_0_in_confidence():
    s, encoder = scene(), Encoder()
    assert pixels(encoder.semantic(s), np.uint8)[-1, -1] == 255
    confidence = pixels(encoder.confidence(s), np.uint8)
    assert confidence[-1, -1] == 0
    assert confidence[0, 0] == 204  # 0.8


def test_depth_outside_the_range_is_infinite_and_labels_stay():
    """REP 117: -Inf nearer than the sensor sees, +Inf farther; NaN stays unknown."""
    depth = np.array([[0.5, 1.0, 50.0], [80.0, 80.5, np.nan]], np.float32)
    p = Prediction(np.zeros((2, 3), np.uint16), depth, np.ones((2, 3), np.float32), (Segment(0, 0, 0, False, 1, 6),))
    s = scene(p, np.zeros((2, 3, 3), np.uint8), min_depth_m=1.0, max_depth_m=80.0)
    np.testing.assert_array_equal(s.depth_m, np.array([[-np.inf, 1, 50], [80, np.inf, np.nan]], np.float32))
    assert np.isnan(depth[1, 2])
    assert depth[0, 0] == 0.5  # the prediction itself is left as it is


def test_classes_without_a_surface_have_infinite_depth():
    s = scene(no_depth_classes={"sky", "no such class"})
    sky = s.panoptic >> 8 == SKY
    assert sky.any()
    assert np.isposinf(s.depth_m[sky]).all()
    assert np.isfinite(s.depth_m[~sky]).all()


def test_cloud_at_hand_computed_places():
    """fx = 20, principal point (15.5, 11.5). Pixel (10, 9) is car at 10 m: x = -5.5 * 10 / 20, y = -2.5 * 10 / 20."""
    message = Encoder().points(scene())
    assert (message.height, message.width, message.point_step, message.is_dense) == (H, W, 20, False)
    assert [f.name for f in message.fields] == ["x", "y", "z", "rgb", "label", "instance"]
    assert message.row_step == 20 * W
    points = read_points(message)
    at = points[9, 10]
    assert (at["x"], at["y"], at["z"]) == (-2.75, -1.25, 10.0)
    assert (at["label"], at["instance"]) == (CAR, 1)
    assert (points["label"][-1, 0], points["instance"][-1, 0]) == (ROAD, 0)
    assert (points["label"][-1, -1], points["instance"][-1, -1]) == (255, 0)
    bits = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    np.testing.assert_array_equal(np.stack([bits >> 16, bits >> 8 & 255, bits & 255], -1), RGB)
    assert (bits >> 24 == 0).all()


def test_cloud_is_nan_where_depth_is_not_valid_and_keeps_its_labels():
    p = fake_prediction(H, W)
    p.depth_m[5, 5:9] = np.nan, np.inf, -np.inf, 0
    points = read_points(Encoder().points(scene(p)))
    xyz = np.stack([points[k] for k in "xyz"], -1)
    assert np.isnan(xyz[5, 5:9]).all()
    assert np.isfinite(np.delete(xyz.reshape(-1, 3), range(5 * W + 5, 5 * W + 9), 0)).all()
    assert (points["label"][5, 5:9] == SKY).all()
    expected = back_project(p.depth_m, Intrinsics(20, 20, 15.5, 11.5, H, W))
    np.testing.assert_allclose(xyz, expected, rtol=1e-6)


def test_classes_left_out_of_the_cloud_keep_depth_and_labels():
    """Road is not wanted as points: NaN there, all else as without the filter, and the depth image has it."""
    encoder = Encoder()
    full = read_points(encoder.points(scene())).copy()
    s = scene(no_point_classes={"road"}, no_depth_classes={"sky"}, max_depth_m=1000.0)
    points = read_points(encoder.points(s))
    label = points["label"]
    assert np.isnan(points["z"][(label == ROAD) | (label == SKY)]).all()
    kept = (label == CAR) | (label == 255)
    np.testing.assert_array_equal(points[kept], full[kept])
    for name in ("rgb", "label", "instance"):
        np.testing.assert_array_equal(points[name], full[name])
    depth = pixels(encoder.depth(s), np.float32)
    assert np.isfinite(depth[label == ROAD]).all()
    assert np.isposinf(depth[label == SKY]).all()
    assert {i.class_name: i.depth.valid_pixels > 0 for i in encoder.instances(s).instances} == {
        "road": True, "sky": False, "car": True,
    }  # fmt: skip


def test_cloud_stays_within_the_range():
    """REP 117: nearer and farther is not a point; the limits themselves are."""
    p = fake_prediction(H, W)
    p.depth_m[9, 8:12] = 2.0, 1.999, 60.0, 60.001
    points = read_points(Encoder().points(scene(p, min_depth_m=2.0, max_depth_m=60.0)))
    np.testing.assert_array_equal(points["z"][9, 8:12], np.float32([2.0, np.nan, 60.0, np.nan]))


def test_instances_see_the_range_too():
    p = fake_prediction(H, W)
    p.depth_m[8, 8:16] = np.arange(8)  # 0 never counts
    car = next(i for i in Encoder().instances(scene(p, min_depth_m=2.0, max_depth_m=10.0)).instances if i.is_thing)
    assert car.depth.valid_pixels == 64 - 2
    assert (car.depth.min, car.depth.max) == (2.0, 10.0)


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_stride_takes_every_nth_row_and_column(stride):
    encoder = Encoder()
    full = read_points(encoder.points(scene())).copy()
    some = encoder.points(scene(point_stride=stride))
    assert (some.height, some.width) == (-(-H // stride), -(-W // stride))
    points = read_points(some)
    for name in points.dtype.names:
        np.testing.assert_array_equal(points[name], full[name][::stride, ::stride], err_msg=name)


def test_without_calibration_only_3d_is_withheld():
    s, encoder = scene(calibrated=False), Encoder()
    withheld = {name for name, (_, encode) in OUTPUTS.items() if encode(encoder, s) is None}
    assert withheld == {"points", "camera_info", "markers"}
    assert not any(i.has_position or i.has_box for i in encoder.instances(s).instances)


def test_instances_agree_with_the_panoptic_image():
    encoder, s = Encoder(), scene()
    panoptic, message = pixels(encoder.panoptic(s), np.uint16), encoder.instances(s)
    assert (message.height, message.width, message.label_divisor, message.model_id) == (H, W, 256, "model")
    assert {i.panoptic_id for i in message.instances} == {ROAD * 256, SKY * 256, CAR * 256 + 1}
    for i in message.instances:
        mask = np.zeros((H, W), bool)
        rows = slice(i.roi.y_offset, i.roi.y_offset + i.roi.height)
        columns = slice(i.roi.x_offset, i.roi.x_offset + i.roi.width)
        mask[rows, columns] = decode_mask(i.mask.counts, i.roi.height, i.roi.width)
        np.testing.assert_array_equal(mask, panoptic == i.panoptic_id)


def test_instances_are_made_once_for_a_scene():
    encoder, s = Encoder(), scene()
    first = encoder.instances(s)
    encoder.markers(s)
    assert encoder.instances(s) is first
    encoder.forget()
    assert encoder.instances(scene()) is not first


def test_output_scale_gives_one_smaller_grid():
    """Half size: output pixel (i, j) shows the source pixel nearest to its centre, (2 i + 0.5, 2 j + 0.5)."""
    p = fake_prediction(H, W)
    s, encoder = scene(p, scale=0.5), Encoder()
    assert s.size_hw == (12, 16)
    for name in ("panoptic", "semantic", "confidence", "depth", "overlay", "depth_color", "points", "camera_info"):
        message = OUTPUTS[name][1](encoder, s)
        assert (message.height, message.width) == (12, 16), name
    small = pixels(encoder.panoptic(s), np.uint16)
    blocks = p.panoptic.reshape(12, 2, 16, 2).swapaxes(1, 2).reshape(12, 16, 4)
    assert (blocks == small[..., None]).any(-1).all()
    assert encoder.camera_info(s).k[0] == 10.0
    car = next(i for i in encoder.instances(s).instances if i.is_thing)
    full = next(i for i in Encoder().instances(scene(p)).instances if i.is_thing)
    assert (car.roi.width, car.roi.height, car.pixel_count) == (4, 4, 16)
    assert car.centroid.x == pytest.approx(full.centroid.x, abs=0.3)  # half an output pixel at 10 m
    points = read_points(encoder.points(s))
    np.testing.assert_allclose(points["x"][6, 5], (5 - 7.5) * points["z"][6, 5] / 10, rtol=1e-6)


def test_segments_that_vanish_at_small_scale_are_not_listed():
    p = fake_prediction(H, W)
    p.panoptic[0, 0] = CAR * 256 + 2
    tiny = Prediction(p.panoptic, p.depth_m, p.confidence, (*p.segments, Segment(CAR * 256 + 2, CAR, 2, True, 0.9, 1)))
    s = scene(tiny, scale=0.25)
    assert [i.panoptic_id for i in Encoder().instances(s).instances] == np.unique(s.panoptic).tolist()


def test_markers_show_boxes_and_names_of_things():
    encoder, s = Encoder(), scene()
    delete, box, name = encoder.markers(s).markers
    car = next(i for i in encoder.instances(s).instances if i.is_thing)
    assert delete.action == Marker.DELETEALL
    assert (box.type, box.action, box.ns, box.id) == (Marker.CUBE, Marker.ADD, "boxes", CAR * 256 + 1)
    assert box.pose.position == car.box_center.position
    assert (box.scale.x, box.scale.z) == (car.box_size.x, 0.01)  # a flat box would not be drawn
    assert (box.color.r, box.color.g, box.color.b) == pytest.approx([c / 255 for c in CITYSCAPES.classes[CAR].color])
    assert (name.type, name.text) == (Marker.TEXT_VIEW_FACING, "car 10.0 m")

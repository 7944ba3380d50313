"""Instances: masks that decode to the panoptic image, statistics against NumPy, boxes worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from dps_msgs.msg import InstanceMask
from dps_perception.camera import Intrinsics
from dps_perception.kernels.depth import DepthRule
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID
from dps_perception.node.encode import Encoder
from dps_perception.node.instances import MIN_BOX_POINTS, decode_mask, instance_array
from dps_perception.node.scene import Scene, View
from dps_perception.types import Prediction, Segment

V = VOID_PANOPTIC_ID
CAR = 13 * 256


def describe(panoptic, depth, intrinsics=None, **options):
    ids = [int(i) for i in np.unique(panoptic) if i != V]
    segments = [Segment(i, i // 256, i % 256, bool(CITYSCAPES.is_thing[i // 256]), 0.5, 1) for i in ids]
    options = {"rule": DepthRule()} | options
    return instance_array(panoptic, depth, segments, intrinsics, CITYSCAPES, Header(frame_id="cam"), "m", **options)


def test_hand_worked_mask():
    """Inside its box the car covers  . X X / X X X / X . .  so the runs are 1 off, 2 on + 3 on + 1 on, 2 off."""
    panoptic = np.full((5, 6), 0, np.uint16)
    panoptic[1, 3:5] = panoptic[2, 2:5] = CAR + 1
    panoptic[3, 2] = CAR + 1
    car = describe(panoptic, np.ones((5, 6), np.float32)).instances[1]
    assert (car.roi.x_offset, car.roi.y_offset, car.roi.width, car.roi.height) == (2, 1, 3, 3)
    assert car.mask.encoding == InstanceMask.ENCODING_RLE
    assert list(car.mask.counts) == [1, 6, 2]
    assert (car.pixel_count, car.panoptic_id, car.class_id, car.instance_id) == (6, CAR + 1, 13, 1)
    assert (car.class_name, car.is_thing, car.track_id, car.score) == ("car", True, 0, 0.5)


IDS = [0, 256, 11 * 256 + 1, CAR + 1, CAR + 2, CAR + 255, V]


@st.composite
def panoptic_images(draw):
    """Blocks of any size, sprinkled with single pixels: one colour, one row, one column and all void among them."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 7)))
    blocks = draw(arrays(np.uint16, shape, elements=st.sampled_from(IDS)))
    panoptic = np.kron(blocks, np.ones(draw(st.tuples(st.integers(1, 9), st.integers(1, 9))))).astype(np.uint16)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    panoptic[rng.random(panoptic.shape) < draw(st.sampled_from([0.0, 0.1, 0.6]))] = CAR + 3
    return panoptic


def rebuilt_from(message):
    """The panoptic image that an InstanceArray describes; checks what it says about each mask on the way."""
    rebuilt = np.full((message.height, message.width), V, np.uint16)
    for i in message.instances:
        window = rebuilt[i.roi.y_offset :, i.roi.x_offset :][: i.roi.height, : i.roi.width]
        mask = decode_mask(i.mask.counts, i.roi.height, i.roi.width)
        assert mask.sum() == i.pixel_count > 0
        assert mask.any(0)[[0, -1]].all()
        assert mask.any(1)[[0, -1]].all()
        assert (window[mask] == V).all()  # no pixel is in two masks
        window[mask] = i.panoptic_id
    return rebuilt


@settings(deadline=None, max_examples=150)
@given(panoptic_images())
def test_masks_decode_to_exactly_the_panoptic_image(panoptic):
    message = describe(panoptic, np.ones(panoptic.shape, np.float32))
    np.testing.assert_array_equal(rebuilt_from(message), panoptic)
    assert [i.panoptic_id for i in message.instances] == sorted(set(np.unique(panoptic).tolist()) - {V})


@settings(deadline=None, max_examples=100)
@given(panoptic_images(), st.floats(0.05, 1.0), st.booleans())
def test_masks_are_those_of_the_published_image_at_any_output_scale(panoptic, scale, with_depth):
    """What the node does: one Scene, one Encoder, the bytes of `~/panoptic` beside `~/instances`."""
    shape = panoptic.shape
    segments = tuple(
        Segment(int(i), int(i) // 256, int(i) % 256, bool(CITYSCAPES.is_thing[int(i) // 256]), 0.5, 1)
        for i in np.unique(panoptic)
        if i != V
    )
    depth = np.full(shape, 7 if with_depth else np.nan, np.float32)
    prediction = Prediction(panoptic, depth, np.ones(shape, np.float32), segments)
    intrinsics = Intrinsics(30, 30, shape[1] / 2, shape[0] / 2, *shape)
    rgb = np.zeros((*shape, 3), np.uint8)
    scene = Scene(Header(), rgb, prediction, intrinsics, None, CITYSCAPES, "m", View(scale=scale))
    encoder = Encoder()
    image, message = encoder.panoptic(scene), encoder.instances(scene)
    published = np.frombuffer(image.data, np.uint16).reshape(image.height, image.width)
    np.testing.assert_array_equal(rebuilt_from(message), published)
    for i in message.instances:
        assert i.depth.valid_pixels == (i.pixel_count if with_depth else 0)
        assert i.has_position == (with_depth and i.is_thing)
        place, size = i.box_center.position, i.box_size
        assert i.has_position == bool(np.isfinite([i.centroid.x, i.centroid.y, i.centroid.z]).all())
        assert i.has_position != bool(np.isnan([i.centroid.x, i.centroid.y, i.centroid.z]).all())
        assert i.has_box == bool(np.isfinite([place.x, place.y, place.z, size.x, size.y, size.z]).all())
        assert i.has_box != bool(np.isnan([place.x, place.y, place.z, size.x, size.y, size.z]).all())
        assert i.has_box == (i.has_position and i.pixel_count >= MIN_BOX_POINTS)


def test_position_and_box_are_along_the_axes_of_another_frame():
    """The wall of 2 x 1 m at (1, 0.5, 10), seen by a camera that looks along x from (100, 200, 3) of a map: it is 2 m
    wide along y, centred 10 m ahead, 1 m to the right (-y) and 0.5 m below, to millimetres although far from 0."""
    panoptic = np.zeros((80, 100), np.uint16)
    panoptic[40:51, 50:71] = CAR + 1
    depth = np.full((80, 100), 10, np.float32)
    pose = np.array([[0, 0, 1, 500_100], [-1, 0, 0, 200], [0, -1, 0, 3], [0, 0, 0, 1]], float)
    car = describe(panoptic, depth, Intrinsics(100, 100, 50, 40, 80, 100), pose=pose, track_ids={CAR + 1: 9}).instances[
        1
    ]
    np.testing.assert_allclose([car.centroid.x, car.centroid.y, car.centroid.z], [500_110, 199, 2.5], atol=1e-3, rtol=0)
    center, size = car.box_center.position, car.box_size
    np.testing.assert_allclose([center.x, center.y, center.z], [500_110, 199, 2.5], atol=1e-3, rtol=0)
    np.testing.assert_allclose([size.x, size.y, size.z], [0, 2, 1], atol=1e-3)
    assert (car.track_id, car.box_center.orientation.w, car.depth.median) == (9, 1.0, 10.0)


def test_a_box_is_tight_along_the_axes_of_the_frame_not_a_turned_optical_box():
    """A wall at 45 degrees to the camera, 8 m long and 4 m high: in the frame that looks along it, it has no depth."""
    columns = np.arange(200)
    depth = np.tile((10 / (1 - (columns - 100) / 200)).astype(np.float32), (40, 1))  # z = 10 + x
    turn = Rotation.from_euler("y", 45, degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = turn
    panoptic = np.full(depth.shape, CAR + 1, np.uint16)
    intrinsics = Intrinsics(200, 200, 100, 20, 40, 200)
    optical = describe(panoptic, depth, intrinsics).instances[0].box_size
    turned = describe(panoptic, depth, intrinsics, pose=pose).instances[0].box_size
    assert optical.x > 5
    assert optical.z > 5
    assert min(turned.x, turned.z) < 0.01
    assert max(turned.x, turned.z) == pytest.approx(np.hypot(optical.x, optical.z), rel=0.02)


def test_a_void_image_has_no_instances():
    assert describe(np.full((3, 4), V, np.uint16), np.ones((3, 4), np.float32)).instances == []


def test_depth_statistics_equal_numpy_over_valid_pixels():
    rng = np.random.default_rng(0)
    panoptic = np.full((40, 50), CAR + 1, np.uint16)
    depth = rng.uniform(1, 50, (40, 50)).astype(np.float32)
    depth[0] = np.nan
    depth[1] = np.inf
    depth[2] = -np.inf
    depth[3] = 0
    stats = describe(panoptic, depth).instances[0].depth
    valid = depth[4:]
    assert stats.valid_pixels == valid.size
    found = [stats.min, stats.p05, stats.median, stats.p95, stats.max, stats.mean, stats.stddev]
    p05, median, p95 = np.quantile(valid, [0.05, 0.5, 0.95])
    wanted = [valid.min(), p05, median, p95, valid.max(), valid.mean(), valid.std()]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_nothing_valid_is_nan():
    stats = describe(np.zeros((3, 4), np.uint16), np.full((3, 4), np.nan, np.float32)).instances[0].depth
    assert stats.valid_pixels == 0
    assert np.isnan([stats.min, stats.p05, stats.median, stats.p95, stats.max, stats.mean, stats.stddev]).all()


def test_position_and_box_of_a_wall_facing_the_camera():
    """fx = fy = 100, principal point (50, 40): 21x11 pixels centred on (60, 45) at 10 m are centred on (1, 0.5, 10) m.

    Columns 50..70 lie at x = 0..2 m; the box spans the 1st to 99th percentile of 21 equally common columns: all of it.
    """
    panoptic = np.zeros((80, 100), np.uint16)
    panoptic[40:51, 50:71] = CAR + 1
    depth = np.full((80, 100), 10, np.float32)
    car = describe(panoptic, depth, Intrinsics(100, 100, 50, 40, 80, 100)).instances[1]
    assert car.has_position
    assert car.has_box
    np.testing.assert_allclose([car.centroid.x, car.centroid.y, car.centroid.z], [1.0, 0.5, 10], rtol=1e-6)
    center, size = car.box_center.position, car.box_size
    np.testing.assert_allclose([center.x, center.y, center.z], [1.0, 0.5, 10], rtol=1e-6)
    np.testing.assert_allclose([size.x, size.y, size.z], [2.0, 1.0, 0.0], atol=1e-5)
    assert car.box_center.orientation.w == 1.0


def test_background_that_bleeds_into_the_mask_moves_neither_centre_nor_box():
    """A car of 60x30 pixels at 9.5 to 10.5 m: x = -3..2.9 m, y = -1.5..1.4 m; each tenth pixel shows what is behind."""
    rng = np.random.default_rng(1)
    panoptic = np.full((80, 120), V, np.uint16)
    panoptic[20:50, 30:90] = CAR + 1
    depth = rng.uniform(9.5, 10.5, (80, 120)).astype(np.float32)
    behind = rng.random((80, 120)) < 0.1
    depth[behind] = rng.uniform(30, 60, behind.sum())
    car = describe(panoptic, depth, Intrinsics(100, 100, 60, 35, 80, 120)).instances[0]
    center, middle, size = car.centroid, car.box_center.position, car.box_size
    np.testing.assert_allclose([center.x, center.y, center.z], [-0.05, -0.05, 10], atol=0.1)
    np.testing.assert_allclose([middle.x, middle.y, middle.z], [-0.05, -0.05, 10], atol=0.1)
    np.testing.assert_allclose([size.x, size.y, size.z], [5.9, 2.9, 1], atol=0.15)
    assert car.depth.max > 30  # the statistics tell all


def test_a_long_object_keeps_its_length():
    """Evenly spread over 20 m of depth: nothing of it is an outlier."""
    depth = np.linspace(10, 30, 2000, dtype=np.float32).reshape(20, 100)
    car = describe(np.full(depth.shape, CAR + 1, np.uint16), depth, Intrinsics(100, 100, 50, 10, 20, 100)).instances[0]
    assert car.box_size.z == pytest.approx(20 * 0.98, abs=0.02)


def test_without_calibration_or_depth_there_is_no_position():
    panoptic = np.zeros((20, 20), np.uint16)
    panoptic[:10] = CAR + 1
    panoptic[0, :4] = CAR + 2
    depth = np.full((20, 20), 5, np.float32)
    intrinsics = Intrinsics(10, 10, 10, 10, 20, 20)
    for i in describe(panoptic, depth).instances:
        assert not i.has_position
        assert not i.has_box
        assert np.isnan([i.centroid.x, i.centroid.z, i.box_center.position.y, i.box_size.z]).all()
    depth[panoptic == CAR + 1] = np.inf
    road, empty, tiny = describe(panoptic, depth, intrinsics).instances
    assert not empty.has_position
    assert empty.depth.valid_pixels == 0
    assert tiny.has_position
    assert not tiny.has_box  # four pixels say where, not how large
    assert road.depth.valid_pixels == 200
    assert not road.has_position  # stuff has no centre


def test_masks_can_be_left_out():
    panoptic = np.full((4, 4), CAR + 1, np.uint16)
    mask = describe(panoptic, np.ones((4, 4), np.float32), masks=False).instances[0].mask
    assert mask.encoding == InstanceMask.ENCODING_NONE
    assert len(mask.counts) == 0

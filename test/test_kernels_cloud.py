"""Packed points and limited depth, against NumPy pixel by pixel."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dps_perception.camera import Intrinsics, back_project
from dps_perception.kernels.cloud import POINT_DTYPE, fill_cloud
from dps_perception.kernels.depth import DepthRule, limit_depth

SKY = 10
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -1.0, 2.0, np.nextafter(np.float32(2), np.float32(0)), 50.0, 50.1)
RULES = {
    "none": DepthRule(),
    "range": DepthRule(2.0, 50.0),
    "classes": DepthRule(hidden=np.isin(np.arange(256), [SKY, 13])),
    "all": DepthRule(2.0, 50.0, np.arange(256) == SKY),
}


def scene(height=23, width=37):
    rng = np.random.default_rng(height)
    panoptic = rng.choice([0, SKY * 256, 13 * 256 + 1, 18 * 256 + 255, 65535], (height, width)).astype(np.uint16)
    depth = rng.uniform(1, 70, (height, width)).astype(np.float32)
    odd = rng.random(depth.shape) < 0.3
    depth[odd] = rng.choice(np.float32(SPECIAL), odd.sum())
    return depth, rng.integers(0, 256, (height, width, 3), np.uint8), panoptic


def counts(depth, panoptic, rule):
    with np.errstate(invalid="ignore"):
        inside = (depth >= rule.near_m) & (depth <= rule.far_m)
    return np.isfinite(depth) & (depth > 0) & inside & ~rule.hidden[panoptic >> 8]


@pytest.mark.parametrize("stride", [1, 2, 5, 64])
@pytest.mark.parametrize("rule", RULES)
def test_points_are_back_projected_pixels(rule, stride):
    (depth, rgb, panoptic), rule = scene(), RULES[rule]
    intrinsics = Intrinsics(20, 25, 18.2, 11.1, *depth.shape)
    shape = tuple(-(-size // stride) for size in depth.shape)
    cloud = np.frombuffer(bytearray(b"\xaa" * (shape[0] * shape[1] * 20)), POINT_DTYPE).reshape(shape)
    fill_cloud(cloud, depth, rgb, panoptic, intrinsics, rule, stride)
    every = np.s_[::stride, ::stride]
    limited = np.where(counts(depth, panoptic, rule), depth, np.nan).astype(np.float32)
    xyz = np.stack([cloud[axis] for axis in "xyz"], -1)
    np.testing.assert_allclose(xyz, back_project(limited, intrinsics)[every], rtol=1e-6)
    red, green, blue = (rgb[every][..., i].astype(np.uint32) for i in range(3))
    np.testing.assert_array_equal(cloud["rgb"], red << 16 | green << 8 | blue)
    np.testing.assert_array_equal(cloud["label"], (panoptic >> 8)[every])
    np.testing.assert_array_equal(cloud["instance"], np.where(panoptic == 65535, 0, panoptic & 255)[every])


@pytest.mark.parametrize("stride", [1, 3])
def test_a_pose_takes_every_point_to_its_frame(stride):
    """NaN stays NaN in all three coordinates, labels and colours are as before; the optical pose changes no bit."""
    depth, rgb, panoptic = scene()
    intrinsics, rule = Intrinsics(20, 25, 18.2, 11.1, *depth.shape), RULES["all"]
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix()
    pose[:3, 3] = 3.0, -20.0, 7.0
    shape = tuple(-(-size // stride) for size in depth.shape)
    optical, same, placed = (np.zeros(shape, POINT_DTYPE) for _ in range(3))
    fill_cloud(optical, depth, rgb, panoptic, intrinsics, rule, stride)
    fill_cloud(same, depth, rgb, panoptic, intrinsics, rule, stride, pose=np.eye(4))
    fill_cloud(placed, depth, rgb, panoptic, intrinsics, rule, stride, pose=pose)
    assert same.tobytes() == optical.tobytes()
    before, after = (np.stack([cloud[axis] for axis in "xyz"], -1) for cloud in (optical, placed))
    np.testing.assert_allclose(after, before @ pose[:3, :3].T + pose[:3, 3], rtol=1e-5, atol=1e-4)
    assert np.isnan(after[np.isnan(before).any(-1)]).all()
    for name in ("rgb", "label", "instance"):
        np.testing.assert_array_equal(placed[name], optical[name])


def test_read_only_and_strided_images_are_welcome():
    depth, rgb, panoptic = scene()
    intrinsics = Intrinsics(20, 25, 18.2, 11.1, *depth.shape)
    wide = np.zeros((23, 50, 3), np.uint8)
    wide[:, :37] = rgb
    rgb.flags.writeable = False
    clouds = []
    for image in (rgb, wide[:, :37]):
        clouds.append(np.zeros(depth.shape, POINT_DTYPE))
        fill_cloud(clouds[-1], np.asfortranarray(depth), image, panoptic, intrinsics, DepthRule(), 1)
    assert clouds[0].tobytes() == clouds[1].tobytes()


@pytest.mark.parametrize("stride", [1, 3])
def test_points_below_the_least_confidence_are_nan(stride):
    depth, rgb, panoptic = scene()
    confidence = np.random.default_rng(1).uniform(0, 1, depth.shape).astype(np.float32)
    confidence[0, :3] = 0.6, np.nextafter(np.float32(0.6), np.float32(0)), np.nan
    depth[0, :3] = 5.0
    intrinsics = Intrinsics(20, 25, 18.2, 11.1, *depth.shape)
    shape = tuple(-(-size // stride) for size in depth.shape)
    all_of_them, sure = (np.zeros(shape, POINT_DTYPE) for _ in range(2))
    fill_cloud(all_of_them, depth, rgb, panoptic, intrinsics, DepthRule(), stride)
    fill_cloud(sure, depth, rgb, panoptic, intrinsics, DepthRule(), stride, (confidence, np.float32(0.6)))
    kept = (confidence >= np.float32(0.6))[::stride, ::stride]
    assert kept[0, 0]
    assert stride > 1 or not kept[0, 1:3].any()
    for axis in "xyz":
        np.testing.assert_array_equal(sure[axis], np.where(kept, all_of_them[axis], np.float32(np.nan)))
    np.testing.assert_array_equal(sure["label"], all_of_them["label"])


@pytest.mark.parametrize("rule", RULES)
def test_limited_depth_is_infinite_outside(rule):
    (depth, _, panoptic), rule = scene(), RULES[rule]
    out = np.full(depth.shape, 7, np.float32)
    limit_depth(depth, panoptic, rule, out)
    with np.errstate(invalid="ignore"):
        wanted = np.select(
            [rule.hidden[panoptic >> 8], depth < rule.near_m, depth > rule.far_m], [np.inf, -np.inf, np.inf], depth
        )
    np.testing.assert_array_equal(out, wanted.astype(np.float32))

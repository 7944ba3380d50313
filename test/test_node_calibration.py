"""CameraInfo to intrinsics and back, with numbers worked out by hand."""

import cv2
import numpy as np
import pytest
from node_fakes import camera_info
from std_msgs.msg import Header

from dps_perception.data.calibration import intrinsics_of
from dps_perception.errors import CameraInfoError
from dps_perception.node.calibration import scaled_camera_info


def test_k_is_used_where_p_is_not_set():
    info = camera_info((24, 32), f=20.0)
    info.p = [0.0] * 12
    found = intrinsics_of(info, (24, 32))
    assert (found.fx, found.fy, found.cx, found.cy) == (20.0, 20.0, 15.5, 11.5)


def test_p_of_the_rectified_image_beats_k():
    info = camera_info((24, 32))
    info.p = [30.0, 0.0, 14.0, 0.0, 0.0, 31.0, 10.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    found = intrinsics_of(info, (24, 32))
    assert (found.fx, found.fy, found.cx, found.cy) == (30.0, 31.0, 14.0, 10.0)


def test_roi_and_binning():
    """A 20x10 window at (8, 4), binned by 2: cx = (15.5 - 8 + 0.5) / 2 - 0.5 = 3.5, cy = (11.5 - 4 + 0.5) / 2 - 0.5."""
    info = camera_info((24, 32), f=20.0)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 8, 4, 20, 10
    info.binning_x = info.binning_y = 2
    found = intrinsics_of(info, (5, 10))
    assert (found.fx, found.fy, found.cx, found.cy) == (10.0, 10.0, 3.5, 3.5)


def test_binning_of_an_odd_size_drops_the_last_row():
    info = camera_info((25, 32), f=20.0)
    info.binning_y = 2
    assert intrinsics_of(info, (12, 32)).fy == 10.0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda i: i.__setattr__("height", 0), "camera_info is for a 32x0 image.*not calibrated"),
        (lambda i: (i.__setattr__("k", [0.0] * 9), i.__setattr__("p", [0.0] * 12)), r"fx=0\.0.*cameracalibrator"),
        (
            lambda i: (i.__setattr__("k", [float("nan")] * 9), i.__setattr__("p", [0.0] * 12)),
            r"camera_info's K is \[nan",
        ),
        (lambda i: i.__setattr__("p", [20.0] * 11 + [float("inf")]), r"camera_info's P is \[20\.0.*inf.*finite"),
        (lambda i: i.__setattr__("k", [1e7] * 9), "camera_info's K is .* at most 1e\\+06"),
        (
            lambda i: i.__setattr__("k", [-20.0, *[0.0] * 3, 20.0, *[0.0] * 3, 1.0]),
            r"K has focal lengths fx=-20\.0.*0\.01",
        ),
        (lambda i: i.__setattr__("k", [1e-9, *[0.0] * 3, 20.0, *[0.0] * 3, 1.0]), "K has focal lengths fx=1e-09"),
        (
            lambda i: (setattr(i.roi, "width", 30), setattr(i.roi, "height", 4), setattr(i.roi, "x_offset", 3)),
            r"roi is 30x4 at \(3, 0\), which reaches beyond its 32x24 pixels",
        ),
        (lambda i: setattr(i, "binning_x", 40), "calibration is for a 0x24 image"),
        (lambda i: i.__setattr__("width", 64), "camera_info is for 64x24 pixels, the image is 32x24.*remapped"),
    ],
)
def test_unusable_calibrations_are_named(change, expected):
    info = camera_info((24, 32))
    change(info)
    with pytest.raises(CameraInfoError, match=expected):
        intrinsics_of(info, (24, 32))


def test_scaled_camera_info():
    """Of the rectified image, so P counts. At half size fx halves, cx = (15.5 + 0.5) / 2 - 0.5 = 7.5, and the stereo
    term -fx B halves with fx."""
    info = camera_info((24, 32), f=20.0)
    info.p[3] = -4.0
    info.d = [0.1, 0.2, 0.0, 0.0, 0.0]
    info.k = [22.0, 0.0, 14.0, 0.0, 22.0, 10.0, 0.0, 0.0, 1.0]
    info.r = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    small = scaled_camera_info(info, (12, 16), Header(frame_id="other"))
    assert (small.height, small.width, small.header.frame_id) == (12, 16, "other")
    np.testing.assert_allclose(small.k, [10, 0, 7.5, 0, 10, 5.5, 0, 0, 1])
    np.testing.assert_allclose(small.p, [10, 0, 7.5, -2, 0, 10, 5.5, 0, 0, 0, 1, 0])
    assert (small.distortion_model, list(small.d)) == ("plumb_bob", [0.0] * 5)  # the image is rectified
    np.testing.assert_array_equal(small.r, np.eye(3).ravel())
    assert (small.binning_x, small.roi.width) == (0, 0)
    assert intrinsics_of(small, (12, 16)) == intrinsics_of(info, (24, 32)).resized(12, 16)


def test_roi_binning_and_output_scale_together():
    """Against OpenCV's own projection, undistortion aside: a point's pixel moves as the window, the mean of 2x3 pixels
    and the half size move it (half-pixel centres)."""
    info = camera_info((48, 64), f=40.0)
    info.p = [42.0, 0.0, 30.0, -2.1, 0.0, 43.0, 25.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 8, 6, 48, 36
    info.binning_x, info.binning_y = 2, 3
    out = scaled_camera_info(info, (6, 12), Header())
    point = np.array([0.35, -0.2, 2.0])
    (u, v) = cv2.projectPoints(point, np.zeros(3), np.zeros(3), np.array(info.p).reshape(3, 4)[:, :3], None)[0].ravel()
    expected = (u - 8 + 0.5) / 2 / 2 - 0.5, (v - 6 + 0.5) / 3 / 2 - 0.5
    k = np.array(out.k).reshape(3, 3)
    np.testing.assert_allclose((k @ point / point[2])[:2], expected)
    assert (out.width, out.height, out.binning_x, out.roi.width) == (12, 6, 0, 0)
    assert out.p[3] / out.p[0] == pytest.approx(-2.1 / 42.0)  # the baseline stays 5 cm
    whole = np.zeros((48, 64), np.float32)
    whole[int(v) - 1 : int(v) + 3, int(u) - 1 : int(u) + 3] = 1.0  # a spot around it, through real resizing
    sent = cv2.resize(whole[6:42, 8:56], (24, 12), interpolation=cv2.INTER_AREA)
    spot = cv2.resize(sent, (12, 6), interpolation=cv2.INTER_AREA)
    columns, rows = np.meshgrid(np.arange(12), np.arange(6))
    center = (spot * columns).sum() / spot.sum(), (spot * rows).sum() / spot.sum()
    np.testing.assert_allclose(center, expected, atol=0.3)


def test_full_size_camera_info_is_the_sources():
    info = camera_info((24, 32))
    same = scaled_camera_info(info, (24, 32), info.header)
    np.testing.assert_array_equal(same.k, info.k)
    np.testing.assert_array_equal(same.p, info.p)
    np.testing.assert_array_equal(same.r, info.r)

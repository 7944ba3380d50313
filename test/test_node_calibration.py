"""CameraInfo to intrinsics and back, with numbers worked out by hand."""

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
        (lambda i: (i.__setattr__("k", [float("nan")] * 9), i.__setattr__("p", [0.0] * 12)), "fx=nan"),
        (lambda i: i.__setattr__("width", 64), "camera_info is for 64x24 pixels, the image is 32x24.*remapped"),
    ],
)
def test_unusable_calibrations_are_named(change, expected):
    info = camera_info((24, 32))
    change(info)
    with pytest.raises(CameraInfoError, match=expected):
        intrinsics_of(info, (24, 32))


def test_scaled_camera_info():
    """At half size fx halves, cx = (15.5 + 0.5) / 2 - 0.5 = 7.5, and the stereo term -fx B halves with fx."""
    info = camera_info((24, 32), f=20.0)
    info.p[3] = -4.0
    info.d = [0.1, 0.2, 0.0, 0.0, 0.0]
    small = scaled_camera_info(info, (12, 16), Header(frame_id="other"))
    assert (small.height, small.width, small.header.frame_id) == (12, 16, "other")
    np.testing.assert_allclose(small.k, [10, 0, 7.5, 0, 10, 5.5, 0, 0, 1])
    np.testing.assert_allclose(small.p, [10, 0, 7.5, -2, 0, 10, 5.5, 0, 0, 0, 1, 0])
    assert list(small.d) == [0.1, 0.2, 0.0, 0.0, 0.0]
    assert (small.binning_x, small.roi.width) == (0, 0)
    assert intrinsics_of(small, (12, 16)) == intrinsics_of(info, (24, 32)).resized(12, 16)


def test_full_size_camera_info_is_the_sources():
    info = camera_info((24, 32))
    same = scaled_camera_info(info, (24, 32), info.header)
    np.testing.assert_array_equal(same.k, info.k)
    np.testing.assert_array_equal(same.p, info.p)
    np.testing.assert_array_equal(same.r, info.r)

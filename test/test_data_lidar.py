"""Clouds into images: pixels and depths by hand, what is hidden, and every layout of a PointCloud2."""

from types import SimpleNamespace

import numpy as np
import pytest

from dps_perception.camera import Intrinsics, back_project
from dps_perception.data.lidar import Occlusion, project_cloud, read_points
from dps_perception.errors import ConfigError, ImageError

CAMERA = Intrinsics(10.0, 20.0, 4.0, 3.0, 6, 8)
OPTICAL_FROM_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -0.5], [0, 0, 0, 1.0]])  # camera 0.5 m ahead


def known(depth: np.ndarray) -> dict[tuple[int, int], float]:
    """Depth by (row, column) where it is not NaN."""
    return {(int(r), int(c)): float(depth[r, c]) for r, c in zip(*np.nonzero(~np.isnan(depth)), strict=True)}


def test_points_fall_where_they_should():
    points = [
        (5.5, 0.0, 0.0),  # straight ahead, 5 m from the camera: the principal point
        (5.5, -1.0, -0.25),  # 1 m right: u = 4 + 10/5 = 6; 0.25 m down: v = 3 + 20 * 0.25/5 = 4
        (5.5, 1.2, 0.0),  # u = 4 - 2.4 = 1.6: pixel 2
        (5.5, 2.2, 0.0),  # u = -0.4: still pixel 0
        (5.5, 2.3, 0.0),  # u = -0.6: outside
        (5.5, -1.8, 0.0),  # u = 7.6: outside
        (5.5, 0.0, 0.9),  # v = -0.6: outside
        (0.4, 0.0, 0.0),  # behind the camera
        (-9.0, 0.0, 0.0),  # behind the robot
        (0.51, 1e9, 1e9),  # beside the camera, far
    ]
    depth = project_cloud(np.array(points), OPTICAL_FROM_LIDAR, CAMERA)
    assert depth.dtype == np.float32
    assert known(depth) == {(3, 4): 5.0, (4, 6): 5.0, (3, 2): 5.0, (3, 0): 5.0}


def test_the_nearest_point_of_a_pixel_counts():
    points = np.array([[9.5, 0, 0], [8.0, 0, 0], [9.0, 0, 0]])
    for order in (points, points[::-1]):
        assert known(project_cloud(order, OPTICAL_FROM_LIDAR, CAMERA, None)) == {(3, 4): 7.5}


def test_what_shines_through_is_dropped():
    """Focal 100 px: 1 degree is 1.75, so 2 pixels. Below (1 - 0.2) of 20 m there is something: hidden."""
    camera = Intrinsics(100.0, 100.0, 4.0, 3.0, 7, 9)

    def kept(*pixels: tuple[int, int, float], **rule: float) -> set[tuple[int, int]]:
        depth = np.full((7, 9), np.nan, np.float32)
        for row, column, metres in pixels:
            depth[row, column] = metres
        points = back_project(depth, camera).reshape(-1, 3)
        occlusion = Occlusion(**{"window_deg": 1.0, "relative": 0.2, **rule})
        return set(known(project_cloud(points[~np.isnan(points[:, 2])], np.eye(4), camera, occlusion)))

    assert kept((3, 4, 20), (5, 6, 15.9)) == {(5, 6)}
    assert kept((3, 4, 20), (5, 6, 16.1)) == {(3, 4), (5, 6)}, "a slope, not an edge"
    assert kept((3, 4, 20), (3, 7, 5)) == {(3, 4), (3, 7)}, "3 pixels away"
    assert kept((3, 4, 20), (3, 7, 5), window_deg=1.5) == {(3, 7)}
    assert kept((3, 4, 20), (3, 5, 15), window_deg=0.001) == {(3, 5)}, "one pixel at least"
    assert kept((0, 0, 20), (6, 8, 20)) == {(0, 0), (6, 8)}, "the image's edge hides nothing"


def test_no_points_give_no_depth():
    assert known(project_cloud(np.empty((0, 3)), OPTICAL_FROM_LIDAR, CAMERA)) == {}


@pytest.mark.parametrize("values", [{"window_deg": 0}, {"window_deg": 50}, {"relative": 0}, {"relative": 1}])
def test_impossible_rules_are_refused(values):
    with pytest.raises(ConfigError, match="occlusion window"):
        Occlusion(**values)


def cloud(points: np.ndarray, kind: str = "<f4", offset: int = 0, step: int = 0, width: int = 0, pad: int = 0):
    """A PointCloud2 of points (N, 3): x, y, z of `kind` from `offset` on, `pad` bytes behind each row."""
    size = np.dtype(kind).itemsize
    step, width = step or offset + 3 * size, width or len(points)
    height = len(points) // width
    data = np.zeros((height, width * step + pad), np.uint8)
    cells = data[:, : width * step].reshape(height, width, step)
    raw = points.astype(kind).reshape(height, width, 3).view(np.uint8)
    cells[:, :, offset : offset + 3 * size] = raw
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="lidar"), height=height, width=width, is_bigendian=False, point_step=step,
        row_step=data.shape[1], data=data.tobytes(), fields=[field("ring", 99, 250), *xyz_fields(kind, offset)],
    )  # fmt: skip


def field(name: str, datatype: int, offset: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, datatype=datatype, offset=offset, count=1)


def xyz_fields(kind: str, offset: int) -> list[SimpleNamespace]:
    size = np.dtype(kind).itemsize
    return [field(name, 7 if size == 4 else 8, offset + i * size) for i, name in enumerate("xyz")]


POINTS = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [-1, -2, -3.5], [10, 11, 12], [0.5, 0, 0]])


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize(
    "layout", [{}, {"offset": 4, "step": 48}, {"offset": 3}, {"width": 2}, {"width": 3, "pad": 5, "offset": 1}]
)
def test_every_layout_gives_the_same_points(kind, layout):
    """Fields that are not read may be of any type: `ring` here has a datatype that does not exist."""
    np.testing.assert_array_equal(read_points(cloud(POINTS, kind, **layout)), POINTS)


def test_returns_that_are_none_are_left_out():
    points = np.array([[1, 2, 3], [np.nan, 0, 1], [0, 0, 0], [4, np.inf, 6], [0, 0, 5]], float)
    np.testing.assert_array_equal(read_points(cloud(points)), [[1, 2, 3], [0, 0, 5]])


def changed(**fields):
    message = cloud(POINTS)
    message.__dict__.update(fields)
    return message


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (changed(is_bigendian=True), "frame 'lidar' is big endian"),
        (changed(fields=xyz_fields("<f4", 0)[:2]), r"needs fields x, y, z.*x \(datatype 7\), y \(datatype 7\)"),
        (changed(fields=[field(n, 5, 0) for n in "xyz"]), r"FLOAT64 \(8\); its fields are: x \(datatype 5\)"),
        (changed(fields=[]), "its fields are: none"),
        (changed(data=b"12345"), "6x1 points, 12 bytes each, with 5 bytes"),
        (changed(fields=xyz_fields("<f4", 4)), "can't be read"),
    ],
)
def test_unreadable_clouds_are_told(message, told):
    with pytest.raises(ImageError, match=told):
        read_points(message)


def test_an_empty_cloud_is_no_error():
    assert read_points(changed(width=0, data=b"")).shape == (0, 3)

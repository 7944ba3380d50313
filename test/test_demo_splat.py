"""The point cloud renderer against pixels worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dps_perception.evaluation.splat import BACKGROUND, View, oblique_view, render_points

# Looks along +z from one metre behind the origin; the picture's middle is pixel (5, 10) of 11 rows and 21 columns.
VIEW = View(eye=(0, 0, -1), target=(0, 0, 0), focal_px=20, size_hw=(11, 21))
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def draw(points: list[tuple[float, float, float]], colors: list[tuple[int, int, int]], **options: float):  # type: ignore[no-untyped-def]
    return render_points(np.array(points, np.float32), np.array(colors, np.uint8), VIEW, **options)


def test_a_point_lands_on_its_pixel() -> None:
    # (0.2, 0.1, 1) is 2 m away: 20 * 0.2 / 2 = 2 columns right, 20 * 0.1 / 2 = 1 row down (y points down).
    picture, distance = draw([(0.2, 0.1, 1.0)], [RED])
    assert tuple(picture[6, 12]) == RED
    assert distance[6, 12] == 2.0
    assert np.count_nonzero(np.isfinite(distance)) == 1
    assert tuple(picture[0, 0]) == BACKGROUND


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_nearer_point_wins_whatever_the_order(order: tuple[int, ...]) -> None:
    points = [(0, 0, 3.0), (0, 0, 1.0), (0, 0, 2.0)]
    colors = [RED, GREEN, BLUE]
    picture, distance = draw([points[i] for i in order], [colors[i] for i in order])
    assert tuple(picture[5, 10]) == GREEN
    assert distance[5, 10] == 2.0


def test_a_big_near_square_covers_a_far_point_and_not_the_reverse() -> None:
    # Half an edge of 0.1 m at 2 m distance is one pixel: three by three. The far point beside it stays one pixel.
    picture, distance = draw([(0, 0, 1.0), (0.15, 0, 2.0)], [RED, BLUE], radius_m=0.1, max_radius_px=1)
    assert (picture[4:7, 9:12] == RED).all()
    assert distance[5, 11] == 2.0  # the far square reaches here too, behind the near one
    assert tuple(picture[5, 12]) == BLUE


def test_what_is_behind_or_not_a_number_is_left_out() -> None:
    _, distance = draw([(0, 0, -2.0), (np.nan, 0, 1), (0, np.inf, 1)], [RED] * 3)
    assert not np.isfinite(distance).any()


def test_turned_view() -> None:
    # From the right, looking along -x: what is farther along z appears on the right, what is up (-y) above.
    view = View(eye=(10, 0, 0), target=(0, 0, 0), focal_px=20, size_hw=(11, 21))
    picture, _ = render_points(np.array([(0, 0, 2.0), (0, -1.0, 0)]), np.array([RED, GREEN], np.uint8), view)
    assert tuple(picture[5, 14]) == RED
    assert tuple(picture[3, 10]) == GREEN


@pytest.mark.parametrize("distance_m", [3.0, 30.0])
def test_oblique_view_fits_the_cloud_into_the_picture(distance_m: float) -> None:
    points = np.random.default_rng(0).normal((0, 0, distance_m), distance_m / 5, (2000, 3))
    view = oblique_view(points, (120, 200))
    assert view.eye[0] < 0  # to the left
    assert view.eye[1] < 0  # above
    _, distance = render_points(points, np.zeros((2000, 3), np.uint8), view)
    rows, columns = np.nonzero(np.isfinite(distance))
    assert len(rows) > 1000  # hardly any point is hidden or outside
    assert rows.max() - rows.min() > 100
    assert abs(rows.mean() - 60) < 10
    assert abs(columns.mean() - 100) < 10

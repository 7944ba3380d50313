"""Coloured depth and tinted images against plain NumPy."""

import numpy as np
import pytest

from dps_perception.kernels.pictures import fill_depth_colors, fill_tint


def test_depth_gets_the_colour_that_begins_at_or_before_it():
    starts = (2.0 * 40.0 ** (np.arange(1, 254) / 254)).astype(np.float32)
    table = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    depth = np.random.default_rng(1).uniform(0, 100, (37, 211)).astype(np.float32)
    depth[0, :10] = [
        np.nan,
        np.inf,
        -np.inf,
        0,
        -1,
        1e-30,
        3e38,
        2.0,
        starts[5],
        np.nextafter(starts[5], np.float32(0)),
    ]
    depth[1, : len(starts[:200])] = starts[:200]
    level = np.searchsorted(starts, depth, side="right")
    level[depth == np.inf], level[~(depth > 0)] = 254, 255
    picture = np.zeros((*depth.shape, 3), np.uint8)
    fill_depth_colors(picture, depth, starts, table)
    np.testing.assert_array_equal(picture, table[level])


@pytest.mark.parametrize("reach", [1, 2])
def test_tint_blends_and_marks_the_borders_of_some_classes(reach):
    random = np.random.default_rng(2)
    rgb = random.integers(0, 256, (20, 31, 3), np.uint8)
    panoptic = np.repeat(np.repeat(random.choice([5, 256 + 1, 256 + 2, 65535], (4, 7)), 5, 0), 5, 1)[:, :31]
    panoptic = panoptic.astype(np.uint16)
    colors = random.integers(0, 256, (256, 3), np.uint8)
    bordered = np.zeros(256, bool)
    bordered[1] = True
    expected = rgb * np.float32(0.4) + colors[panoptic >> 8] * np.float32(0.6)
    padded = np.pad(panoptic, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    border = (windows != panoptic[..., None, None]).any((2, 3)) & bordered[panoptic >> 8]
    assert border.any()
    assert not border.all()
    picture = np.empty_like(rgb)
    fill_tint(picture, rgb, panoptic, colors, bordered, 0.6, reach)
    assert (picture[border] == 255).all()
    assert np.abs(picture[~border] - expected[~border]).max() <= 0.51

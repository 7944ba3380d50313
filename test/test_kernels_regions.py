"""Runs, areas, boxes and run-length masks of panoptic images, against NumPy pixel by pixel."""

import numpy as np
import pytest

from dps_perception.kernels.regions import regions, run_lengths

V = 65535
CAR = 13 * 256
RNG = np.random.default_rng(0)


def blocks(height, width, ids):
    small = RNG.choice(ids, (-(-height // 4), -(-width // 5)))
    image = np.kron(small, np.ones((4, 5))).astype(np.uint16)[:height, :width]
    noise = RNG.random(image.shape) < 0.05
    image[noise] = RNG.choice(ids, noise.sum())
    return image


IMAGES = {
    "blocks": lambda: blocks(61, 83, [0, 256, CAR + 1, CAR + 255, 254 * 256 + 255, V]),
    "wide": lambda: blocks(3, 1000, [0, CAR + 1, V]),
    "one row": lambda: blocks(1, 37, [7, CAR, V]),
    "one column": lambda: blocks(37, 1, [7, CAR, V]),
    "one pixel": lambda: np.array([[CAR + 3]], np.uint16),
    "one void pixel": lambda: np.array([[V]], np.uint16),
    "all void": lambda: np.full((5, 9), V, np.uint16),
    "one region": lambda: np.zeros((6, 16), np.uint16),
    "every pixel its own": lambda: np.arange(3600, dtype=np.uint16).reshape(60, 60) * 17,
    "every pixel another": lambda: np.indices((9, 33)).sum(0).astype(np.uint16) % 2 * 256,
    "a window": lambda: blocks(40, 60, [0, CAR + 1, CAR + 2, V])[3:33:2, 5:50],
    "columns first": lambda: np.asfortranarray(blocks(20, 30, [0, CAR + 1, V])),
}


@pytest.mark.parametrize("name", IMAGES)
def test_regions_are_those_of_the_image(name):
    image = IMAGES[name]()
    found = regions(image)
    assert found.ids.tolist() == [i for i in np.unique(image).tolist() if i != V]
    for k, id_ in enumerate(found.ids):
        mask = image == id_
        rows, columns = np.nonzero(mask)
        assert found.areas[k] == mask.sum()
        assert found.boxes[k].tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        runs = slice(found.first[k], found.first[k + 1])
        pixels = [np.arange(s, s + n) for s, n in zip(found.starts[runs], found.lengths[runs], strict=True)]
        assert np.concatenate(pixels).tolist() == np.flatnonzero(mask).tolist()  # row-major, each pixel once
        assert all(p[0] // image.shape[1] == p[-1] // image.shape[1] for p in pixels)


@pytest.mark.parametrize("name", IMAGES)
def test_run_lengths_decode_to_the_mask(name):
    image = IMAGES[name]()
    found = regions(image)
    all_counts = run_lengths(found)
    assert len(all_counts) == len(found)
    for id_, (top, left, bottom, right), counts in zip(found.ids, found.boxes, all_counts, strict=True):
        mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(bottom - top, right - left)
        np.testing.assert_array_equal(mask, image[top:bottom, left:right] == id_)
        assert (counts[1:] > 0).all()  # only the first, background, may be empty


def test_a_region_that_fills_its_box_is_one_run():
    assert run_lengths(regions(np.zeros((3, 4), np.uint16)))[0].tolist() == [0, 12]

"""Compiled loops over bands of rows: every row once, from several threads, after a fork, with errors seen."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dps_perception.kernels.bands import _pool, compiled, count, in_bands


@compiled
def add_one(band, begin, end, rows, bands):
    for row in range(begin, end):
        rows[row] += 1
    bands[band] += end - begin


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def ran(number):
    rows, bands = np.zeros(number, np.int64), np.zeros(count(number), np.int64)
    in_bands(add_one, number, rows, bands)
    return rows, bands


@pytest.mark.parametrize("number", [0, 1, 2, 11, 12, 13, 1000])
def test_each_row_is_visited_once(threads, number):
    rows, bands = ran(number)
    assert (rows == 1).all()
    assert bands.sum() == number
    assert len(bands) == max(1, min(number, 4 * threads))
    assert bands.max(initial=0) - bands.min(initial=number) <= 1 or number == 0


def test_several_threads_may_call_at_once(threads):
    with ThreadPoolExecutor(4) as pool:
        assert all((rows == 1).all() for rows, _ in pool.map(ran, [1000] * 50))


def test_a_forked_child_has_threads_of_its_own(threads):
    ran(100)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        rows, _ = pool.apply_async(ran, (100,)).get(timeout=60)
    assert (rows == 1).all()


def test_an_error_reaches_the_caller(threads):
    def broken(band, begin, end):
        raise ValueError(f"band {band}")

    with pytest.raises(ValueError, match="band"):
        in_bands(broken, 100)


def test_few_rows_and_many_share_their_threads(threads):
    ran(100)
    made = _pool.cache_info().misses
    for number in (1, 2, 100, 3):
        ran(number)
    assert _pool.cache_info().misses == made

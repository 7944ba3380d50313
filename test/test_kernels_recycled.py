"""Memory is handed out again when nobody holds it any more, and never before."""

import numpy as np
import torch

from dps_perception.kernels.recycled import Recycler

SHAPE = (64, 128)


def place(array):
    return array.__array_interface__["data"][0]


def test_what_is_dropped_comes_again():
    recycler = Recycler()
    array = recycler.empty(SHAPE, np.float32)
    first = place(array)
    del array
    for _ in range(5):
        again = recycler.empty(SHAPE, np.float32)
        assert place(again) == first
        del again


def test_what_is_held_does_not():
    recycler = Recycler()
    whole = recycler.empty(SHAPE, np.float32)
    view = recycler.empty(SHAPE, np.float32)[10:20, ::2].T
    tensor = torch.from_numpy(recycler.empty(SHAPE, np.float32))
    buffer = memoryview(recycler.empty(SHAPE, np.float32))
    others = [recycler.empty(SHAPE, np.float32) for _ in range(20)]
    for value, array in enumerate(others):
        array[...] = value
    whole[...], view[...], tensor[...] = -1, -2, -3
    assert all((array == value).all() for value, array in enumerate(others))
    assert (whole == -1).all()
    assert (view == -2).all()
    assert len({place(whole), place(view.base), tensor.data_ptr(), *map(place, others)}) == 23
    assert buffer.shape == SHAPE


def test_types_and_shapes_are_kept_apart():
    recycler = Recycler()
    for shape, kind in ((SHAPE, np.float32), (SHAPE, np.uint16), ((2, 3), np.float32), (SHAPE, np.float32)):
        array = recycler.empty(shape, kind)
        assert (array.shape, array.dtype) == (shape, kind)

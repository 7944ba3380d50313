"""How compiled loops are made and spread over the processor's cores.

Numba's own parallel loops are not used: its default threading layer must not be entered by two threads at once, and
its OpenMP layer ends a process that was forked after its first use. Kernels release the GIL, and get a band of rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

F = TypeVar("F", bound=Callable[..., Any])

_config: Any = numba.config
BANDS_PER_THREAD = 4
"""More bands than threads, since rows differ in work."""


def compiled(function: F) -> F:
    """Compile a loop without the GIL; kept on disk beside the module, or in the user's cache where that is read-only.

    Floating point may be reordered and contracted, so that loops vectorise, but NaN and infinity keep their meaning.
    """
    flags = {"contract", "reassoc", "nsz", "arcp"}
    before = _config.CACHE_DIR
    _config.CACHE_DIR = before or _cache_folder()
    try:
        return cast(F, numba.njit(nogil=True, cache=True, fastmath=flags, error_model="numpy")(function))
    finally:
        _config.CACHE_DIR = before


@lru_cache
def _cache_folder() -> str:
    """Named after all kernels' sources: Numba alone notices changes in a kernel's own file, not in what it calls."""
    folder = Path(__file__).parent
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))))
    made = folder / "__pycache__" / digest.hexdigest()[:16]
    return str(made) if os.access(folder, os.W_OK) else ""


def as_input(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """The array as kernels read it: contiguous and read-only, so that each is compiled for one kind of array only."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def count(rows: int) -> int:
    """How many bands `in_bands` makes of `rows`, for scratch memory."""
    return max(1, min(rows, BANDS_PER_THREAD * torch.get_num_threads()))


def in_bands(kernel: Callable[..., Any], rows: int, *args: Any) -> None:
    """Call `kernel(band, begin, end, *args)` for bands of rows that cover 0..rows, on all threads that PyTorch may use.

    Args:
        kernel: compiled; writes to its own rows, and to scratch memory at index `band` (see `count`).
        rows: 0 or more; with 0 nothing is called.
        args: of the kernel.
    """
    bands = count(rows)
    edges = [rows * band // bands for band in range(bands + 1)]
    todo = iter([(band, edges[band], edges[band + 1]) for band in range(bands) if edges[band] < edges[band + 1]])

    def work() -> None:
        for band, begin, end in todo:  # a list's iterator hands each item to one thread
            kernel(band, begin, end, *args)

    others = min(torch.get_num_threads() - 1, bands - 1)
    helpers = [_pool(os.getpid(), torch.get_num_threads() - 1).submit(work) for _ in range(others)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The helping threads of this process; a forked child inherits none and makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="dps_kernel")

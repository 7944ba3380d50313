"""Large arrays that are used again once nobody holds them: new memory costs a page fault for every 4 kB."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_KEPT = 6


class Recycler:
    """Hands out arrays like np.empty; one that was dropped, with all views of it, is handed out again.

    The last few of each type are kept, all of one shape: when another is asked for they are let go.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[NDArray[Any]]] = {}
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of any content that nobody else holds."""
        kind = np.dtype(dtype)
        with self._lock:
            kept = self._kept.setdefault(kind.str, [])
            if kept and kept[0].shape != shape:
                kept.clear()
            for index, references in enumerate(_references(kept)):
                if references == _UNHELD:
                    return kept[index]
            array = np.empty(shape, kind)
            if len(kept) < _KEPT:
                kept.append(array)
            return array


def _references(arrays: Iterable[NDArray[Any]]) -> list[int]:
    """How often each is referred to: by the list, here, and by whoever holds it or a view of it."""
    return [sys.getrefcount(array) for array in arrays]


_UNHELD = _references([np.empty(1)])[0]  # differs between versions of Python

"""Memory of a process that must not pause: pages are kept, and what stays for good is not searched for garbage."""

from __future__ import annotations

import atexit
import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to use freed memory again instead of giving it back; return False where there is no glibc.

    By default every block above 32 MB, and with several threads every big one, comes from the kernel anew and is
    filled with zeros page by page: a 33 MB cloud is serialised in 10 ms instead of 65 ms with its pages kept. The
    process holds on to its largest need in return.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _KEEP, _M_TRIM_THRESHOLD: _KEEP}
    return all([mallopt(key, value) == 1 for key, value in settings.items()])


def spare_what_is_there() -> None:
    """Take all objects there are out of garbage collection; they are still freed when nothing refers to them.

    PyTorch and ROS bring 400 000 objects that stay. A full collection, which loading another model sets off, would walk
    through all of them with every thread stopped: 0.2 s, or two frames of a camera. `search_all_again` undoes it.
    """
    gc.collect()
    gc.freeze()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # or libraries take what they miss at the end for leaks, and say so at length


def search_all_again() -> None:
    """Undo `spare_what_is_there`: a node that is gone refers to itself, and only a collection ends its DDS participant,
    which has 134 MB of shared memory.
    """
    gc.unfreeze()

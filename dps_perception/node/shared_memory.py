"""Shared memory that killed ROS processes left behind: Fast DDS frees it at an orderly end only.

Every participant has segments `/dev/shm/fastdds_<16 hex digits>` (with our profile 134 MB each), and as long as it
lives it holds an exclusive lock (flock) on `<segment>_el` beside each. The system lets go of the lock when the process
dies, so a segment whose lock can be had belongs to nobody; `fastdds shm clean` and Fast DDS itself tell it by the same.
Ports (`fastdds_port<number>`) are left alone: Fast DDS takes a dead process's port over by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import time
from pathlib import Path

FOLDER = Path("/dev/shm")
LOCK = "_el"
YOUNG_S = 10.0
"""Younger locks are left alone: Fast DDS opens the file first and locks it then, and older versions of it don't look
again whether the file is still there."""
_LOCK_NAME = re.compile(rf"fast(dds|rtps)_[0-9a-f]{{16}}{LOCK}")


def clear_dead_segments(folder: Path = FOLDER, young_s: float = YOUNG_S) -> int:
    """Remove segments of dead processes; return the bytes freed.

    What belongs to a living process, to another user, or is younger than `young_s` seconds stays.
    """
    freed = 0
    for lock in sorted(folder.glob(f"fast*{LOCK}")):
        if not _LOCK_NAME.fullmatch(lock.name):
            continue
        # OSError: locked by its owner, another user's, or removed by somebody else meanwhile
        with contextlib.suppress(OSError), lock.open("rb") as stream:
            if time.time() - lock.stat().st_mtime < young_s:
                continue  # before the lock is tried: its owner may be about to take it
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment = lock.with_name(lock.name.removesuffix(LOCK))
            if segment.exists():
                size = segment.stat().st_size
                segment.unlink()
                freed += size
            lock.unlink()
    return freed

"""Segments of dead processes are removed, everything else in /dev/shm stays."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dps_perception.node.shared_memory import FOLDER, LOCK, clear_dead_segments
from dps_perception.trials.process import segments_of

DEAD, ALIVE, YOUNG = (f"fastdds_{digit * 16}" for digit in "0a1")


def write(folder, name, size=100, age_s=60.0):
    for path, content in ((folder / name, bytes(size)), (folder / f"{name}_el", b"")):
        path.write_bytes(content)
        os.utime(path, (time.time() - age_s,) * 2)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_only_unlocked_old_segments_go(tmp_path):
    write(tmp_path, DEAD)
    write(tmp_path, ALIVE)
    write(tmp_path, YOUNG, age_s=1)
    others = {"fastdds_port7411", "fastdds_port7411_el", "sem.fastdds_port7411_mutex", "somebody_el", "fastdds_12_el"}
    for name in others:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    with (tmp_path / f"{ALIVE}_el").open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert clear_dead_segments(tmp_path) == 100
        assert names(tmp_path) == others | {ALIVE, f"{ALIVE}_el", YOUNG, f"{YOUNG}_el"}
    assert clear_dead_segments(tmp_path, young_s=0) == 200  # the owner let go
    assert names(tmp_path) == others


def test_a_lock_without_its_segment_goes_too(tmp_path):
    write(tmp_path, DEAD)
    (tmp_path / DEAD).unlink()
    assert clear_dead_segments(tmp_path) == 0
    assert not names(tmp_path)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no /dev/shm here")
def test_fast_dds_locks_as_this_expects():
    """A living participant keeps its segments, a killed one loses them; only links to that process's are cleared."""
    program = "import rclpy, sys; rclpy.init(); n = rclpy.create_node('x'); print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    files, links = [], Path(tempfile.mkdtemp(prefix="dps-test-", dir=FOLDER))
    try:
        assert process.stdout.readline() == "up\n"
        segments = segments_of(process.pid)
        assert segments
        files = [path for segment in segments for path in (segment, segment.with_name(f"{segment.name}{LOCK}"))]
        for path in files:
            (links / path.name).hardlink_to(path)  # a lock is of the file, whatever its name
        assert clear_dead_segments(links, young_s=0) == 0
        assert names(links) == {path.name for path in files}
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert all(path.exists() for path in files)
        assert clear_dead_segments(links, young_s=0) == sum(segment.stat().st_size for segment in segments)
        assert not names(links)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(links)
        for path in files:
            path.unlink(missing_ok=True)

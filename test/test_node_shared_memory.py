"""Segments of dead processes are removed, everything else in /dev/shm stays."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from dps_perception.node.shared_memory import FOLDER, clear_dead_segments

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
    """A living participant keeps its segments, a killed one loses them; only files of that process are looked at."""
    program = "import rclpy, sys; rclpy.init(); n = rclpy.create_node('x'); print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "up\n"
        links = [os.readlink(fd) for fd in os.scandir(f"/proc/{process.pid}/fd")]
        locks = [link for link in links if link.startswith(f"{FOLDER}/fast") and link.endswith("_el")]
        segments = {link.removesuffix("_el") for link in locks if "_port" not in link}
        assert segments
        clear_dead_segments(young_s=0)
        assert all(os.path.exists(segment) for segment in segments)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert all(os.path.exists(segment) for segment in segments)
        assert clear_dead_segments(young_s=0) > 0
        assert not any(os.path.exists(path) for segment in segments for path in (segment, f"{segment}_el"))
    finally:
        process.kill()
        process.communicate()

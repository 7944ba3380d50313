"""The demo's children: started with their environment, told when they fail, never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dps_perception.node import demo_processes
from dps_perception.node.demo_processes import (
    ChildError,
    Children,
    config_file,
    free_domain_id,
    ros_environment,
    uninterrupted,
)
from dps_perception.node.spin import StopSignal

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pids", __import__("os").getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a module that children can run, of this source."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(source: str) -> str:
        (tmp_path / "child_module.py").write_text(source)
        return "child_module"

    return write


def wait(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_environment_and_log(tmp_path: Path, module: Callable[[str], str]) -> None:
    name = module("import os, sys; print(os.environ['PURPOSE'], sys.argv[1:])")
    with Children(tmp_path / "log", {"PURPOSE": "demo"}) as children:
        children.start("child", name, "a", "b c")
        wait(lambda: children.finished("child"))
    assert (tmp_path / "log" / "child.log").read_text() == "demo ['a', 'b c']\n"


def test_failure_is_told_with_the_last_words(tmp_path: Path, module: Callable[[str], str]) -> None:
    name = module("print('starting'); print('error: no weights file x'); print('bye'); raise SystemExit(2)")
    with Children(tmp_path, {}) as children:
        children.start("child", name)
        wait(lambda: not children.running("child"))
        with pytest.raises(ChildError, match=r"child ended \(status 2\): error: no weights file x; see .*child\.log"):
            children.check("child")
        with pytest.raises(ChildError, match="status 2"):
            children.finished("child")


def test_nobody_survives_even_if_they_refuse(
    tmp_path: Path, module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        demo_processes, "STOP_STEPS", ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3), (signal.SIGKILL, 5))
    )
    with Children(tmp_path, {}) as children:
        children.start("child", module(STUBBORN))
        wait(lambda: "pids" in children.log("child").read_text())
        pids = [int(word) for word in children.log("child").read_text().split()[1:]]
        assert all(alive(pid) for pid in pids)
    wait(lambda: not any(alive(pid) for pid in pids))


def test_an_impatient_user_leaves_nobody_either(
    tmp_path: Path, module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while children are being stopped: leaving the block still ends them."""
    with pytest.raises(KeyboardInterrupt), Children(tmp_path, {}) as children:  # noqa: PT012
        children.start("child", module(STUBBORN))
        wait(lambda: "pids" in children.log("child").read_text())
        pids = [int(word) for word in children.log("child").read_text().split()[1:]]
        monkeypatch.setattr(demo_processes, "STOP_STEPS", ((signal.SIGINT, 60.0),))
        interrupt = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
        interrupt.start()
        try:
            children.stop("child")
        finally:
            monkeypatch.setattr(demo_processes, "STOP_STEPS", ((signal.SIGKILL, 5.0),))
    wait(lambda: not any(alive(pid) for pid in pids))


def test_a_signal_that_had_to_wait_is_handled_as_it_would_have_been() -> None:
    stop = StopSignal()
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            assert not stop.received
        assert stop.received
    finally:
        stop.restore()
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)


def test_domain_is_free() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        domain_id = free_domain_id()
        taken.bind(("", 7400 + 250 * domain_id + 10))
        assert all(free_domain_id() != domain_id for _ in range(300))


def test_environment_names_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FASTDDS", "FASTRTPS"):
        monkeypatch.delenv(f"{name}_DEFAULT_PROFILES_FILE", raising=False)
    environment = ros_environment()
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101
    assert "segment_size" in Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"]).read_text()
    assert config_file("fastdds.xml").name == "fastdds.xml"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert ros_environment()["FASTDDS_DEFAULT_PROFILES_FILE"] == "/mine.xml"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--frames", "0"], "error: --frames 0"),
        (["--images", "/nowhere"], "error: '/nowhere' does not exist"),
        (["--size", "10by10"], "error: size '10by10'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dps_perception.node.demo", "--out", tmp_path / "out", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()

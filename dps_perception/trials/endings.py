"""Faults of the process: it is killed, or told to stop at any moment."""

from __future__ import annotations

import itertools
import signal
import time
from dataclasses import dataclass
from typing import Any

from std_srvs.srv import Trigger

from ..node.shared_memory import LOCK, YOUNG_S
from .peer import NODE
from .process import catches, segments_of, session_of
from .result import Result
from .stand import START_S, Stand

END_S, AT_ONCE_S = 30.0, 0.5
SHARES = (0.0, 0.05, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
"""Moments of the start, as a share of the time it takes."""
PYTHON_SHARE = 0.1
"""Before that Python itself may still start; a signal then ends the process as the system does."""


def killed(stand: Stand, result: Result) -> None:
    """The node is killed (SIGKILL) in the middle of a stream and started again at once."""
    segments = segments_of(stand.pid)
    result.must(bool(segments), f"the node has {len(segments)} segments of shared memory")
    locks = [path.with_name(path.name + LOCK) for path in segments]
    # Younger ones are left alone: the new process would not free them.
    stand.wait(lambda: all(time.time() - lock.stat().st_mtime > YOUNG_S for lock in locks), "that its locks are old")
    left_mb = sum(path.stat().st_size for path in segments) / 1e6
    before_ns = time.time_ns()
    stamps = stand.stream(1.0, 10.0)
    stand.children.send(stand.name, signal.SIGKILL)
    stand.children.wait(stand.name, 10.0)
    began, began_ns = time.monotonic(), time.time_ns()
    stand.launch()
    while not stand.outputs_since(began_ns) and time.monotonic() - began < START_S:
        stamps += stand.stream(0.5, 10.0)
    result.must(bool(stand.outputs_since(began_ns)), "the new process takes up the stream")
    result.recovered_s = time.monotonic() - began
    stand.settle()
    after = stand.through(10)
    result.sent = len(stamps) + 10
    result.lost = len(set(stamps) - set(stand.outputs_since(before_ns))) + after
    result.must(after == 0, "afterwards every frame comes out")
    remain = [path.name for path in segments if path.exists()]
    result.must(not remain, f"the shared memory of the killed one ({left_mb:.0f} MB) is gone (left: {remain})")
    told = "of shared memory that killed ROS processes had left" in stand.log
    result.must(told, "the log of the new one says that it freed it")
    result.happened = (
        f"the new process goes on with the stream and has freed the {left_mb:.0f} MB of shared memory that the killed "
        "one had left"
    )


@dataclass(frozen=True)
class Ending:
    """How one process ended: when the signal came, its status, and what was left.

    `at_once`: it did not catch signals yet, so the system's own handling is fine too.
    """

    moment: str
    signal_name: str
    status: int | None
    seconds: float
    left: tuple[str, ...]
    traceback: bool
    at_once: bool

    @property
    def right(self) -> bool:
        """Status 0, in time, nothing left."""
        allowed = {0} | ({-signal.SIGINT, -signal.SIGTERM, 130} if self.at_once else set())
        return self.status in allowed and not self.left and (self.at_once or not self.traceback)

    def __str__(self) -> str:
        left = f", left {', '.join(self.left)}" if self.left else ""
        return (
            f"{self.signal_name} {self.moment}: status {self.status} after {self.seconds:.1f} s"
            f"{left}{', traceback' if self.traceback else ''}{', before it caught signals' if self.at_once else ''}"
        )


def end(stand: Stand, moment: str, number: int) -> Ending:
    """Send the signal now, and see how the node's process ends."""
    pid, name = stand.pid, stand.name
    held = segments_of(pid)
    at_once = not catches(pid, signal.SIGTERM)  # Python itself catches SIGINT earlier
    began = time.monotonic()
    stand.children.send(name, number)
    status = stand.children.wait(name, END_S)
    seconds = time.monotonic() - began
    left = [path.name for path in held if path.exists()] + [f"process {other}" for other in session_of(pid)]
    return Ending(moment, signal.Signals(number).name, status, seconds, tuple(left), "Traceback" in stand.log, at_once)


def signals(stand: Stand, result: Result) -> None:
    """SIGINT and SIGTERM in turns: under a stream, while a model is loaded, at many moments of the start; and twice."""
    kinds = itertools.cycle([signal.SIGTERM, signal.SIGINT])
    stand.stream(1.0, 20.0)
    endings = [end(stand, "under a 20 Hz stream", next(kinds))]
    _load(stand, result)
    endings.append(end(stand, "while a model is loaded", next(kinds)))
    _load(stand, result)
    _twice(stand, result)
    for share in SHARES:
        moment_s = share * stand.started_s
        stand.launch()
        time.sleep(moment_s)
        endings.append(ending := end(stand, f"{moment_s:.1f} s after the start", next(kinds)))
        if share > PYTHON_SHARE:
            result.must(not ending.at_once, f"{moment_s:.1f} s after the start it catches signals")
    stand.launch()
    stand.settle()
    for ending in endings:
        result.must(ending.right, str(ending))
    longest = max(ending.seconds for ending in endings)
    clean = sum(ending.status == 0 for ending in endings)
    result.happened = (
        f"{len(endings)} endings, {clean} with status 0, the others while Python itself still started; within "
        f"{longest:.1f} s, no child process, no shared memory and no traceback left; a second signal ends it at once"
    )


def _load(stand: Stand, result: Result) -> None:
    """Start a node, and let it load its model again once frames come out (somebody subscribes: the one before may)."""
    stand.launch()
    stand.settle()
    client: Any = stand.node.create_client(Trigger, f"{NODE}/reload_model")
    stand.wait(client.service_is_ready, "~/reload_model")
    answer = client.call_async(Trigger.Request())
    stand.stream(0.2, 20.0)
    result.must(not answer.done(), "a model is being loaded when the signal comes")
    stand.node.destroy_client(client)


def _twice(stand: Stand, result: Result) -> None:
    """Two signals, while a model is loaded, which the first one waits for."""
    pid, name = stand.pid, stand.name
    stand.children.send(name, signal.SIGTERM)
    stand.until(lambda: not catches(pid, signal.SIGTERM), END_S)
    result.must(stand.alive, "after the first of two signals the node ends its work in order")
    began = time.monotonic()
    stand.children.send(name, signal.SIGTERM)
    status = stand.children.wait(name, END_S)
    seconds = time.monotonic() - began
    told = f"a second SIGTERM: status {status} after {seconds:.1f} s, left {session_of(pid) or 'no process'}"
    result.must(status == -signal.SIGTERM and seconds < AT_ONCE_S and not session_of(pid), told)

"""Faults of the process: it is killed, or told to stop at any moment."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from std_srvs.srv import Trigger

from .process import segments_of, session_of
from .result import Result
from .stand import START_S, Stand

END_S = 30.0
SHARES = (0.0, 0.05, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
"""Moments of the start, as a share of the time it takes."""
FIRST_LINE_S = 0.5
"""Until about here Python itself starts; a signal then ends the process as the system does."""


def killed(stand: Stand, result: Result) -> None:
    """The node is killed (SIGKILL) in the middle of a stream and started again."""
    before_ns = time.time_ns()
    sent = len(stand.stream(1.0, 10.0))
    segments = segments_of(stand.pid)
    left_mb = sum(path.stat().st_size for path in segments) / 1e6
    stand.children.send(stand.name, signal.SIGKILL)
    stand.children.wait(stand.name, 10.0)
    began, began_ns = time.monotonic(), time.time_ns()
    while time.monotonic() - began < 10.5:  # as `clear_dead_segments` leaves younger ones alone
        sent += len(stand.stream(0.5, 10.0))
    stand.launch()
    launched = time.monotonic()
    while not stand.outputs_since(began_ns) and time.monotonic() - began < START_S:
        sent += len(stand.stream(0.5, 10.0))
    came = stand.outputs_since(began_ns)
    result.must(bool(came), "the new process takes up the stream")
    result.recovered_s = time.monotonic() - began
    start_s = time.monotonic() - launched
    stand.settle()
    result.sent = sent + 10
    result.lost = sent - len(stand.outputs_since(before_ns)) + stand.through(10)
    result.must(stand.through(10) == 0, "afterwards every frame comes out")
    remain = [path.name for path in segments if path.exists()]
    result.must(not remain, f"the shared memory of the killed one ({left_mb:.0f} MB) is gone (left: {remain})")
    result.happened = (
        f"the new process goes on with the stream, {start_s:.1f} s after its start; it freed the {left_mb:.0f} MB of "
        "shared memory that the killed one had left"
    )


@dataclass(frozen=True)
class Ending:
    """How one process ended: when the signal came, its status, and what was left."""

    moment: str
    signal_name: str
    status: int | None
    seconds: float
    left: tuple[str, ...]
    traceback: bool

    def right(self, at_once: bool) -> bool:
        """Status 0, in time, nothing left; `at_once`: the system's own handling is fine too."""
        allowed = {0} | ({-signal.SIGINT, -signal.SIGTERM, 130} if at_once else set())
        return self.status in allowed and not self.left and (at_once or not self.traceback)

    def __str__(self) -> str:
        left = f", left {', '.join(self.left)}" if self.left else ""
        return (
            f"{self.signal_name} {self.moment}: status {self.status} after {self.seconds:.1f} s"
            f"{left}{', traceback' if self.traceback else ''}"
        )


def end(stand: Stand, moment: str, number: int, again: Callable[[], None] = lambda: None) -> Ending:
    """Send the signal now, and see how the node's process ends."""
    pid, name = stand.pid, stand.name
    held = [*segments_of(pid)]
    began = time.monotonic()
    stand.children.send(name, number)
    again()
    status = stand.children.wait(name, END_S)
    seconds = time.monotonic() - began
    left = [path.name for path in held if path.exists()] + [f"process {other}" for other in session_of(pid)]
    return Ending(moment, signal.Signals(number).name, status, seconds, tuple(left), "Traceback" in stand.log)


def signals(stand: Stand, result: Result, shares: tuple[float, ...] = SHARES, running: bool = True) -> None:
    """SIGINT and SIGTERM in turns, at many moments of the start, under a stream, while a model is loaded, twice."""
    kinds = itertools.cycle([signal.SIGTERM, signal.SIGINT])
    endings: list[tuple[Ending, bool]] = []
    if running:
        stand.stream(1.0, 20.0)
        endings.append((end(stand, "under a 20 Hz stream", next(kinds)), False))
        stand.launch()
        stand.meet(START_S)
        client: Any = stand.node.create_client(Trigger, "/dps/reload_model")
        stand.wait(client.service_is_ready, "~/reload_model")
        client.call_async(Trigger.Request())
        stand.stream(0.2, 20.0)
        endings.append((end(stand, "while a model is loaded", next(kinds)), False))
        stand.node.destroy_client(client)
    else:
        endings.append((end(stand, "while it waits for frames", next(kinds)), False))
    for share in shares:
        moment_s = share * stand.started_s
        stand.launch()
        time.sleep(moment_s)
        endings.append((end(stand, f"{moment_s:.1f} s after the start", next(kinds)), moment_s < FIRST_LINE_S))
    stand.launch()
    stand.meet(START_S)
    for ending, at_once in endings:
        result.must(ending.right(at_once), str(ending))
    longest = max(ending.seconds for ending, _ in endings)
    clean = sum(ending.status == 0 for ending, _ in endings)
    result.happened = (
        f"{len(endings)} endings, {clean} with status 0, the others while Python itself still started; within "
        f"{longest:.1f} s, no child process, no shared memory and no traceback left"
    )

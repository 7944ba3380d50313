"""The one thread that owns the model, fed through a mailbox that holds only the newest frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Counts:
    """Frames since the worker was started: `received` = `done` + `dropped` + at most one waiting and one in work."""

    received: int = 0
    done: int = 0
    dropped: int = 0


class Worker(Generic[T]):
    """Runs `process(item)` for the newest submitted item, and jobs between two items, all on one thread.

    Args:
        process: handles one item; it reports its own errors.
        on_error: called with what `process` raised all the same; the worker goes on with the next item.
    """

    def __init__(self, process: Callable[[T], None], on_error: Callable[[Exception], None]) -> None:
        self._process = process
        self._on_error = on_error
        self._changed = Condition()
        self._mailbox: list[T] = []
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._counts = Counts()
        self._busy = False
        self._closing = False
        self._thread = Thread(target=self._run, name="dps_worker", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        with self._changed:
            return self._counts

    def submit(self, item: T) -> None:
        """Leave an item; one that still waits there is dropped, because it is older."""
        with self._changed:
            self._count(received=1, dropped=len(self._mailbox))
            self._mailbox = [item]
            self._changed.notify_all()

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run `job` on the worker's thread, after the item in work and before the one that waits."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the worker is closed")
            self._jobs.append((job, future))
            self._changed.notify_all()
        return future

    def drain(self, timeout_s: float | None = None) -> bool:
        """Drop the item that waits, wait for the one in work, count from zero again; False if it took too long."""
        with self._changed:
            self._mailbox = []
            idle = self._changed.wait_for(lambda: not self._busy, timeout_s)
            self._counts = Counts()
            return idle

    def close(self, timeout_s: float | None = None) -> None:
        """Drop what waits, finish what is in work, end the thread."""
        with self._changed:
            self._mailbox = []
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _count(self, received: int = 0, done: int = 0, dropped: int = 0) -> None:
        now = self._counts
        self._counts = Counts(now.received + received, now.done + done, now.dropped + dropped)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._mailbox or self._closing)
                job = self._jobs.popleft() if self._jobs else None
                if job is None and not self._mailbox:
                    return
                item = self._mailbox.pop() if job is None else None
                self._busy = True
            if job is not None:
                self._run_job(*job)
            else:
                self._run_item(item)  # type: ignore[arg-type]
            item = job = None  # an idle worker must not keep an image alive
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _run_job(self, job: Callable[[], Any], future: Future[Any]) -> None:
        try:
            future.set_result(job())
        except Exception as error:  # the caller gets it through the future
            future.set_exception(error)

    def _run_item(self, item: T) -> None:
        try:
            self._process(item)
        except Exception as error:  # a bad frame must not end the stream
            self._on_error(error)
            return
        with self._changed:
            self._count(done=1)

"""A chain of stages, each on a thread of its own, with places between them that hold only the newest frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Counts:
    """Frames since the worker was started: `received` = `done` + `dropped` + failed + those on their way.

    On their way are at most one in work and one waiting for each stage.
    """

    received: int = 0
    done: int = 0
    dropped: int = 0


class Worker(Generic[T]):
    """Takes the newest submitted item through all stages, and runs jobs between two items of one stage.

    Before each stage is a place for one item. What comes while one still waits there takes its place, and the older
    is dropped and counted, so that nothing queues, and items end in the order in which they came.

    Args:
        stages: name -> function of one item; the first gets what was submitted, the others what the one before
            returned. They report their own errors.
        on_error: called with what a stage raised all the same, on its thread; that item is given up.
        owner: name of the stage on whose thread jobs run; None takes the first.
        alone: how many stages after the first must be idle, with nothing waiting for them, before the first takes
            the next item: 0 all stages overlap, `len(stages) - 1` none do. Asked before each item.
    """

    def __init__(
        self,
        stages: Mapping[str, Callable[[Any], Any]],
        on_error: Callable[[Exception], None],
        owner: str | None = None,
        alone: Callable[[], int] = lambda: 0,
    ) -> None:
        self._stages = list(stages.values())
        self._on_error = on_error
        self._owner = 0 if owner is None else list(stages).index(owner)
        self._alone = alone
        self._changed = Condition()
        self._places: list[list[Any]] = [[] for _ in self._stages]
        self._busy = [False] * len(self._stages)
        self._ended = 0
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._counts = Counts()
        self._closing = False
        self._threads = [
            Thread(target=self._run, args=(index,), name=f"dps_{name}", daemon=True)
            for index, name in enumerate(stages)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def counts(self) -> Counts:
        with self._changed:
            return self._counts

    def submit(self, item: T) -> None:
        """Leave an item for the first stage."""
        with self._changed:
            self._count(received=1)
            self._put(0, item)

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run `job` on the owner's thread, after the item in work there and before the one that waits for it."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the worker is closed")
            self._jobs.append((job, future))
            self._changed.notify_all()
        return future

    def drain(self, timeout_s: float | None = None) -> bool:
        """Drop the item that waits for the first stage, wait for what is on its way, count from zero again.

        Returns:
            False where it took too long.
        """
        with self._changed:
            self._places[0] = []
            idle = self._changed.wait_for(lambda: self._idle(0, len(self._stages)), timeout_s)
            self._counts = Counts()
            return idle

    def close(self, timeout_s: float | None = None) -> None:
        """Drop the item that waits for the first stage, finish what is on its way, end the threads."""
        with self._changed:
            self._places[0] = []
            self._closing = True
            self._changed.notify_all()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _count(self, received: int = 0, done: int = 0, dropped: int = 0) -> None:
        now = self._counts
        self._counts = Counts(now.received + received, now.done + done, now.dropped + dropped)

    def _put(self, index: int, item: Any) -> None:
        if index > 0:  # an idle stage that has not woken up yet is about to take what waits there
            self._changed.wait_for(lambda: self._busy[index] or not self._places[index])
        self._count(dropped=len(self._places[index]))
        self._places[index] = [item]
        self._changed.notify_all()

    def _idle(self, begin: int, end: int) -> bool:
        return not any(self._busy[begin:end]) and not any(self._places[begin:end])

    def _ready(self, index: int) -> bool:
        """True where the stage may take its item: the first only where as many as must be alone are."""
        return bool(self._places[index]) and (index > 0 or self._idle(1, 1 + self._alone()))

    def _run(self, index: int) -> None:
        jobs = self._jobs if index == self._owner else ()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: jobs or self._ready(index) or self._over(index))
                job = self._jobs.popleft() if jobs else None
                if job is None and not self._places[index]:
                    self._ended = index + 1
                    self._changed.notify_all()
                    return
                item = self._places[index].pop() if job is None else None
                self._busy[index] = True
            if job is not None:
                self._run_job(*job)
            else:
                self._run_item(index, item)
            item = job = None  # an idle stage must not keep an image alive
            with self._changed:
                self._busy[index] = False
                self._changed.notify_all()

    def _over(self, index: int) -> bool:
        """True where nothing can come any more: the stages before have ended."""
        return self._closing and self._ended >= index and not self._places[index]

    def _run_job(self, job: Callable[[], Any], future: Future[Any]) -> None:
        try:
            future.set_result(job())
        except Exception as error:  # the caller gets it through the future
            future.set_exception(error)

    def _run_item(self, index: int, item: Any) -> None:
        try:
            result = self._stages[index](item)
        except Exception as error:  # a bad frame must not end the stream
            self._on_error(error)
            return
        with self._changed:
            if index + 1 < len(self._stages):
                self._put(index + 1, result)
            else:
                self._count(done=1)

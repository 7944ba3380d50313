"""A chain of stages, each on a thread of its own; places between them hold only the newest frame of each source."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Counts:
    """Frames since the worker was started: `received` = `done` + `dropped` + failed + those on their way.

    On their way are at most one in work and one waiting for each stage and source.
    """

    received: int = 0
    done: int = 0
    dropped: int = 0


class Worker(Generic[T]):
    """Takes the newest submitted item of each source through all stages, and runs jobs between two items of one stage.

    Before each stage is a place for one item of each source. What comes while one of its source still waits there takes
    its place, and the older is dropped and counted, so that nothing queues, and items of a source end in the order in
    which they came. A stage takes the item whose source has waited longest for its turn there: a source that sends more
    than its share loses its own frames, never another's.

    Args:
        stages: name -> function of one item; the first gets what was submitted, the others what the one before
            returned. They report their own errors.
        on_error: called with (exception, source) of what a stage raised all the same, on its thread; that item is
            given up.
        owner: name of the stage on whose thread jobs run; None takes the first.
        alone: how many stages after the first must be idle, with nothing waiting for them, before the first takes
            the next item: 0 all stages overlap, `len(stages) - 1` none do. Asked before each item.
        batched: name of a stage, not the last, whose function takes a list of items, of different sources, and returns
            as many results; when it raises, each is tried alone.
        together: how many items of different sources a stage may take at once.
    """

    def __init__(
        self,
        stages: Mapping[str, Callable[[Any], Any]],
        on_error: Callable[[Exception, str], None],
        owner: str | None = None,
        alone: Callable[[], int] = lambda: 0,
        batched: str | None = None,
        together: Callable[[], int] = lambda: 1,
    ) -> None:
        self._stages = list(stages.values())
        self._on_error = on_error
        self._owner = 0 if owner is None else list(stages).index(owner)
        self._batched = None if batched is None else list(stages).index(batched)
        self._alone, self._together = alone, together
        self._changed = Condition()
        self._places: list[dict[str, Any]] = [{} for _ in self._stages]
        self._busy: list[frozenset[str] | None] = [None] * len(self._stages)
        self._turns: list[dict[str, int]] = [{} for _ in self._stages]
        self._ended = 0
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._counts: dict[str, Counts] = {}
        self._closing = False
        self._threads = [
            Thread(target=self._run, args=(index,), name=f"dps_{name}", daemon=True)
            for index, name in enumerate(stages)
        ]
        for thread in self._threads:
            thread.start()

    def counts(self, source: str = "") -> Counts:
        """Of one source."""
        with self._changed:
            return self._counts.get(source, Counts())

    def submit(self, item: T, source: str = "") -> None:
        """Leave an item for the first stage."""
        with self._changed:
            self._count(source, received=1)
            self._put(0, source, item)

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run `job` on the owner's thread, after the item in work there and before the one that waits for it."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the worker is closed")
            self._jobs.append((job, future))
            self._changed.notify_all()
        return future

    def drain(self, timeout_s: float | None = None, source: str | None = None) -> bool:
        """Drop what waits for the first stage, wait for what is on its way, count from zero again.

        Args:
            timeout_s: at most so long.
            source: only what comes from there; None: all.

        Returns:
            False where it took too long.
        """
        with self._changed:
            self._forget_waiting(source)
            idle = self._changed.wait_for(lambda: self._idle(0, len(self._stages), source), timeout_s)
            for name in list(self._counts) if source is None else [source]:
                self._counts.pop(name, None)
            return idle

    def close(self, timeout_s: float | None = None) -> None:
        """Drop what waits for the first stage, finish what is on its way, end the threads."""
        with self._changed:
            self._forget_waiting()
            self._closing = True
            self._changed.notify_all()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _forget_waiting(self, source: str | None = None) -> None:
        if source is None:
            self._places[0].clear()
        else:
            self._places[0].pop(source, None)

    def _count(self, source: str, received: int = 0, done: int = 0, dropped: int = 0) -> None:
        now = self._counts.get(source, Counts())
        self._counts[source] = Counts(now.received + received, now.done + done, now.dropped + dropped)

    def _put(self, index: int, source: str, item: Any) -> None:
        place = self._places[index]
        if index > 0:  # an idle stage that has not woken up yet is about to take what waits there
            self._changed.wait_for(lambda: self._busy[index] is not None or source not in place)
        self._count(source, dropped=int(source in place))
        place[source] = item
        self._changed.notify_all()

    def _idle(self, begin: int, end: int, source: str | None = None) -> bool:
        """True where these stages neither work on anything (of that source) nor have it waiting."""
        if source is None:
            return not any(self._places[begin:end]) and self._busy[begin:end] == [None] * (end - begin)
        there = (*self._places[begin:end], *(busy or () for busy in self._busy[begin:end]))
        return not any(source in sources for sources in there)

    def _ready(self, index: int) -> bool:
        """True where the stage may take an item: the first only where as many as must be alone are."""
        return bool(self._places[index]) and (index > 0 or self._idle(1, 1 + self._alone()))

    def _take(self, index: int) -> list[tuple[str, Any]]:
        """What the stage works on next: those whose turn was longest ago."""
        place, turns = self._places[index], self._turns[index]
        chosen = sorted(place, key=lambda source: turns.get(source, 0))[: max(1, self._together())]
        now = max(turns.values(), default=0) + 1
        turns.update(dict.fromkeys(chosen, now))
        return [(source, place.pop(source)) for source in chosen]

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
                taken = self._take(index) if job is None else []
                self._busy[index] = frozenset(source for source, _ in taken)
            if job is not None:
                self._run_job(*job)
            else:
                self._run_items(index, taken)
            job, taken = None, []  # an idle stage must not keep an image alive
            with self._changed:
                self._busy[index] = None
                self._changed.notify_all()

    def _over(self, index: int) -> bool:
        """True where nothing can come any more: the stages before have ended."""
        return self._closing and self._ended >= index and not self._places[index]

    def _run_job(self, job: Callable[[], Any], future: Future[Any]) -> None:
        try:
            future.set_result(job())
        except Exception as error:  # the caller gets it through the future
            future.set_exception(error)

    def _run_items(self, index: int, taken: Sequence[tuple[str, Any]]) -> None:
        """Hand on the results of all items at once, so that the next stage can take them together."""
        if index == self._batched:
            made = self._run_batch(index, taken)
        else:
            made = [result for source, item in taken for result in self._run_item(index, source, item)]
        with self._changed:
            for source, result in made:
                if index + 1 < len(self._stages):
                    self._put(index + 1, source, result)

    def _run_item(self, index: int, source: str, item: Any) -> list[tuple[str, Any]]:
        try:
            result = self._stages[index](item)
        except Exception as error:  # a bad frame must not end the stream
            self._on_error(error, source)
            return []
        if index + 1 == len(self._stages):
            with self._changed:
                self._count(source, done=1)
        return [(source, result)]

    def _run_batch(self, index: int, taken: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        sources = [source for source, _ in taken]
        try:
            return list(zip(sources, self._stages[index]([item for _, item in taken]), strict=True))
        except Exception as error:
            if len(taken) > 1:  # one of them must not cost the others
                return [result for pair in taken for result in self._run_batch(index, [pair])]
            self._on_error(error, sources[0])
            return []

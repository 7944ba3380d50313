"""Changing the model while the node runs: built and warmed up beside the running one, swapped between two frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread

from ..errors import BackendError, ConfigError
from ..inference.backends.base import Progress
from ..inference.backends.model_file import peek
from ..inference.backends.registry import AUTO, check
from ..inference.fastest import choices
from ..inference.predictor import Predictor
from .diagnostics import ModelHealth
from .parameters import SWITCH, Parameters, specs
from .weights_folder import check_folder

Build = Callable[[Parameters, Progress], Predictor]
Swap = Callable[[Predictor, Parameters], Predictor]
SWITCHED = tuple(name for name, (_, spec) in specs().items() if spec.when == SWITCH)
SUPERSEDED = "a newer change came first"
GONE = "the node was cleaned up meanwhile"


def wish(parameters: Parameters) -> tuple[object, ...]:
    """The values that decide which model runs and how; a change of these is a switch."""
    return tuple(getattr(parameters, name) for name in SWITCHED)


def named(parameters: Parameters) -> str:
    """Backend and what is not left open, for messages: "openvino bf16"."""
    rest = [value for value in (parameters.precision, parameters.backend_mode) if value not in ("", AUTO)]
    return " ".join([parameters.backend, *rest])


def validate(parameters: Parameters) -> None:
    """Refuse at once what can't work; nothing is loaded for it.

    Raises:
        DpsError: an unknown or unavailable backend, device, precision or mode, or no such file; names what is valid.
    """
    check_folder(parameters.weights, parameters.weights_folder)
    file = peek(parameters.weights)
    if parameters.backend == AUTO:
        if parameters.backend_mode:
            raise ConfigError(f"backend_mode='{parameters.backend_mode}' needs a named backend, not auto")
        if not choices(file, parameters.device, parameters.precision):
            raise ConfigError(
                f"no backend here runs {file.path.name} in precision '{parameters.precision}' on device "
                f"'{parameters.device}'; use precision auto"
            )
        return
    check(parameters.backend, file, parameters.device, parameters.precision, parameters.backend_mode)


@dataclass(frozen=True)
class Outcome:
    """How a switch ended: `failure` is empty where the model of `parameters` runs now; it took `seconds`."""

    parameters: Parameters
    failure: str
    seconds: float


class Switcher:
    """Builds what was asked for last on a thread of its own, and hands it over.

    Args:
        build: loads and warms up.
        swap: makes a predictor the one that runs, between two frames, and returns the one it replaced; raises
            BackendError where nothing runs any more.
        ended: told of each outcome, on the switcher's thread.
        progress: told what slow builds do.
        health: keeps what is being built, and why the last switch failed.
    """

    def __init__(
        self, build: Build, swap: Swap, ended: Callable[[Outcome], None], progress: Progress, health: ModelHealth
    ) -> None:
        self._build, self._swap, self._ended, self._progress = build, swap, ended, progress
        self._health = health
        self._lock = Lock()
        self._asked: tuple[Parameters, Future[Outcome]] | None = None
        self._thread: Thread | None = None
        self._closing = False
        self._lives = 0

    def ask(self, parameters: Parameters) -> Future[Outcome]:
        """Switch to these; what was asked for before and has not been swapped in yet is given up."""
        future: Future[Outcome] = Future()
        with self._lock:
            older, self._asked = self._asked, (parameters, future)
            self._health.switching_to = named(parameters)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="dps_switch", daemon=True)
                self._thread.start()
        if older is not None:
            older[1].set_result(Outcome(older[0], SUPERSEDED, 0.0))
        return future

    def give_up(self) -> None:
        """What runs is gone: nothing that was asked for meanwhile may replace what runs next."""
        with self._lock:
            older, self._asked = self._asked, None
            self._lives += 1
            self._health.switching_to = ""
        if older is not None:
            older[1].set_result(Outcome(older[0], GONE, 0.0))

    def close(self, timeout_s: float) -> bool:
        """Wait until what is being built is ready or next reports its progress; False where it takes longer.

        A process must not end in the middle of it: Python unwinds a thread inside a runtime, and C++ aborts then.
        """
        self._closing = True
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._asked is None:
                    self._thread = None
                    return
                (parameters, future), self._asked = self._asked, None
                life = self._lives
            began = time.monotonic()
            failure = self._switch(parameters, life)
            outcome = Outcome(parameters, failure, time.monotonic() - began)
            with self._lock:  # before anybody hears of the outcome
                if self._asked is None:
                    self._health.switching_to = ""
            if failure not in (SUPERSEDED, GONE):
                self._health.switch_error = f"{named(parameters)}: {failure}" if failure else ""
                self._ended(outcome)
            future.set_result(outcome)

    def _report(self, text: str) -> None:
        if self._closing:
            raise BackendError("the node ends")
        self._progress(text)

    def _switch(self, parameters: Parameters, life: int) -> str:
        try:
            new = self._build(parameters, self._report)
        except Exception as error:  # whatever it is, the old model goes on
            return str(error) or type(error).__name__
        if self._asked is not None or life != self._lives:
            new.close()
            return SUPERSEDED if life == self._lives else GONE
        try:
            old = self._swap(new, parameters)
        except BackendError as error:
            new.close()
            return str(error)
        old.close()
        return ""

"""Child processes of the demo: their environment, their logs, and that none of them survives it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from ..errors import DpsError

STOP_STEPS = ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
"""Signals to end a child with, and how many seconds to wait after each."""

_ROOM_FOR_IMAGES = str(256 * 2**20)


class ChildError(DpsError):
    """A child process ended when it should not have, or could not be started."""


def config_file(name: str) -> Path:
    """A file of the folder `config`, such as the Fast DDS profile for large messages: installed, or in the repository.

    Raises:
        ChildError: it is nowhere.
    """
    places = [Path(__file__).resolve().parents[2], Path(sys.prefix) / "share" / "dps_perception"]
    with contextlib.suppress(PackageNotFoundError, LookupError):  # LookupError: no ament index at all
        places.append(Path(get_package_share_directory("dps_perception")))
    for place in places:
        if (place / "config" / name).exists():
            return place / "config" / name
    raise ChildError(f"config/{name} is not in {', '.join(map(str, places))}; install the package again")


def free_domain_id() -> int:
    """A ROS domain (1..101) that no process of this machine uses: its discovery port can be bound."""
    candidates = list(range(1, 102))
    random.shuffle(candidates)
    for domain_id in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # DDS: port 7400 + 250 * domain is shared by all for multicast, + 10 belongs to its first participant.
                probe.bind(("", 7400 + 250 * domain_id + 10))
            except OSError:
                continue
        return domain_id
    raise ChildError("every ROS domain from 1 to 101 is in use on this machine; end some ROS programs first")


def ros_environment() -> dict[str, str]:
    """Environment variables for all processes of the demo: a domain of their own, and images that get through."""
    alone = {"ROS_DOMAIN_ID": str(free_domain_id()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return alone | large_message_environment()


def large_message_environment() -> dict[str, str]:
    """Environment variables with which images get through to other processes; a profile that is set stays."""
    set_already = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE")
    variables = {
        "FASTDDS_DEFAULT_PROFILES_FILE": set_already or str(config_file("fastdds.xml")),
        "PYTHONUNBUFFERED": "1",
        # glibc gives big buffers back to the system after each message, and page faults them in again.
        "MALLOC_MMAP_THRESHOLD_": _ROOM_FOR_IMAGES,
        "MALLOC_TRIM_THRESHOLD_": _ROOM_FOR_IMAGES,
    }
    if os.environ.get("ROS_DISTRO") in ("humble", "jazzy"):
        variables["FASTRTPS_DEFAULT_PROFILES_FILE"] = variables["FASTDDS_DEFAULT_PROFILES_FILE"]
    return variables


class Children:
    """Child processes by name, each with a log file; leaving the `with` block ends all of them.

    Args:
        log_folder: where `<name>.log` goes.
        environment: variables in addition to ours.
    """

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        # The old name of the profile variable only brings a warning from newer versions.
        inherited = {k: v for k, v in os.environ.items() if k != "FASTRTPS_DEFAULT_PROFILES_FILE"}
        self._environment = {**inherited, **environment}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Children:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self.stop(*self._processes)

    def start(self, name: str, module: str, *arguments: str, show: bool = False, show_errors: bool = False) -> None:
        """Run `python -m module arguments...` in a process group of its own, so that Ctrl-C reaches only us.

        Its output goes to its log, or where ours goes if `show`; with `show_errors` only stdout goes to its log.
        """
        self._start(name, [sys.executable, "-m", module, *arguments], show, show or show_errors)

    def start_program(self, name: str, *words: str) -> None:
        """Run another program than ours in the same way."""
        self._start(name, list(words), False, False)

    def _start(self, name: str, words: list[str], show: bool, show_errors: bool) -> None:
        # An interrupt while the process is being made would lose it.
        with self.log(name).open("wb") as log, uninterrupted():
            self._processes[name] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=None if show else log,
                stderr=None if show_errors else subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Where the output of a child goes."""
        return self._log_folder / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The last line of a child's log that says what went wrong, else its last line."""
        lines = [line.strip() for line in self.log(name).read_text(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
        return (telling or lines or ["it said nothing"])[-1]

    def started(self, name: str) -> bool:
        """Whether there is such a child, ended or not."""
        return name in self._processes

    def running(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def send(self, name: str, number: int) -> None:
        """Send a signal to a child alone, not to what it started."""
        self._processes[name].send_signal(number)

    def wait(self, name: str, timeout_s: float) -> int | None:
        """Status of a child that ends within this time, negative where a signal ended it; None where it goes on."""
        try:
            return self._processes[name].wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def cpu_s(self, name: str) -> float:
        """User and system time that a child has used [s]."""
        fields = Path(f"/proc/{self._processes[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check(self, *names: str) -> None:
        """Raise ChildError if one of these has ended."""
        for name in names:
            status = self._processes[name].poll()
            if status is not None:
                raise ChildError(f"{name} ended (status {status}): {self.last_words(name)}; see {self.log(name)}")

    def finished(self, name: str) -> bool:
        """Whether a child has ended well.

        Raises:
            ChildError: it ended badly.
        """
        status = self._processes[name].poll()
        if status:
            self.check(name)
        return status == 0

    def stop(self, *names: str, patience_s: float = 0.0) -> int:
        """End children and whatever they started: SIGINT, after a while SIGTERM, and then SIGKILL.

        `patience_s` is for children that have much to write after SIGINT. Returns the first status that is not 0, of
        those that there are.
        """
        processes = [self._processes[name] for name in names]
        for number, usual_s in STOP_STEPS:
            for process in processes:
                if process.poll() is None:
                    self._signal(process.pid, number)
            end = time.monotonic() + (max(usual_s, patience_s) if number == signal.SIGINT else usual_s)
            while any(process.poll() is None for process in processes) and time.monotonic() < end:
                time.sleep(0.02)
        for process in processes:
            self._signal(process.pid, signal.SIGKILL)  # what it left running
        for name in names:  # not sooner: who interrupts us has them stopped when the block is left
            del self._processes[name]
        return next((process.returncode for process in processes if process.returncode), 0)

    @staticmethod
    def _signal(group: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # nobody of it is left
            os.killpg(group, number)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block has ended; then the first one is handled as it would have been.

    A process that we start keeps its own handling.
    """
    waiting: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _: waiting.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        signal.raise_signal(waiting[0])


def stop_requests_as_interrupts() -> None:
    """Let SIGTERM end the demo as Ctrl-C does, with all clean-up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)

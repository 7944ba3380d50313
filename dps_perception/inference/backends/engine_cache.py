"""Where exported ONNX files and engines are kept, and how they get there: built by another process, then renamed."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import BackendError, ConfigError, ModelLoadError
from .base import Progress

FOLDER_VARIABLE = "DPS_PERCEPTION_CACHE"
REPORT_EVERY_S = 10.0
_SAFE = str.maketrans("/ ", "--")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """What a built file depends on: `runtime` and `version` of its builder, `gpu` is "" where none matters."""

    weights_sha256: str
    size: tuple[int, int]
    precision: str
    runtime: str
    version: str
    gpu: str = ""

    def file_name(self, suffix: str) -> str:
        """A name that differs where anything differs."""
        parts = [self.weights_sha256[:16], f"{self.size[0]}x{self.size[1]}", self.precision, self.runtime, self.version]
        return "_".join(part for part in (*parts, self.gpu) if part).translate(_SAFE) + suffix

    def as_metadata(self) -> dict[str, object]:
        """As it is written into the file, ready for JSON."""
        return {**asdict(self), "size": list(self.size)}


def cache_folder(folder: Path | str | None = None) -> Path:
    """The folder for built files, made and found to be writable.

    Args:
        folder: None takes $DPS_PERCEPTION_CACHE, else dps_perception in $XDG_CACHE_HOME or ~/.cache.

    Raises:
        ConfigError: it can't be written to.
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    path = Path(given or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "dps_perception").expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ConfigError(
            f"cache folder '{path}' can't be written to ({error.strerror}); "
            f"set {FOLDER_VARIABLE} to a folder that can, or make this one writable"
        ) from error


def cached(
    path: Path, problem: Callable[[Path], str], build: Callable[[Path], None], progress: Progress | None = None
) -> Path:
    """`path`, built first where it is missing or unusable.

    Args:
        path: in the cache folder.
        problem: says what is wrong with the file there, "" where nothing is.
        build: writes the file (renaming it into place).
        progress: told what goes on; None logs it.

    Raises:
        BackendError: the build failed, or built something unusable.
    """
    say = progress or _LOG.info
    if path.exists():
        wrong = problem(path)
        if not wrong:
            return path
        say(f"{path.name} in the cache is built again: {wrong}")
    build(path)
    if wrong := problem(path):
        raise BackendError(f"{path} was just built and can't be used: {wrong}")
    return path


def problem_with(key: Key, read: Callable[[Path], dict[str, object]]) -> Callable[[Path], str]:
    """For `cached`: a file is usable if `read` can read it and it says under "key" what `key` says."""

    def problem(path: Path) -> str:
        try:
            seen, wanted = read(path).get("key"), key.as_metadata()
        except ModelLoadError as error:
            return str(error)
        if not isinstance(seen, dict):
            return "it does not say what it was made from"
        return ", ".join(f"its {k} is {seen.get(k)}, not {v}" for k, v in wanted.items() if seen.get(k) != v)

    return problem


def run_build(what: str, module: str, arguments: Sequence[str], progress: Progress | None = None) -> None:
    """Run a command of this package in another process, so that neither its work nor its memory burdens this one.

    Args:
        what: for messages.
        module: dotted name, run with `python -m`.
        arguments: its command line.
        progress: told every few seconds that it still goes on; None logs it.

    Raises:
        BackendError: it failed; with its own last words.
    """
    say, began = progress or _LOG.info, time.monotonic()
    say(f"{what} ...")
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words)
        atexit.register(process.kill)  # a build for a node that ends is for nobody
        try:
            while True:
                try:
                    status = process.wait(REPORT_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: {time.monotonic() - began:.0f} s so far")
        finally:
            process.kill()
            process.wait()
            atexit.unregister(process.kill)
        words.seek(0)
        lines = [line.strip() for line in words.read().splitlines() if line.strip()]
    if status:
        last = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
        if status < 0:
            last = f"it was ended by {signal.Signals(-status).name}{' (out of memory?)' if status == -9 else ''}"
        raise BackendError(f"{what} failed: {last.removeprefix('error: ')}")
    say(f"{what}: done in {time.monotonic() - began:.0f} s")

"""Commands of the package in processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Process = subprocess.Popen[str]


@contextlib.contextmanager
def starter(
    module: str, ending: Callable[[Process], None] = Process.kill, **environment: str
) -> Iterator[Callable[..., Process]]:
    """A function that starts `module` with its arguments; what still runs is ended afterwards."""
    running: list[Process] = []

    def run(*arguments: object) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        running.append(process)
        return process

    try:
        yield run
    finally:
        for process in running:
            ending(process)
            process.communicate()


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found

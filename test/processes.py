"""Commands of the package in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator


def starter(module: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """For fixtures: yields a function that starts `module` with its arguments; what still runs is killed afterwards."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()

"""What made a number: command, date, hardware and software."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def provenance(program: str, argv: Sequence[str] | None = None) -> dict[str, str]:
    """Command line, date (with zone), processor and software of this process, ready for a report or JSON.

    Args:
        program: name of the command.
        argv: its arguments; None takes those of this process.
    """
    return {
        "command": shlex.join([program, *(sys.argv[1:] if argv is None else argv)]),
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
        "hardware": hardware(),
        "software": f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.system()}",
    }


def hardware() -> str:
    """Processor model and the number of cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def _processor() -> str:
    """/proc/cpuinfo knows the name on Linux; x86 says "model name", many ARM boards only the architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

"""What a process holds, seen from outside: memory, threads, files, shared memory, children."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..node.shared_memory import FOLDER, LOCK


@dataclass(frozen=True)
class Held:
    """What a process holds at one moment.

    Attributes:
        resident_mb: all its memory that is in RAM, shared memory and files included [MiB].
        private_mb: the part that is its own (heap, stacks).
        threads, files: number of threads and of open file descriptors.
        shared_mb: size of its own shared-memory segments, used or not [MiB].
    """

    resident_mb: float
    private_mb: float
    threads: int
    files: int
    shared_mb: float


def held_by(pid: int) -> Held:
    """What process `pid` holds now."""
    status = Path(f"/proc/{pid}/status").read_text()

    def field(name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
        return int(found[1]) if found else 0

    return Held(
        resident_mb=field("VmRSS") / 1024,
        private_mb=field("RssAnon") / 1024,
        threads=field("Threads"),
        files=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        shared_mb=sum(path.stat().st_size for path in segments_of(pid)) / 2**20,
    )


def segments_of(pid: int) -> list[Path]:
    """Shared-memory segments that the process made: it holds their locks. Shared ports are left out."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = link.readlink()
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.parent == FOLDER and target.name.endswith(LOCK) and "_port" not in target.name:
            segment = target.with_name(target.name.removesuffix(LOCK))
            found += [segment] if segment.exists() else []
    return found


def catches(pid: int, number: int) -> bool:
    """Whether the process handles this signal itself; False where it is over."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"^SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)
    return False


def session_of(leader: int) -> list[int]:
    """Processes, zombies included, that belong to the session which process `leader` began, without itself."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == leader:
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if int(fields[3]) == leader:
            found.append(int(folder.name))
    return found

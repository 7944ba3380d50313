"""Which steps of set-up are done, and what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def digest(root: Path, paths: Iterable[Path], *more: str) -> str:
    """Hash of files, and of all files below folders, by content and by name relative to `root`."""
    state = hashlib.sha256("\0".join(more).encode())
    for path in paths:
        for file in sorted(p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()):
            if "__pycache__" not in file.parts:
                state.update(f"\0{file.relative_to(root)}\0".encode() + file.read_bytes())
    return state.hexdigest()


class Stamps:
    """A small JSON file inside the environment, so that it goes when the environment goes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> dict[str, str]:
        """Stamps of the finished steps; none where the environment is missing or was never finished."""
        try:
            return dict(json.loads(self.path.read_text()))
        except (OSError, ValueError):
            return {}

    def get(self, step: str) -> str:
        """What a step was made from, "" where it was never finished."""
        return self.all().get(step, "")

    def put(self, step: str, value: str) -> None:
        """Record a finished step."""
        beside = self.path.with_suffix(".partial")
        beside.write_text(json.dumps({**self.all(), step: value}, indent=1) + "\n")
        beside.replace(self.path)

    def clear(self) -> None:
        """Forget everything: the environment is about to change."""
        self.path.unlink(missing_ok=True)

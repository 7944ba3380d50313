"""Tables in a README, between marks, written by the command that measured them."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError
from ..files import replacing


def between_marks(path: Path, name: str) -> tuple[str, str]:
    """What stands before and after the table `name` in a file, marks included.

    Raises:
        ConfigError: the file lacks the marks.
    """
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text() if path.is_file() else ""
    before, start, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise ConfigError(f"--markdown {path}: it needs the lines {first} and {last}; the table goes in between")
    return before + start, end + after


def put(path: Path, name: str, table: str) -> None:
    """Replace what stands between the marks. Raises as `between_marks` does."""
    before, after = between_marks(path, name)
    with replacing(path) as beside:
        beside.write_text(f"{before}\n{table}\n{after}")

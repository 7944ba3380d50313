"""Bags whose recording was cut off (killed, power lost): where they are, and how they become readable again."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import DatasetError
from .bag_metadata import information, write_metadata
from .bag_writer import PARTIAL
from .mcap_recovery import recover


def unfinished(path: Path) -> list[Path]:
    """Hidden folders of bags that should have become `path`, oldest first; one may still be being written."""
    hidden = path.parent.glob(f".{path.name}.*{PARTIAL}")
    return sorted((h for h in hidden if (h / path.name).is_dir()), key=lambda h: h.stat().st_mtime_ns)


def recover_bag(path: Path) -> tuple[Path, int]:
    """Finish a recording that was cut off; (bag that can be read now, its messages).

    Args:
        path: name that the bag should have got, its folder without metadata.yaml, or a single .mcap file. A hidden
            rest goes to `path`, or beside it as `<path>_recovered` where there is something already.

    Raises:
        DatasetError: there is nothing to recover, or it can't be.
    """
    try:
        if path.is_file():
            return path, _finish_file(path)
        if path.is_dir() and not (path / "metadata.yaml").exists():
            return path, _finish_folder(path)
        rests = unfinished(path)
        if not rests:
            raise DatasetError(f"nothing to recover at '{path}': neither a bag without its end, nor a rest of one")
        messages = _finish_folder(rests[-1] / path.name)
        place = path if not path.exists() else path.with_name(f"{path.name}_recovered")
        if place.exists():
            raise DatasetError(f"'{path}' and '{place}' exist already; remove or rename one of them")
        (rests[-1] / path.name).rename(place)
        shutil.rmtree(rests[-1])
        return place, messages
    except OSError as error:
        raise DatasetError(f"'{path}' can't be recovered: {error.strerror or error}") from error


def _finish_folder(folder: Path) -> int:
    files = sorted(folder.glob("*.mcap"))
    if len(files) != 1:
        raise DatasetError(f"'{folder}' has {len(files)} .mcap files, not one; recover them one by one, then "
                           "`ros2 bag reindex`")  # fmt: skip
    return _finish_file(files[0], folder)


def _finish_file(path: Path, folder: Path | None = None) -> int:
    contents = recover(path, lambda contents: information(contents, path.name))
    if folder is not None:
        write_metadata(folder, contents, path.name)
    return sum(contents.counts().values())

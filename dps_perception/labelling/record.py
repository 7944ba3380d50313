"""`labels.json` beside the labels: what made them, and which sequence of the dataset is which source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DatasetError
from ..files import replacing

FILE = "labels.json"


class Record:
    """The record of a dataset folder; read where there is one, so that a run goes on with it and nothing else.

    Attributes:
        sources: one entry for each sequence of the dataset, in the order of their numbers.

    Args:
        folder: of the dataset.
        settings: of this run, JSON values; those of an earlier run into this folder must be the same.
        made_by: command, date, software.

    Raises:
        ConfigError: the folder was labelled with other settings, or not by dps_label.
        DatasetError: the record is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], made_by: Mapping[str, Any]) -> None:
        self.path, self.settings = folder / FILE, json.loads(json.dumps(settings))
        self.sources: list[dict[str, Any]] = []
        self._runs: list[Mapping[str, Any]] = [made_by]
        if self.path.exists():
            earlier = self._read()
            refuse_difference(earlier["settings"], self.settings, str(folder), "label into another folder")
            self.sources, self._runs = list(earlier["sources"]), [*earlier["runs"], made_by]
        elif folder.is_dir() and any(folder.rglob("*_camera.json")):
            raise ConfigError(f"'{folder}' holds samples that dps_label did not write; label into a folder of its own")

    def sequence(self, source: Mapping[str, Any]) -> int:
        """Number of the sequence that a source is: its old one, or the next.

        Args:
            source: JSON values; "source" and "name" say which it is, all others must be as they were.

        Raises:
            ConfigError: it was labelled with other options, or has changed since.
        """
        source = json.loads(json.dumps(source))
        for number, known in enumerate(self.sources):
            if (known["source"], known["name"]) == (source["source"], source["name"]):
                kept = {key: known[key] for key in known if key in source}
                title = f"{source['source']} ({source['name']})"
                refuse_difference(kept, source, title, "label into another folder")
                return number
        self.sources.append(dict(source))
        return len(self.sources) - 1

    def write(self) -> None:
        """Write the record.

        Raises:
            DatasetError: it can't be written.
        """
        content = {"settings": self.settings, "sources": self.sources, "runs": self._runs}
        try:
            with replacing(self.path) as beside:
                beside.write_text(json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise DatasetError(f"can't write {self.path}: {error.strerror or error}") from error

    def _read(self) -> Mapping[str, Any]:
        try:
            content = json.loads(self.path.read_text())
            if not all(key in content for key in ("settings", "sources", "runs")):
                raise ValueError("settings, sources or runs are missing")
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{self.path} is damaged ({error}); label into another folder") from error
        return content


def refuse_difference(earlier: Any, now: Any, what: str, cure: str) -> None:
    """Check that nothing has changed.

    Raises:
        ConfigError: names the first differences, with both values.
    """
    found = list(_differences(earlier, now, ""))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ConfigError(f"{what} was labelled with other settings: {'; '.join(found[:3])}{more}; {cure}")


def _differences(earlier: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        for key in [*earlier, *(key for key in now if key not in earlier)]:
            yield from _differences(earlier.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif earlier != now:
        yield f"{name} was {json.dumps(earlier)}, now {json.dumps(now)}"

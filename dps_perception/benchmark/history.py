"""`dps_benchmark --compare`: this run beside an older one, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..evaluation.scores import text_table
from ..inference.machine import differences

HEADER = ["", "stage", "then [ms]", "now [ms]", "now / then"]


def read(path: Path) -> dict[str, Any]:
    """A result that `--json` wrote.

    Raises:
        ConfigError: no such file, or another one.
    """
    try:
        result = json.loads(path.read_text())
        medians(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a result of dps_benchmark --json: {error!r}") from error
    return dict(result)


def medians(result: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """(subject, stage) -> median milliseconds, of timings and of the rows of backends side by side."""
    if not {"timings", "rows"} & set(result):
        raise KeyError("timings")
    found = {(row["subject"], row["stage"]): float(row["median_ms"]) for row in result.get("timings", [])}
    for row in result.get("rows", []):
        mode = row["runtime"].get("mode", "")
        subject = " ".join(filter(None, (row["weights"], row["backend"], mode, row["precision"])))
        found |= {(subject, stage): float(times["median_ms"]) for stage, times in row["times_ms"].items()}
    return found


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Ratios of the medians of what both runs measured, and what else differs between them; ready for JSON."""
    then, now = medians(old), medians(new)
    rows = [
        {"subject": key[0], "stage": key[1], "old_ms": then[key], "new_ms": now[key], "ratio": now[key] / then[key]}
        for key in now
        if key in then and then[key] > 0
    ]
    changes = [f"hardware {line}" for line in differences(old.get("hardware", {}), new.get("hardware", {}))]
    changes += [f"version of {line}" for line in differences(old.get("versions", {}), new.get("versions", {}))]
    return {"differs": changes, "rows": rows, "only_old": _only(then, now), "only_new": _only(now, then)}


def described(comparison: Mapping[str, Any]) -> str:
    """As text."""
    lines = [f"differs: {line}" for line in comparison["differs"]] or ["same hardware and versions"]
    rows, last = [], ""
    for row in comparison["rows"]:
        name = "" if row["subject"] == last else row["subject"]
        rows.append([name, row["stage"], f"{row['old_ms']:.2f}", f"{row['new_ms']:.2f}", f"{row['ratio']:.3f}"])
        last = row["subject"]
    lines.append(text_table(HEADER, rows, left=2) if rows else "nothing that both runs measured")
    for key, when in (("only_old", "then"), ("only_new", "now")):
        if comparison[key]:
            lines.append(f"measured only {when}: {'; '.join(comparison[key])}")
    return "\n".join(lines)


def _only(some: Mapping[tuple[str, str], float], others: Mapping[tuple[str, str], float]) -> list[str]:
    return sorted({subject for subject, _ in some} - {subject for subject, _ in others})

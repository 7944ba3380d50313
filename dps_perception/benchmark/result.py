"""Everything one run of `dps_benchmark` found out: as text, as markdown, and ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..evaluation.scores import markdown_table, text_table
from ..inference.machine import described
from . import dense_run, roofline, scoring
from .dense_run import FusionRatio
from .roofline import Roof
from .scale import Axis
from .scoring import Rates
from .stages import NETWORK
from .timing import TOTAL, Timing, stage_of, table, to_dicts

PEER_HEADER = ["ours", "the pair in the same runtime and precision", "networks", "image to labels and depth"]


@dataclass(frozen=True)
class Ratio:
    """How many times as long the pair takes: networks alone, and from image to labels and depth.

    Attributes:
        ours, pair: subjects.
        network: their networks over ours.
        whole: resizing, networks and post-processing over resizing, network and fusion.
    """

    ours: str
    pair: str
    network: float
    whole: float

    def cells(self) -> list[str]:
        """The row under `PEER_HEADER`."""
        return [self.ours, self.pair, f"{self.network:.1f}x", f"{self.whole:.1f}x"]


def ratio(ours: Sequence[Timing], pair: Sequence[Timing], networks: Sequence[str]) -> Ratio:
    """Of the medians; `networks` are the stages of the pair's networks."""
    network = sum(stage_of(pair, name).median_ms for name in networks)
    whole = sum(stage_of(ours, stage).median_ms for stage in ("resize", NETWORK, "fusion"))
    return Ratio(
        ours[0].subject, pair[0].subject, network / stage_of(ours, NETWORK).median_ms,
        stage_of(pair, TOTAL).median_ms / whole,
    )  # fmt: skip


@dataclass
class Result:
    """Filled section by section.

    Attributes:
        hardware, versions: of this machine; load as it was before.
        about: what was measured, in one line.
        timings: of all subjects, in order.
        ratios, fusions, roofs, scales, rates: of the sections that were asked for.
        notes: what could not be measured, and what is particular about what was.
    """

    hardware: dict[str, Any]
    versions: dict[str, str]
    about: str = ""
    timings: list[Timing] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    fusions: list[FusionRatio] = field(default_factory=list)
    roofs: list[Roof] = field(default_factory=list)
    scales: list[Axis] = field(default_factory=list)
    rates: Rates | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, line: str) -> None:
        """Say something once."""
        if line not in self.notes:
            self.notes.append(line)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "about": self.about,
            "hardware": self.hardware,
            "versions": self.versions,
            "timings": to_dicts(self.timings),
            "peers": [asdict(row) for row in self.ratios],
            "fusion": [asdict(row) for row in self.fusions],
            "roofline": [roof.under(self.roofs).to_dict() for roof in self.roofs],
            "scale": {axis.name: axis.to_dict() for axis in self.scales},
            "evaluation": None if self.rates is None else self.rates.to_dict(),
            "notes": self.notes,
        }

    def text(self) -> str:
        """For the terminal: every stage with minimum, median and 95th percentile."""
        parts = [f"{self.about}\n{described(self.hardware)}\n{described(self.versions)}"]
        if self.timings:
            parts.append(table(self.timings))
        parts += [text_table(header, rows, left=left) for header, rows, left in self._tables()]
        parts += [text_table(header, rows) for header, rows in map(_scale_rows, self.scales)]
        return "\n\n".join([*parts, *(f"note: {line}" for line in self.notes)])

    def markdown(self) -> str:
        """Tables of medians, for a README."""
        parts = [markdown_table(header, rows) for header, rows in _medians(self.timings)]
        parts += [markdown_table(header, rows) for header, rows, _ in self._tables()]
        notes = " ".join(f"{line.rstrip('.')}." for line in self.notes)
        parts.append(
            f"Medians in milliseconds; {self.about}; {described({**self.hardware, **self.versions})}. {notes}".strip()
        )
        return "\n\n".join(parts)

    def _tables(self) -> list[tuple[list[str], list[list[str]], int]]:
        tables = []
        if self.ratios:
            tables.append((PEER_HEADER, [row.cells() for row in self.ratios], 2))
        if self.fusions:
            tables.append((dense_run.HEADER, [row.cells() for row in self.fusions], 1))
        if self.roofs:
            tables.append((roofline.HEADER, [roof.under(self.roofs).cells() for roof in self.roofs], 1))
        if self.rates is not None:
            tables.append((scoring.HEADER, self.rates.rows(), 1))
        return tables


def _medians(timings: Sequence[Timing]) -> list[tuple[list[str], list[list[str]]]]:
    """A table for all subjects that have the same stages: a row for each, a column for each stage."""
    subjects: dict[str, list[Timing]] = {}
    for timing in timings:
        subjects.setdefault(timing.subject, []).append(timing)
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for subject, rows in subjects.items():
        cells = [subject, *(f"{row.median_ms:.1f}" for row in rows)]
        tables.setdefault(tuple(row.stage for row in rows), []).append(cells)
    return [(["", *stages], rows) for stages, rows in tables.items()]


def _scale_rows(axis: Axis) -> tuple[list[str], list[list[str]]]:
    found = axis.to_dict()["median_ms"]
    rows = [
        [f"{value:g}", *(f"{found[stage][i]:.1f}" for stage in found)] for i, value in enumerate(axis.values)
    ]  # fmt: skip
    return [axis.label, *found], rows

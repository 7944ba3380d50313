"""What came of one trial: what was checked, what was counted, and the tables of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HEADER = ["fault", "what happened", "frames sent", "lost by it", "back after [s]"]


@dataclass
class Result:
    """Filled while a trial goes on.

    Attributes:
        name: of the trial.
        injected: what is done to the node.
        happened: what was seen, with figures.
        sent: good frames that were sent, or None where frames have no part in it.
        lost: those of them that did not come out of the node.
        recovered_s: from the end of the fault (for a killed node: from the kill) to the next output; None: no gap.
        failures: what should have held and did not; empty where all did.
        held: what was checked and held.
        seconds: the trial took.
    """

    name: str
    injected: str
    happened: str = ""
    sent: int | None = None
    lost: int = 0
    recovered_s: float | None = None
    failures: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def must(self, held: bool, what: str) -> None:
        """Note whether `what`, an expectation in words and figures, holds."""
        (self.held if held else self.failures).append(what)

    def leave_out(self, folder: Path) -> None:
        """Name files in the trial's folder without that folder, which is another one each time."""

        def short(text: str) -> str:
            return text.replace(f"{folder}/", "").replace(str(folder), "the trial's folder")

        self.happened = short(self.happened)
        self.failures, self.held = [*map(short, self.failures)], [*map(short, self.held)]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    def cells(self) -> list[str]:
        """The row under `HEADER`."""
        back = "-" if self.recovered_s is None else f"{self.recovered_s:.1f}"
        sent, lost = ("-", "-") if self.sent is None else (str(self.sent), str(self.lost))
        happened = f"**failed**: {'; '.join(self.failures)}" if self.failures else self.happened
        return [self.injected, happened, sent, lost, back]


def rows(results: Sequence[Result]) -> list[list[str]]:
    """All rows under `HEADER`."""
    return [result.cells() for result in results]

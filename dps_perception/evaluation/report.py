"""One self-contained HTML page of sections with text, numbers, tables and pictures (embedded, so the file can be sent).

A page is data: build a `Report` of `Section`s of blocks (`Text`, `Numbers`, `Table`, `Pictures`, `Legend`, in any
order) and `write_report` it. What an evaluation shows is in `score_report`; the demo builds its own sections.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..files import replacing
from .pictures import Scale

Color = tuple[int, int, int]
_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Number:
    """One headline number: what it is, its value as written, and a small remark."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Numbers:
    """A row of headline numbers."""

    kind: ClassVar[str] = "numbers"
    items: Sequence[Number]


@dataclass(frozen=True)
class Table:
    """Text cells; the first `left` columns are flush left, the others right.

    Attributes:
        header: column names.
        rows: one text for each column.
        title: above the table.
        note: below the table.
        left: how many columns hold words.
        swatches: RGB colour before each row, or none at all.
        bars: column -> value of a full bar; such cells get a bar as long as their number.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    left: int = 1
    swatches: Sequence[Color] = ()
    bars: Mapping[int, float] = field(default_factory=dict)

    def bar_percent(self, column: int, cell: str) -> float | None:
        """Length of the bar of a cell, 0..100; None where it has none."""
        try:
            return min(100.0, max(0.0, 100 * float(cell) / self.bars[column]))
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        caption: below it.
        scale: legend of its colours.
        max_width_px: wider images are reduced before they are embedded.
        lossless: PNG instead of JPEG (drawings, plots).
    """

    image: NDArray[np.uint8]
    caption: str = ""
    scale: Scale | None = None
    max_width_px: int = 1024
    lossless: bool = False

    def data_uri(self) -> str:
        """The encoded picture as a `data:` address.

        Raises:
            ImageError: it is not an (H, W, 3) uint8 array with pixels in it.
        """
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ImageError(
                f"picture '{self.caption}' is {image.dtype} {image.shape}; a report takes (H, W, 3) uint8 RGB"
            )
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if bgr.shape[1] > self.max_width_px:
            height = max(1, round(bgr.shape[0] * self.max_width_px / bgr.shape[1]))
            bgr = cv2.resize(bgr, (self.max_width_px, height), interpolation=cv2.INTER_AREA)
        suffix, options = (".png", []) if self.lossless else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 88])
        encoded = cv2.imencode(suffix, bgr, options)[1].tobytes()
        return f"data:image/{'png' if self.lossless else 'jpeg'};base64,{base64.b64encode(encoded).decode()}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, `columns` in a row, under a title."""

    kind: ClassVar[str] = "pictures"
    items: Sequence[Picture]
    title: str = ""
    note: str = ""
    columns: int = 3


@dataclass(frozen=True)
class Legend:
    """Names and RGB colours of classes."""

    kind: ClassVar[str] = "legend"
    entries: Sequence[tuple[str, Color]]


Block = Text | Numbers | Table | Pictures | Legend


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    title: str
    blocks: Sequence[Block]
    text: str = ""


@dataclass(frozen=True)
class Report:
    """The page.

    Attributes:
        title: heading.
        subtitle: one line below it.
        sections: from top to bottom.
        provenance: what made the numbers (weights, hash, command, hardware, date), shown at the end.
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_report(path: Path | str, report: Report) -> None:
    """Write the page to `path`; the file appears complete or not at all.

    Raises:
        ImageError: a picture can't be embedded.
    """
    with replacing(path) as beside, beside.open("w", encoding="utf-8") as stream:
        stream.writelines(_render(report))


def _render(report: Report) -> Iterator[str]:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["rgb"] = lambda color: "rgb({}, {}, {})".format(*color)
    return iter(environment.get_template(_TEMPLATE).stream(report=report))

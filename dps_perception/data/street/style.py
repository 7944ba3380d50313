"""The style of a scene: which colours and shapes its things have and how many there are."""

from __future__ import annotations

from dataclasses import dataclass, field

from .palette import Palette, VariedPalette
from .randomness import stream


@dataclass(frozen=True)
class Style:
    """The defaults are the standard level.

    Attributes:
        is_varied: things have more than the standard shapes.
        palette: draws colours.
        crowd: factor on the number of pedestrians.
        gap: factor on the room between moving vehicles.
        built_up: share of roadsides that are mostly buildings; the others are mostly parks.
        tree_rows: share of pavements with a row of trees.
        umbrellas: share of people under one.
    """

    is_varied: bool = False
    palette: Palette = field(default_factory=Palette)
    crowd: float = 1.0
    gap: float = 1.0
    built_up: float = 0.75
    tree_rows: float = 0.7
    umbrellas: float = 0.0


STANDARD_STYLE = Style()


def sample_style(seed: int, is_wet: bool) -> Style:
    """Draw the style of a scene of the hard level; `is_wet`: it may be raining."""
    rng = stream(seed, "style")
    rains = is_wet and rng.random() < 0.6
    return Style(
        is_varied=True,
        palette=VariedPalette(stream(seed, "palette")),
        crowd=float(rng.choice([0.3, 1.0, 1.8], p=[0.3, 0.4, 0.3])),
        gap=float(rng.uniform(0.2, 1.2)),
        built_up=float(rng.uniform(0.2, 0.9)),
        tree_rows=float(rng.uniform(0.5, 0.95)),
        umbrellas=0.45 if rains else 0.02,
    )

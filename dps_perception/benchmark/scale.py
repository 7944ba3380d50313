"""How time grows with image size, queries and segments: tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..files import replacing
from ..inference.backends.devices import pick_device
from ..inference.comparison import Candidate
from ..models.families import preset
from ..models.weights import ModelInfo
from ..types import Sample
from . import stages
from .subjects import load, random_weights
from .synthetic import Look
from .timing import TOTAL, Effort, Timing

SIZES = ((256, 512), (384, 768), (512, 1024), (768, 1536), (1024, 2048))
QUERIES = (25, 50, 100, 200)
PRESET = "efficientdps_r18"
SEGMENTS = (5, 10, 25, 50, 100, 200)


@dataclass(frozen=True)
class Axis:
    """One thing that grows.

    Attributes:
        name: of the file.
        label: of the plot's axis, with unit.
        values: along the axis.
        timings: of each value.
    """

    name: str
    label: str
    values: list[float]
    timings: list[list[Timing]]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: milliseconds (median) by stage, a number for each value."""
        names = dict.fromkeys(t.stage for row in self.timings for t in row)
        medians = [{t.stage: t.median_ms for t in row} for row in self.timings]
        return {
            "label": self.label,
            "values": self.values,
            "median_ms": {stage: [row.get(stage) for row in medians] for stage in names},
        }


@dataclass(frozen=True)
class Setting:
    """What stays the same.

    Attributes:
        candidate: weights, backend and precision.
        device: "auto", "cpu" or "cuda:N".
        sample: an image of a size.
        effort: see there.
        outputs: of the node; empty leaves ROS out.
    """

    candidate: Candidate
    device: str
    sample: Callable[[tuple[int, int]], Sample]
    effort: Effort
    outputs: Sequence[str]


def by_size(setting: Setting, sizes: Sequence[tuple[int, int]]) -> Axis:
    """Image and network input of the same size, with weights as they are."""
    found = []
    for size in sizes:
        predictor = load(setting.candidate, setting.device, size)
        frames = stages.Frames(setting.sample(size), setting.outputs)
        found.append(stages.measure(predictor, frames, setting.effort))
        predictor.close()
    return Axis("size", "megapixels", [height * width / 1e6 for height, width in sizes], found)


def by_queries(setting: Setting, queries: Sequence[int], size: tuple[int, int], folder: Path) -> Axis:
    """The R18 preset with random weights (kept in `folder`) and so many queries, half of them synthetic segments."""
    found = []
    frames = stages.Frames(setting.sample(size), outputs=())
    for number in queries:
        config = preset(PRESET, num_queries=number)
        weights = random_weights(f"{PRESET}_{number}_queries", config, folder)
        predictor = load(replace(setting.candidate, weights=str(weights)), setting.device, size)
        look = Look(max(1, number // 2), number)
        found.append(stages.measure(predictor, replace(frames, look=look), setting.effort))
        predictor.close()
    return Axis("queries", "queries", [float(n) for n in queries], found)


def by_segments(setting: Setting, model: ModelInfo, segments: Sequence[int], size: tuple[int, int]) -> Axis:
    """Fusion and messages of a synthetic prediction with so many segments; `model` names and labels them."""
    found = []
    frames = stages.Frames(setting.sample(size), setting.outputs)
    for number in segments:
        these = replace(frames, look=Look(number, max(100, number)))
        found.append(stages.measure_after_network(model, size, these, setting.effort, pick_device(setting.device)))
    return Axis("segments", "segments", [float(n) for n in segments], found)


def plot(axis: Axis, folder: Path) -> Path:
    """Draw median times over the axis into `<folder>/scale_<name>.png`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for stage, values in axis.to_dict()["median_ms"].items():
        axes.plot(axis.values, values, "k--" if stage == TOTAL else "o-", markersize=4, label=stage)
    axes.set(xlabel=axis.label, ylabel="median [ms]", xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path = folder / f"scale_{axis.name}.png"
    with replacing(path) as beside:
        figure.savefig(beside, dpi=120)
    return path

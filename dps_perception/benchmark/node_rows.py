"""`dps_benchmark --node`: whole nodes, one after the other, each with a subscriber to what it publishes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from .. import cli
from ..errors import ConfigError
from ..evaluation.marks import between_marks, put
from ..evaluation.scores import markdown_table, text_table
from ..inference.machine import described, hardware, versions
from .messages import missing
from .run import chosen

NAME = "speed-node"
HEADER = ["node", "network [ms]", "in the node [ms]", "to the last output [ms]", "in the node / network",
          "last output / network", "frames/s", "CPU [ms] a frame", "frames sent, all outputs received"]  # fmt: skip
FLOOD_HZ, FLOOD_FRAMES = 20.0, 120
SHARE_OF_THROUGHPUT = 0.6


def run(args: argparse.Namespace, size: tuple[int, int] | None) -> dict[str, Any]:
    """Measure, print a table, put it into --markdown, and return what --json gets.

    Each node is flooded first, which gives its frames per second, and then gets fewer frames than it can take, which
    gives the times of one frame and shows whether any is lost.

    Raises:
        ConfigError: see `measure_node`, no ROS, random weights or --compare, or a file without marks.
        ChildError: a node did not take up work.
    """
    if args.preset or args.compare:
        raise ConfigError("--node takes --weights: neither --preset, whose random weights find nothing, nor --compare")
    if problem := missing():
        raise ConfigError(problem)
    from ..node.encode import OUTPUTS
    from .node_run import measure_node

    if args.markdown:
        between_marks(args.markdown, NAME)
    outputs = args.outputs.split(",") if args.outputs else list(OUTPUTS)
    image = cli.parse_size(args.image_size or "512x1024")
    machine = hardware()
    results = []
    for one in chosen(args, args.weights or [""]):
        asked: dict[str, Any] = {
            "backend": one.backend, "precision": one.precision, "size_hw": image, "network_hw": size,
            "outputs": outputs, "parameters": {"point_stride": str(args.point_stride)},
        }  # fmt: skip
        flood = measure_node(one.weights, frames=FLOOD_FRAMES, rate_hz=FLOOD_HZ, **asked)
        rate = min(SHARE_OF_THROUGHPUT * flood["processed_hz"], FLOOD_HZ)
        calm = measure_node(one.weights, frames=args.runs, rate_hz=rate, **asked)
        results.append({"calm": calm, "flooded": flood})
        print(" | ".join(cells(calm, flood)), flush=True)
    rows = [cells(each["calm"], each["flooded"]) for each in results]
    about = f"images {image[0]}x{image[1]}, outputs {', '.join(outputs)}, {args.runs} frames, medians"
    print(f"{about}\n{described(machine)}\n{text_table(HEADER, rows, left=1)}")
    if args.markdown:
        put(args.markdown, NAME, f"{markdown_table(HEADER, rows)}\n\n{about}; {described(machine)}.")
    return {"about": about, "hardware": machine, "versions": versions(), "nodes": results}


def cells(calm: Mapping[str, Any], flooded: Mapping[str, Any]) -> Sequence[str]:
    """The row under `HEADER`, of two results of `measure_node`."""
    medians = [f"{calm[key]['median']:.0f}" for key in ("network_ms", "in_node_ms", "end_to_end_ms")]
    return [
        f"{calm['backend']} {calm['precision']}", *medians, f"{calm['ratio_in_node']:.2f}", f"{calm['ratio']:.2f}",
        f"{flooded['processed_hz']:.1f}", f"{calm['cpu_ms_per_frame']:.0f}",
        f"{calm['frames']['sent']}, {min(calm['received'].values())}",
    ]  # fmt: skip

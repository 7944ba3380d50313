"""What arrives at a subscriber to the node's outputs, and when: for measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from dps_msgs.msg import PipelineStats

from ..data.bag import header_stamp_ns
from . import qos
from .encode import OUTPUTS

DEPTH = 5


class Arrivals:
    """Subscriptions to outputs of the node; messages stay the bytes that they are.

    Attributes:
        outputs: name -> [(stamp [ns], arrival on the monotonic clock [ns]), ...].
        stats: fields of ~/stats, with `stamp_ns`.

    Args:
        node: that subscribes.
        dps: full name of the node that publishes.
        names: outputs (see `OUTPUTS`).
    """

    def __init__(self, node: Node, dps: str, names: Sequence[str]) -> None:
        self.outputs: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
        self.stats: list[dict[str, Any]] = []
        profile = qos.profile("reliable", DEPTH)
        for name in names:
            node.create_subscription(OUTPUTS[name][0], f"{dps}/{name}", self._noting(name), profile, raw=True)
        node.create_subscription(PipelineStats, f"{dps}/stats", self._on_stats, profile, raw=True)

    def _noting(self, name: str) -> Callable[[bytes], None]:
        def note(data: bytes) -> None:
            now_ns = time.monotonic_ns()
            self.outputs[name].append((_stamp_ns(name, data), now_ns))

        return note

    def _on_stats(self, data: bytes) -> None:
        message = deserialize_message(data, PipelineStats)
        kinds = message.get_fields_and_field_types()
        values = {name: getattr(message, name) for name, kind in kinds.items() if kind in ("float", "string", "uint64")}
        self.stats.append(values | {"stamp_ns": header_stamp_ns(data)})


def _stamp_ns(name: str, data: bytes) -> int:
    """The stamp in the bytes of an output; markers have theirs behind their number, since each has its own header."""
    if name == "markers":
        data = data[:4] + data[8:16]
    return header_stamp_ns(data)

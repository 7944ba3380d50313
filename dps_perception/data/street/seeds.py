"""The fixed seed ranges of the street world: the benchmark is a list of seeds, so it never depends on a download."""

from __future__ import annotations

TRAIN = range(0, 100_000)
VALIDATION = range(1_000_000, 1_000_060)
TEST = range(2_000_000, 2_000_100)
"""The held-out images of the benchmark. Never train on them."""

DRIVES = range(3_000_000, 3_100_000)
"""The held-out drives (sequences), used by the demo and by evaluation over time."""

NAMED = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "drives": DRIVES}

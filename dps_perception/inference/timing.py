"""What is said about a time that was measured many times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def statistics(times_ms: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Minimum, median and 95th percentile of one or more times in milliseconds."""
    return {
        "min_ms": float(np.min(times_ms)),
        "median_ms": float(np.median(times_ms)),
        "p95_ms": float(np.percentile(times_ms, 95)),
    }

"""Which depths count, and depth as it is published: range limits and classes without a surface, in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .bands import as_input, compiled, in_bands

_TINY, _HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max


@dataclass(frozen=True)
class DepthRule:
    """Depth counts where it is finite, positive, in near_m..far_m, and of a class that is not hidden.

    Attributes:
        near_m, far_m: metres; infinite: no limit.
        hidden: (256,) bool by class id.
    """

    near_m: float = -np.inf
    far_m: float = np.inf
    hidden: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(256, bool))

    @property
    def interval(self) -> tuple[np.float32, np.float32]:
        """The lowest and the highest depth that counts; NaN and infinity are outside."""
        return np.float32(max(self.near_m, _TINY)), np.float32(min(self.far_m, _HUGE))


def limit_depth(
    depth_m: NDArray[np.float32], panoptic: NDArray[np.uint16], rule: DepthRule, out: NDArray[np.float32]
) -> None:
    """Write depth to `out`: -Inf where too near, +Inf where too far or hidden (REP 117, 118); NaN stays.

    Args:
        depth_m: (H, W).
        panoptic: (H, W) panoptic ids.
        rule: the limits.
        out: (H, W), contiguous.
    """
    limits = np.float32(rule.near_m), np.float32(rule.far_m), np.flatnonzero(rule.hidden).astype(np.uint16)
    in_bands(_limit, len(out), as_input(depth_m, np.float32), as_input(panoptic, np.uint16), *limits, out)


@compiled
def _limit(band, begin, end, depth, panoptic, near, far, hidden, out):  # type: ignore[no-untyped-def]
    infinite = np.float32(np.inf)
    for row in range(begin, end):
        for column in range(depth.shape[1]):
            z = depth[row, column]
            z = -infinite if z < near else z
            out[row, column] = infinite if z > far else z
        for class_id in hidden:  # few: a comparison of the whole row each is faster than looking pixels up
            for column in range(depth.shape[1]):
                is_hidden = panoptic[row, column] >> 8 == class_id
                out[row, column] = infinite if is_hidden else out[row, column]

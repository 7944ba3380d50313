"""Depth errors over all valid pixels of all images (Eigen et al., NeurIPS 2014), and the error levels that DPQ needs.

Valid: ground truth is finite, above 0 and within the caps; +Inf (sky) and NaN (unknown) are left out. The prediction is
never clipped. Where it holds no finite depth above 0 the pixel can't be scored: it counts against `coverage`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..kernels.scoring import depth_errors, error_levels
from .panoptic import none_if_nan
from .sums import ExactSums


@dataclass(frozen=True)
class DepthScores:
    """NaN where there was no valid pixel.

    Attributes:
        abs_rel: mean of |d - d*| / d*.
        sq_rel: mean of (d - d*)^2 / d*, metres.
        rmse_m: metres.
        rmse_log: root mean square of ln d - ln d*.
        silog: 100 times the standard deviation of ln d - ln d* (over all pixels of the data, not per image).
        delta1: share (0..1) of pixels with max(d/d*, d*/d) < 1.25.
        delta2: < 1.25^2.
        delta3: < 1.25^3.
        coverage: share (0..1) of valid pixels for which the prediction holds a depth.
        valid_px: pixels with valid ground truth.
    """

    abs_rel: float
    sq_rel: float
    rmse_m: float
    rmse_log: float
    silog: float
    delta1: float
    delta2: float
    delta3: float
    coverage: float
    valid_px: int

    def to_dict(self) -> dict[str, Any]:
        return {k: v if isinstance(v, int) else none_if_nan(v) for k, v in asdict(self).items()}


class DepthSums:
    """Running sums over images.

    Args:
        min_depth_m: ground truth below is left out.
        max_depth_m: ground truth above is left out.

    Raises:
        ConfigError: the caps leave nothing between them.
    """

    def __init__(self, min_depth_m: float, max_depth_m: float) -> None:
        if not 0 <= min_depth_m < max_depth_m:
            raise ConfigError(
                f"depth caps {min_depth_m} m to {max_depth_m} m: the lower must be 0 or more and below the upper"
            )
        self.min_depth_m, self.max_depth_m = min_depth_m, max_depth_m
        self.counts = np.zeros(5, np.int64)  # valid, predicted, delta1, delta2, delta3
        self._sums = ExactSums(5)  # abs rel, sq rel, square, square of logs, logs

    def add(self, depth_m: NDArray[np.float32], gt_depth_m: NDArray[np.float32]) -> None:
        """Add one image; both (H, W), metres."""
        counts, sums = depth_errors(depth_m, gt_depth_m, self.min_depth_m, self.max_depth_m)
        self.counts += counts
        self._sums.add(sums)

    def merge(self, other: DepthSums) -> None:
        self.counts += other.counts
        self._sums.merge(other._sums)

    def scores(self) -> DepthScores:
        valid, number = int(self.counts[0]), int(self.counts[1])
        coverage = number / valid if valid else math.nan
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: nothing to score
            abs_rel, sq_rel, square, log_square, log = (float(v) for v in self._sums.values() / np.float64(number))
            delta1, delta2, delta3 = (float(v) for v in self.counts[2:] / np.float64(number))
        return DepthScores(
            abs_rel=abs_rel,
            sq_rel=sq_rel,
            rmse_m=math.sqrt(square),
            rmse_log=math.sqrt(log_square),
            silog=100 * math.sqrt(max(log_square - log**2, 0.0)) if number else math.nan,
            delta1=delta1,
            delta2=delta2,
            delta3=delta3,
            coverage=coverage,
            valid_px=valid,
        )


def has_depth(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a depth image holds a finite depth above 0."""
    return np.isfinite(depth_m) & (depth_m > 0)


def error_level(
    depth_m: NDArray[np.float32], gt_depth_m: NDArray[np.float32], lambdas: Sequence[float]
) -> NDArray[np.uint8]:
    """How many of the ascending `lambdas` the relative depth error is strictly above, (H, W).

    0 where there is no ground-truth depth; all of them where there is but the prediction has none.
    """
    return error_levels(depth_m, gt_depth_m, np.array(lambdas, np.float64))

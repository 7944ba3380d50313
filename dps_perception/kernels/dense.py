"""What every way of fusing finds for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Array = TypeVar("Array")


@dataclass(frozen=True)
class Dense(Generic[Array]):
    """Arrays or tensors on one device; K queries took part.

    Attributes:
        owner: (H, W) integers, number of the query with the largest mask logit; K where that is below the threshold.
        probability: (H, W) float32, sigmoid of that logit.
        depth: (H, W) float32 in 0..1, Eq. 4 without its D_max; None without depth.
        owned: (K,) pixels of each query in `owner`.
        own_mask: (K,) pixels where each query's own mask logit is above 0.
    """

    owner: Array
    probability: Array
    depth: Array | None
    owned: Array
    own_mask: Array

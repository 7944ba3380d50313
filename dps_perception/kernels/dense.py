"""What every way of fusing finds for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Array = TypeVar("Array")


@dataclass(frozen=True)
class Dense(Generic[Array]):
    """Arrays or tensors on one device; K queries (or kernels, boxes and classes) took part.

    Attributes:
        owner: (H, W) integers, number of the query that owns the pixel; K where none does.
        probability: (H, W) float32, of the owner's mask.
        depth: (H, W) float32 in 0..1, a share of D_max; None without depth.
        owned: (K,) pixels of each query in `owner`.
        own_mask: (K,) pixels that each query's own mask covers.
    """

    owner: Array
    probability: Array
    depth: Array | None
    owned: Array
    own_mask: Array

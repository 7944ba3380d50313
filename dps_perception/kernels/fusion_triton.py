"""Fusion on a GPU: one program for each small block of output pixels, in Triton.

Every program looks at all queries, four neighbouring logits each, which neighbouring pixels share in the cache: no
upsampled mask is ever written. Depth and exponentials are left out for a whole block where a query's softmax weight
can't matter in any of its pixels.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..types import OutputGrid
from .dense import Dense
from .fusion import BY_QUERY, ERROR, NO_DEPTH, ONE_MAP

BLOCK_Y, BLOCK_X = 8, 32


def dense(
    masks: Tensor,
    depths: Tensor | None,
    backup: Tensor | None,
    queries: Tensor,
    grid: OutputGrid,
    stride: int,
    threshold: float,
    *,
    depth_by_query: bool,
) -> Dense[Tensor]:
    """Best query, its probability and the mixed depth of each pixel; see `models.plain_fusion.dense`."""
    mode = NO_DEPTH if depths is None else BY_QUERY if depth_by_query else ONE_MAP
    size, number, device = (grid.height, grid.width), len(queries), masks.device
    owner = torch.empty(size, dtype=torch.int32, device=device)
    probability = torch.empty(size, dtype=torch.float32, device=device)
    depth = None if depths is None else torch.empty(size, dtype=torch.float32, device=device)
    owned, own_mask = (torch.zeros(number, dtype=torch.int32, device=device) for _ in range(2))
    blocks = triton.cdiv(grid.height, BLOCK_Y), triton.cdiv(grid.width, BLOCK_X)
    _fuse[blocks](
        masks, depths if depths is not None else masks, backup if backup is not None else masks, queries,
        owner, probability, depth if depth is not None else probability, owned, own_mask,
        number, masks.shape[1], masks.shape[2], grid.height, grid.width, grid.scale_y / stride, grid.scale_x / stride,
        threshold, -math.log(ERROR),
        mode=mode, with_backup=backup is not None, block_rows=BLOCK_Y, block_columns=BLOCK_X,
    )  # fmt: skip
    return Dense(owner, probability, depth, owned, own_mask)


@triton.jit
def _between(pixel, step, points):  # type: ignore[no-untyped-def]
    """The two points around a pixel and the share of the second; half-pixel centres."""
    place = tl.maximum((pixel.to(tl.float32) + 0.5) * step - 0.5, 0.0)
    low = tl.minimum(place.to(tl.int32), points - 1)
    high = tl.minimum(low + 1, points - 1)
    return low, high, tl.where(low == high, 0.0, place - low.to(tl.float32))


@triton.jit
def _interpolate(values, above_left, above_right, below_left, below_right, ty, tx):  # type: ignore[no-untyped-def]
    a, b = tl.load(values + above_left), tl.load(values + above_right)
    c, d = tl.load(values + below_left), tl.load(values + below_right)
    left = a + ty * (c - a)
    return left + tx * (b + ty * (d - b) - left)


@triton.jit
def _fuse(  # type: ignore[no-untyped-def]
    masks, depths, backup, queries, owner, probability, depth, owned, own_mask,
    number, h, w, height, width, step_y, step_x, threshold, far,
    mode: tl.constexpr, with_backup: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    columns = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    inside = (rows < height)[:, None] & (columns < width)[None, :]
    pixels = rows[:, None] * width + columns[None, :]
    y0, y1, ty = _between(rows, step_y, h)
    x0, x1, tx = _between(columns, step_x, w)
    ty, tx = ty[:, None], tx[None, :]
    a, b = y0[:, None] * w + x0[None, :], y0[:, None] * w + x1[None, :]
    c, d = y1[:, None] * w + x0[None, :], y1[:, None] * w + x1[None, :]

    best = tl.full((block_rows, block_columns), -float("inf"), tl.float32)
    who = tl.full((block_rows, block_columns), 0, tl.int32)
    for k in range(number):
        value = _interpolate(masks + tl.load(queries + k) * (h * w), a, b, c, d, ty, tx)
        covered = tl.sum(((value > 0) & inside).to(tl.int32))
        tl.atomic_add(own_mask + k, covered, mask=covered > 0)
        who = tl.where(value > best, k, who)
        best = tl.where(value > best, value, best)
    likely = 1 / (1 + tl.exp(-best))
    who = tl.where(likely >= threshold, who, number)
    tl.store(owner + pixels, who, mask=inside)
    tl.store(probability + pixels, likely, mask=inside)
    for k in range(number):
        own = tl.sum(((who == k) & inside).to(tl.int32))
        tl.atomic_add(owned + k, own, mask=own > 0)

    if mode == 1:
        value = _interpolate(depths, a, b, c, d, ty, tx)
        tl.store(depth + pixels, 1 / (1 + tl.exp(-value)), mask=inside)
    if mode == 2:
        total = tl.zeros((block_rows, block_columns), tl.float32)
        mixed = tl.zeros((block_rows, block_columns), tl.float32)
        if with_backup:
            best = tl.maximum(best, 0.0)
            total = tl.exp(-best)
            mixed = total / (1 + tl.exp(-_interpolate(backup, a, b, c, d, ty, tx)))
        for k in range(number):
            query = tl.load(queries + k) * (h * w)
            lead = _interpolate(masks + query, a, b, c, d, ty, tx) - best
            if tl.max(tl.where(inside, lead, -float("inf"))) > -far:
                share = tl.exp(lead)
                total += share
                mixed += share / (1 + tl.exp(-_interpolate(depths + query, a, b, c, d, ty, tx)))
        tl.store(depth + pixels, mixed / total, mask=inside)

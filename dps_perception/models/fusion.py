"""From low-resolution masks and depth to a prediction on the output grid; every family's `fuse` ends here.

What is done for each pixel is done by compiled kernels on the processor; on a GPU by Triton for the largest mask logit
(EfficientDPS, PanopticDepth), and by plain PyTorch for the rest and where there is no Triton.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels import fusion as kernel
from ..kernels.dense import Dense
from ..kernels.own_depth import own_depth
from ..labels import LabelSpace
from ..types import OutputGrid, Prediction
from . import plain_fusion
from .segments import FusionThresholds, Kept, number_segments


@dataclass(frozen=True)
class OwnDepth:
    """Depth that each query has for the pixels it owns: factor * sigmoid(logits) + shift, as a share of D_max.

    Attributes:
        logits: (K, h, w) of the queries that take part, on the masks' grid.
        factor, shift: (K,).
    """

    logits: Tensor
    factor: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Layers:
    """The low-resolution maps of one image, what of them to use, and where their pixels lie.

    Attributes:
        masks: (N, h, w) mask logits.
        depths: (N, h, w) depth logits of the queries, (1, h, w) of the whole image, or None.
        backup: (1, h, w) depth logits of the backup query, or None.
        depth_by_query: what `depths` is.
        grid: of the output.
        stride: network input pixels per tensor pixel.
        depth_factor: metres of depth 1.
        own_depth: instead of `depths`: depth is read from the owner alone.
    """

    masks: Tensor
    depths: Tensor | None
    backup: Tensor | None
    depth_by_query: bool
    grid: OutputGrid
    stride: int
    depth_factor: float
    own_depth: OwnDepth | None = None


def visible(maps: Tensor, grid: OutputGrid, stride: int) -> Tensor:
    """(..., h, w) without the cells that show nothing of the image: the network's input is padded below and right.

    Args:
        maps: of the whole input.
        grid: of the output, which covers the image.
        stride: network input pixels per cell.
    """
    rows, columns = (
        math.ceil(n - 1e-6) for n in (grid.height * grid.scale_y / stride, grid.width * grid.scale_x / stride)
    )
    return maps[..., :rows, :columns]


def assemble(
    layers: Layers, queries: NDArray[np.int64], kept: Kept, label_space: LabelSpace, thresholds: FusionThresholds
) -> Prediction:
    """The prediction of layers.

    Args:
        layers: of one image.
        queries: (K,), K > 0: which of the masks take part.
        kept: those that may become segments: the same K, or none.
        label_space: the classes.
        thresholds: what becomes a segment.
    """
    on = _on_processor if layers.masks.device.type == "cpu" else _on_device
    return on(layers, queries, kept, label_space, thresholds)


def _on_processor(
    layers: Layers, queries: NDArray[np.int64], kept: Kept, space: LabelSpace, thresholds: FusionThresholds
) -> Prediction:
    maps = [None if values is None else values.numpy() for values in (layers.masks, layers.depths, layers.backup)]
    masks, depths, backup = maps
    assert masks is not None
    found = kernel.dense(
        masks, depths, backup, queries, layers.grid, layers.stride, thresholds.mask,
        depth_by_query=layers.depth_by_query,
    )  # fmt: skip
    if (own := layers.own_depth) is not None:
        logits, factor, shift = own.logits.numpy(), own.factor.numpy(), own.shift.numpy()
        found = replace(found, depth=own_depth(found.owner, logits, factor, shift, layers.grid, layers.stride))
    return finish(found, kept, space, thresholds, layers.depth_factor)


def finish(
    found: Dense[NDArray[Any]], kept: Kept, space: LabelSpace, thresholds: FusionThresholds, depth_factor: float
) -> Prediction:
    """Number the segments and write what is published over `found`, which is on the processor."""
    ids, confidence, segments = number_segments(kept, found.owned, found.own_mask, space, thresholds)
    kernel.label(found, ids, confidence, depth_factor)
    depth = np.full(found.owner.shape, np.nan, np.float32) if found.depth is None else found.depth
    return Prediction(found.owner, depth, found.probability, segments)


def _on_device(
    layers: Layers, queries: NDArray[np.int64], kept: Kept, space: LabelSpace, thresholds: FusionThresholds
) -> Prediction:
    device = layers.masks.device
    found = device_dense(device)(
        layers.masks, layers.depths, layers.backup, torch.as_tensor(queries, device=device), layers.grid, layers.stride,
        thresholds.mask, depth_by_query=layers.depth_by_query,
    )  # fmt: skip
    if (own := layers.own_depth) is not None:
        depth_of_owner = plain_fusion.own_depth(
            found.owner, own.logits, own.factor, own.shift, layers.grid, layers.stride
        )
        found = replace(found, depth=depth_of_owner)
    return finish_on_device(found, kept, space, thresholds, layers.depth_factor)


def finish_on_device(
    found: Dense[Tensor], kept: Kept, space: LabelSpace, thresholds: FusionThresholds, depth_factor: float
) -> Prediction:
    """As `finish`, for tensors on any device."""
    device = found.owner.device
    owned, own_mask = (pixels.cpu().numpy() for pixels in (found.owned, found.own_mask))
    ids, of_class, segments = number_segments(kept, owned, own_mask, space, thresholds)
    owner = found.owner.long()
    panoptic = torch.as_tensor(ids.view(np.int16), device=device)[owner].cpu().numpy().view(np.uint16)
    confidence = (torch.as_tensor(of_class, device=device)[owner] * found.probability).cpu().numpy()
    depth = torch.full(panoptic.shape, torch.nan) if found.depth is None else found.depth * depth_factor
    return Prediction(panoptic, depth.cpu().numpy(), confidence, segments)


def device_dense(device: torch.device) -> Callable[..., Dense[Tensor]]:
    """What does the work for each pixel there: Triton's kernel on a GPU that has it, otherwise plain PyTorch."""
    if device.type == "cuda" and find_spec("triton") is not None:
        from ..kernels import fusion_triton

        return fusion_triton.dense
    return plain_fusion.dense

"""From PanopticDepth's tensors to a prediction: masks and depth of each kernel, merged (paper, Sections 3.2, 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels import fusion as kernel
from ..labels import LabelSpace
from ..types import OutputGrid, Prediction
from . import plain_fusion
from .fusion import Layers, OwnDepth, assemble, visible
from .panopticdepth import DEPTH_NUMBERS, EMBEDDING_STRIDE, stride_of
from .panopticdepth_config import DENSE, PanopticDepthConfig
from .panopticdepth_kernels import Kernels, find_kernels
from .segments import FusionThresholds, Kept, score_limits


def fuse(
    tensors: Mapping[str, Tensor],
    config: PanopticDepthConfig,
    label_space: LabelSpace,
    thresholds: FusionThresholds,
    grid: OutputGrid,
    depth_scale: float = 1.0,
) -> Prediction:
    """Fuse the named tensors of one image (batch size 1; see `PanopticDepth.forward`).

    Things are scored by class probability x mean mask probability inside the mask. Those below the threshold, those of
    whose mask better ones leave less than `thresholds.overlap`, and too small stuff are given up; what is left is
    merged by the largest mask logit, so that no pixel is void (`thresholds.mask` plays no part), and each pixel's depth
    is read from the map of its owner.

    Args:
        tensors: of the network.
        config: of the network.
        label_space: its classes.
        thresholds: what becomes a segment.
        grid: the output grid; mask and depth logits are upsampled to it bilinearly. What the network saw beyond it is
            left out.
        depth_scale: factor on the depth for a camera whose focal length differs from the training camera's.
    """
    tensors = {name: visible(tensor, grid, stride_of(name)) for name, tensor in tensors.items()}
    found = _possible(find_kernels(tensors, config), label_space, thresholds)
    factor_m = config.max_depth_m * depth_scale
    embedding = tensors["mask_embedding"]
    if len(found.class_id):
        masks = _convolved(found.mask, embedding)
    else:  # depth of the whole image is there all the same
        masks = torch.zeros((1, *embedding.shape[-2:]), device=embedding.device)
    kept = keep(found, masks, label_space, thresholds, pixels=EMBEDDING_STRIDE**2 / (grid.scale_y * grid.scale_x))
    queries = kept.queries if len(kept.queries) else np.arange(len(masks))  # only depth is asked for
    dense = tensors["depth_embedding"][0].float().contiguous() if config.depth == DENSE else None
    own = None
    if found.depth is not None and len(found.depth):
        chosen = torch.as_tensor(queries, device=masks.device)
        own = instance_depth(found.depth[chosen], tensors["depth_embedding"], config.depth_normalisation)
    layers = Layers(masks, dense, None, False, grid, EMBEDDING_STRIDE, factor_m, own)
    return assemble(layers, queries, kept, label_space, replace(thresholds, mask=0.0, overlap=0.0, stuff_area_px=0))


def _possible(found: Kernels, label_space: LabelSpace, thresholds: FusionThresholds) -> Kernels:
    """Those whose class is probable enough, since no score is above that; all where none is: they still say depth."""
    limits = score_limits(found.class_id.cpu().numpy(), label_space, thresholds)
    probable = (found.score >= torch.as_tensor(limits, device=found.score.device)).nonzero()[:, 0]
    return found.chosen(probable) if len(probable) else found


def keep(found: Kernels, masks: Tensor, label_space: LabelSpace, thresholds: FusionThresholds, pixels: float) -> Kept:
    """The kernels that become segments: well scored, things not covered by better ones, stuff of some size.

    Args:
        found: K kernels.
        masks: (K, h, w) logits of their masks.
        label_space, thresholds: see `fuse`.
        pixels: of the output in each cell of the masks.
    """
    quality = _quality(masks)
    class_id, probability = found.class_id.cpu().numpy(), found.score.cpu().numpy()
    is_thing = label_space.is_thing[class_id]
    score = np.where(is_thing, probability * quality, probability).astype(np.float32)
    enough = np.flatnonzero(score >= score_limits(class_id, label_space, thresholds))
    inside = (masks[torch.as_tensor(enough, device=masks.device)] > 0).cpu().numpy()
    taken = np.zeros(masks.shape[1:], bool)
    alive = []
    for k in np.argsort(-np.where(is_thing[enough], score[enough], -1), kind="stable"):  # things first
        if is_thing[enough[k]]:
            area = np.count_nonzero(inside[k])
            if not area or np.count_nonzero(inside[k] & ~taken) < thresholds.overlap * area:
                continue
            taken |= inside[k]
        alive.append(enough[k])
    queries = np.sort(np.array(alive, np.int64))
    if thresholds.stuff_area_px and len(queries):
        owner = masks[torch.as_tensor(queries, device=masks.device)].argmax(0).flatten()
        areas = pixels * owner.bincount(minlength=len(queries)).cpu().numpy()
        queries = queries[is_thing[queries] | (areas >= thresholds.stuff_area_px)]
    return Kept(queries, class_id[queries], probability[queries], score[queries])


def instance_depth(kernels: Tensor, embedding: Tensor, normalisation: str) -> OwnDepth:
    """Depth kernels (K, E + 2) on the embedding (1, E, h, w): Eq. 3, and what Eq. 4 ("T1") or 5 ("T2") make of it."""
    logits = _convolved(kernels[:, :-DEPTH_NUMBERS], embedding)
    shift, extent = kernels[:, -DEPTH_NUMBERS:].sigmoid().unbind(1)
    if normalisation == "":
        shift, extent = torch.zeros_like(shift), torch.ones_like(extent)
    elif normalisation == "T2":
        shift = shift - 0.5 * extent
    return OwnDepth(logits, extent.contiguous(), shift.contiguous())


def _quality(masks: Tensor) -> NDArray[np.float32]:
    """(K,) mean mask probability over each mask's own pixels."""
    if masks.device.type == "cpu":
        return kernel.mask_quality(masks.numpy(), np.arange(len(masks)))
    return plain_fusion.mask_quality(masks).cpu().numpy()


def _convolved(kernels: Tensor, embedding: Tensor) -> Tensor:
    """1x1 convolution with predicted kernels: (K, C) and (1, C, h, w) -> (K, h, w) float32."""
    return (kernels @ embedding[0].float().flatten(1)).unflatten(1, embedding.shape[-2:])

"""From Real-Time Panoptic's tensors to a prediction: masks from dense boxes and semantics, things first (Section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..kernels import priority
from ..kernels.box_masks import box_masks
from ..kernels.own_depth import own_depth
from ..labels import LabelSpace
from ..types import OutputGrid, Prediction
from . import plain_fusion
from .fusion import finish, finish_on_device, visible
from .realtime_panoptic import SEMANTIC_STRIDE, stride_of
from .realtime_panoptic_boxes import PLACE_STRIDE, Queries, box_iou, dense_boxes, find_queries
from .realtime_panoptic_config import RealtimePanopticConfig
from .segments import FusionThresholds, Kept

SIGMA = 0.8
"""The paper's mask threshold of 0.4 is this share of the usual 0.5, so that one parameter serves every family."""
UNLIKELY = 0.25
"""Where a class is less likely than this share of the threshold its masks are not worked out: they are 0 there."""


def fuse(
    tensors: Mapping[str, Tensor],
    config: RealtimePanopticConfig,
    label_space: LabelSpace,
    thresholds: FusionThresholds,
    grid: OutputGrid,
    depth_scale: float = 1.0,
) -> Prediction:
    """Fuse the named tensors of one image (batch size 1; see `RealtimePanoptic.forward`).

    A query box's mask is where IoU with the pixel's own box x probability of its class (Eq. 5) is above 0.8 *
    `thresholds.mask`. Things take their pixels by falling score, unless better ones leave less than
    `thresholds.overlap` of them; the other pixels belong to the most probable class, or to nobody where that is a
    thing's.

    Args:
        tensors: of the network.
        config: of the network.
        label_space: its classes.
        thresholds: what becomes a segment.
        grid: the output grid; probabilities are upsampled to it bilinearly. What the network saw beyond it is left out.
        depth_scale: factor on the depth for a camera whose focal length differs from the training camera's.
    """
    tensors = {name: visible(tensor, grid, stride_of(name)) for name, tensor in tensors.items()}
    finer = SEMANTIC_STRIDE // PLACE_STRIDE
    logits = F.interpolate(tensors["semantic_logits"].float(), scale_factor=finer, mode="bilinear", align_corners=False)
    semantic = visible(logits, grid, PLACE_STRIDE)[0].softmax(0)
    size = semantic.shape[1], semantic.shape[2]
    sigma = SIGMA * thresholds.mask
    queries = find_queries(tensors, config, thresholds.score_things)
    on_processor = semantic.device.type == "cpu"
    masks = _masks(dense_boxes(tensors, size)[0], semantic, queries, UNLIKELY * sigma, on_processor)
    uncovered = _uncovered((masks > sigma).cpu().numpy(), thresholds.overlap)
    alive = torch.as_tensor(uncovered, device=masks.device)
    found = _dense(masks[alive], semantic, grid, sigma, on_processor)
    if "depth_logits" in tensors:
        found = replace(found, depth=_depth(tensors["depth_logits"], found.owner, grid, on_processor))
    number = len(uncovered)
    found.owned[number:][label_space.is_thing] = 0  # a thing's class without a box is nobody's
    stuff = np.arange(len(label_space))
    mean = _mean_where_best(semantic)
    found.owned[number:][mean < thresholds.score_stuff] = 0
    class_id, score = queries.class_id[alive].cpu().numpy(), queries.score[alive].cpu().numpy()
    kept = Kept(
        np.arange(number + len(stuff)),
        np.concatenate([class_id, stuff]),
        np.concatenate([score, np.ones(len(stuff))]).astype(np.float32),
        np.concatenate([score, mean]).astype(np.float32),
    )
    end = finish if on_processor else finish_on_device
    return end(found, kept, label_space, replace(thresholds, overlap=0.0), config.max_depth_m * depth_scale)


def _masks(dense: Tensor, semantic: Tensor, queries: Queries, least: float, on_processor: bool) -> Tensor:
    """Eq. 5 for all queries: (K, h, w), 0 where the class is less likely than `least`."""
    if on_processor:
        masks = box_masks(dense.numpy(), semantic.numpy(), queries.boxes.numpy(), queries.class_id.numpy(), least)
        return torch.from_numpy(masks)
    likely = semantic[queries.class_id]
    return box_iou(dense, queries.boxes) * likely * (likely > least)


def _uncovered(inside: NDArray[np.bool_], least: float) -> NDArray[np.int64]:
    """Which masks (K, h, w), best first, keep this share of their own against better ones."""
    taken, alive = np.zeros(inside.shape[1:], bool), []
    for k, mask in enumerate(inside):
        area = np.count_nonzero(mask)
        if area and np.count_nonzero(mask & ~taken) >= least * area:
            taken |= mask
            alive.append(k)
    return np.array(alive, np.int64)


def _dense(things: Tensor, rest: Tensor, grid: OutputGrid, threshold: float, on_processor: bool) -> Any:
    if on_processor:
        return priority.dense(things.numpy(), rest.numpy(), grid, PLACE_STRIDE, threshold)
    return plain_fusion.priority(things, rest, grid, PLACE_STRIDE, threshold)


def _depth(logits: Tensor, owner: Any, grid: OutputGrid, on_processor: bool) -> Any:
    """The dense depth map on the output grid, (H, W) in 0..1."""
    if on_processor:
        one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
        return own_depth(np.zeros_like(owner), logits[0].float().numpy(), one, none, grid, SEMANTIC_STRIDE)
    factor = logits.new_ones(1, dtype=torch.float32)
    shift = torch.zeros_like(factor)
    return plain_fusion.own_depth(torch.zeros_like(owner), logits[0].float(), factor, shift, grid, SEMANTIC_STRIDE)


def _mean_where_best(probability: Tensor) -> NDArray[np.float32]:
    """(C,) mean probability of each class where it is the best of (C, h, w); 0 where it nowhere is."""
    best, class_id = probability.flatten(1).max(0)
    count = class_id.bincount(minlength=len(probability)).clamp(min=1)
    return (class_id.bincount(best, minlength=len(probability)) / count).cpu().numpy().astype(np.float32)

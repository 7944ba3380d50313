"""From the network's tensors to panoptic ids, dense depth and confidence (paper, Section III-C and Eq. 4).

The only implementation: training validation, evaluation, benchmark and node all call `fuse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ConfigError
from ..labels import MAX_INSTANCE_ID, VOID_PANOPTIC_ID, LabelSpace, pack
from ..types import Prediction, Segment


@dataclass(frozen=True)
class FusionThresholds:
    """What decides which queries become segments; all live parameters of the node.

    Attributes:
        score_things, score_stuff: lowest query score (class probability x mean mask probability inside the mask).
        mask: a pixel belongs to its best query only at or above this mask probability, else it is void.
        overlap: a segment is dropped where less than this share of its own mask survives the argmax.
        stuff_area_px: smallest stuff segment, in pixels of the output grid.
    """

    score_things: float = 0.2
    score_stuff: float = 0.2
    mask: float = 0.5
    overlap: float = 0.6
    stuff_area_px: int = 0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "stuff_area_px"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"threshold {name} is {getattr(self, name)}; it must be within 0..1")
        if self.stuff_area_px < 0:
            raise ConfigError(f"threshold stuff_area_px is {self.stuff_area_px}; it must be 0 or more")


@dataclass(frozen=True)
class OutputGrid:
    """Where an image lies on the network's grid: its size and the network pixels per image pixel along y and x.

    The image's top left corner is the network input's top left corner; what is right of or below it is padding.
    """

    height: int
    width: int
    scale_y: float
    scale_x: float


def fuse(
    tensors: Mapping[str, Tensor],
    label_space: LabelSpace,
    thresholds: FusionThresholds,
    grid: OutputGrid,
    stride: int,
    max_depth_m: float,
    depth_scale: float = 1.0,
) -> Prediction:
    """Fuse the named tensors of one image (batch size 1; see `EfficientDPS.forward`) to a `Prediction`.

    Args:
        tensors: `class_logits` (1, N, C), `mask_logits` (1, N, h, w), optionally `depth_logits` (1, N or 1, h, w)
            and `backup_depth_logits` (1, 1, h, w).
        grid: the output grid; mask and depth *logits* are upsampled to it bilinearly.
        stride: network input pixels per tensor pixel.
        max_depth_m: D_max of Eq. 3.
        depth_scale: factor on the depth for a camera whose focal length differs from the training camera's.

    Returns:
        Panoptic ids by argmax over the mask logits of the kept queries, and depth by Eq. 4 with the softmax over
        the same mask logits. A backup depth query joins that softmax with logit 0 (probability one half), so it
        speaks where no kept query covers a pixel. Without kept queries and backup, all queries share. Without
        any depth tensor, depth is NaN.
    """
    mask_logits = tensors["mask_logits"][0].float()
    score, probability, class_id = query_scores(tensors["class_logits"][0].float(), mask_logits)
    is_thing = torch.as_tensor(label_space.is_thing, device=class_id.device)[class_id]
    limit = torch.where(is_thing, thresholds.score_things, thresholds.score_stuff)
    kept = (score >= limit).nonzero()[:, 0]

    masks = _upsample(mask_logits[kept], grid, stride)
    depth = _dense_depth(tensors, mask_logits, kept, masks, grid, stride)
    depth_m = torch.full((grid.height, grid.width), torch.nan) if depth is None else depth * (max_depth_m * depth_scale)
    panoptic, confidence, segments = _panoptic(
        masks, class_id[kept].cpu().numpy(), score[kept], probability[kept], label_space, thresholds
    )
    return Prediction(panoptic, depth_m.cpu().numpy(), confidence, segments)


def query_scores(class_logits: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score, class probability and class of each query, (N,) each: (N, C) and (N, h, w) logits.

    The score is the class probability times the mean mask probability over the mask's own pixels.
    """
    probability, class_id = class_logits.sigmoid().max(1)
    return probability * _mask_quality(mask_logits), probability, class_id


def _mask_quality(mask_logits: Tensor) -> Tensor:
    """Mean mask probability over each mask's own pixels (probability above one half); 0 for an empty mask. (N,)."""
    inside = (mask_logits > 0).flatten(1)
    total = (mask_logits.sigmoid().flatten(1) * inside).sum(1)
    return total / inside.sum(1).clamp(min=1)


def _upsample(logits: Tensor, grid: OutputGrid, stride: int) -> Tensor:
    """(K, h, w) at network stride -> (K, H, W) on the output grid, bilinear with half-pixel centres."""
    if logits.shape[0] == 0:
        return logits.new_zeros((0, grid.height, grid.width))
    factors = (stride / grid.scale_y, stride / grid.scale_x)
    size = [int(n * f + 1e-6) for n, f in zip(logits.shape[-2:], factors, strict=True)]
    short = (max(0, grid.height - size[0]), max(0, grid.width - size[1]))
    if any(short):  # rounding of the resized image may cost the last row or column
        logits = F.pad(logits[None], (0, int(short[1] > 0), 0, int(short[0] > 0)), mode="replicate")[0]
    up = F.interpolate(
        logits[None], scale_factor=factors, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    return up[0, :, : grid.height, : grid.width]


def _dense_depth(
    tensors: Mapping[str, Tensor], mask_logits: Tensor, kept: Tensor, masks: Tensor, grid: OutputGrid, stride: int
) -> Tensor | None:
    """Eq. 4 without its D_max, (H, W) in 0..1; None for a network without depth."""
    if "depth_logits" not in tensors:
        return None
    logits = tensors["depth_logits"][0].float()
    if logits.shape[0] == 1 and mask_logits.shape[0] != 1:  # image-wise depth
        return _upsample(logits, grid, stride).sigmoid()[0]
    backup = tensors.get("backup_depth_logits")
    if backup is None and len(kept) == 0:
        kept, masks = torch.arange(len(mask_logits), device=mask_logits.device), _upsample(mask_logits, grid, stride)
    depths = _upsample(logits[kept], grid, stride).sigmoid_()
    if backup is not None:
        depths = torch.cat([depths, _upsample(backup[0].float(), grid, stride).sigmoid_()])
        masks = torch.cat([masks, masks.new_zeros((1, *masks.shape[1:]))])
    return (masks.softmax(0) * depths).sum(0)


def _panoptic(
    masks: Tensor,
    class_id: NDArray[np.int64],
    score: Tensor,
    probability: Tensor,
    label_space: LabelSpace,
    thresholds: FusionThresholds,
) -> tuple[NDArray[np.uint16], NDArray[np.float32], tuple[Segment, ...]]:
    """Argmax over the kept queries, then drop, merge and number the segments."""
    count, height, width = masks.shape
    if count == 0:
        void = np.full((height, width), VOID_PANOPTIC_ID, np.uint16)
        return void, np.zeros((height, width), np.float32), ()
    best, owner = masks.max(0)
    mask_probability = best.sigmoid()
    owner = torch.where(mask_probability >= thresholds.mask, owner, count)  # `count` stands for void
    owned = owner.flatten().bincount(minlength=count + 1)[:count].cpu().numpy()
    own_mask = (masks > 0).flatten(1).sum(1).cpu().numpy()
    alive = (owned > 0) & (owned >= thresholds.overlap * own_mask)

    scores = score.cpu().numpy().astype(np.float64)
    panoptic_of = np.full(count + 1, VOID_PANOPTIC_ID, np.uint16)
    segments: list[Segment] = []
    used: dict[int, int] = {}
    for k in np.argsort(-scores, kind="stable"):
        c = int(class_id[k])
        if not alive[k] or not label_space.is_thing[c] or used.get(c, 0) == MAX_INSTANCE_ID:
            continue
        used[c] = used.get(c, 0) + 1
        panoptic_of[k] = pack(c, used[c])
        segments.append(Segment(int(panoptic_of[k]), c, used[c], True, float(scores[k]), int(owned[k])))
    for c in np.unique(class_id[alive]):
        members = np.flatnonzero(alive & (class_id == c))
        area = int(owned[members].sum())
        if label_space.is_thing[c] or area < thresholds.stuff_area_px:
            continue
        panoptic_of[members] = pack(int(c), 0)
        mean_score = float((scores[members] * owned[members]).sum() / area)
        segments.append(Segment(int(panoptic_of[members[0]]), int(c), 0, False, mean_score, area))

    alive_index = torch.as_tensor(panoptic_of.astype(np.int32), device=owner.device)
    panoptic = alive_index[owner].cpu().numpy().astype(np.uint16)
    confidence = (torch.cat([probability, probability.new_zeros(1)])[owner] * mask_probability).cpu().numpy()
    confidence[panoptic == VOID_PANOPTIC_ID] = 0
    return panoptic, confidence, tuple(segments)

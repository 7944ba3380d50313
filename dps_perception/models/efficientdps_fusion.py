"""From EfficientDPS' tensors to panoptic ids, dense depth and confidence (paper, Section III-C and Eq. 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from ..kernels import fusion as kernel
from ..labels import LabelSpace
from ..types import OutputGrid, Prediction
from . import plain_fusion
from .efficientdps import STRIDE
from .efficientdps_config import EfficientDPSConfig
from .fusion import Layers, assemble, visible
from .segments import FusionThresholds, Kept, score_limits


def fuse(
    tensors: Mapping[str, Tensor],
    config: EfficientDPSConfig,
    label_space: LabelSpace,
    thresholds: FusionThresholds,
    grid: OutputGrid,
    depth_scale: float = 1.0,
) -> Prediction:
    """Fuse the named tensors of one image (batch size 1; see `EfficientDPS.forward`) to a `Prediction`.

    Args:
        tensors: `class_logits` (1, N, C), `mask_logits` (1, N, h, w), optionally `depth_logits` (1, N or 1, h, w)
            and `backup_depth_logits` (1, 1, h, w).
        config: of the network.
        label_space: its classes.
        thresholds: what becomes a segment.
        grid: the output grid; mask and depth *logits* are upsampled to it bilinearly.
        depth_scale: factor on the depth for a camera whose focal length differs from the training camera's.

    Returns:
        Panoptic ids by argmax over the mask logits of the kept queries, and depth by Eq. 4 with the softmax over
        the same mask logits. A backup depth query joins that softmax with logit 0 (probability one half), so it
        speaks where no kept query covers a pixel. Without kept queries and backup, all queries share. Without
        any depth tensor, depth is NaN.
    """
    masks, depths, backup = (_maps(tensors.get(f"{n}_logits"), grid) for n in ("mask", "depth", "backup_depth"))
    assert masks is not None
    by_query = depths is not None and len(depths) == len(masks)
    kept = _kept(tensors["class_logits"][0].float(), masks, label_space, thresholds)
    queries = kept.queries
    if len(queries) == 0:  # only depth is asked for
        queries = np.arange(len(masks) if by_query and backup is None else 1)
        if by_query and backup is not None:
            depths, by_query = backup, False
    layers = Layers(masks, depths, backup, by_query, grid, STRIDE, config.max_depth_m * depth_scale)
    return assemble(layers, queries, kept, label_space, thresholds)


def _maps(logits: Tensor | None, grid: OutputGrid) -> Tensor | None:
    """(1, N, h, w) -> (N, h, w) float32 of what the image covers."""
    return None if logits is None else visible(logits[0], grid, STRIDE).float().contiguous()


def _kept(class_logits: Tensor, masks: Tensor, label_space: LabelSpace, thresholds: FusionThresholds) -> Kept:
    """The queries whose score reaches the limit of their kind; (N, C) and (N, h, w) logits.

    A score is at most its class probability, so that most queries are out before their masks are looked at.
    """
    if masks.device.type != "cpu":
        found = plain_fusion.query_scores(class_logits, masks)
        score, probability, class_id = (values.cpu().numpy() for values in found)
        queries = np.arange(len(score))
    else:
        best, best_class = class_logits.sigmoid().max(1)
        probability, class_id = best.numpy(), best_class.numpy()
        queries = np.flatnonzero(probability >= score_limits(class_id, label_space, thresholds))
        probability, class_id = probability[queries], class_id[queries]
        score = probability * kernel.mask_quality(masks.numpy(), queries)
    enough = score >= score_limits(class_id, label_space, thresholds)
    return Kept(queries[enough], class_id[enough], probability[enough], score[enough])

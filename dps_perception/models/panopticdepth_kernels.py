"""From PanopticDepth's position and kernel maps to one kernel for each thing and stuff region (paper, Section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .panopticdepth_config import INSTANCE, PanopticDepthConfig

LEVELS = (3, 4, 5, 6, 7)
"""Pyramid levels with positions and kernels, strides 8 to 128."""
POOL = {3: 3, 4: 3, 5: 3, 6: 5, 7: 5}
"""Cells a side over which a peak is averaged."""
CENTRE_SCORE, PER_LEVEL, MOST = 0.01, 100, 200
"""A peak counts as a centre from this score on; so many are looked at on each level, and in all."""
STUFF_SCORE, STUFF_MEAN = 0.4, 0.1
"""A place speaks for its best class from this probability on; a class is there from this mean on over all places whose
best it is."""


@dataclass(frozen=True)
class Kernels:
    """What convolves the embeddings: K segments to be, things by falling score, then stuff by class id.

    Attributes:
        class_id: (K,) int64.
        score: (K,) class probability.
        is_thing: (K,) bool.
        mask: (K, C) mask kernels.
        depth: (K, 18) depth kernels with shift and range before their sigmoids; None without instance depth.
    """

    class_id: Tensor
    score: Tensor
    is_thing: Tensor
    mask: Tensor
    depth: Tensor | None

    def chosen(self, places: Tensor) -> Kernels:
        """Those at these indices (int64), in their order."""
        depth = None if self.depth is None else self.depth[places]
        return Kernels(self.class_id[places], self.score[places], self.is_thing[places], self.mask[places], depth)


def find_kernels(tensors: Mapping[str, Tensor], config: PanopticDepthConfig) -> Kernels:
    """Peaks of the thing maps and regions of the stuff maps, their kernels fused, of one image (batch size 1)."""
    things, stuff = _things(tensors, config), _stuff(tensors, config)
    depth = None if things.depth is None or stuff.depth is None else torch.cat([things.depth, stuff.depth])
    return Kernels(
        torch.cat([things.class_id, stuff.class_id]),
        torch.cat([things.score, stuff.score]),
        torch.cat([things.is_thing, stuff.is_thing]),
        torch.cat([things.mask, stuff.mask]),
        depth,
    )


def _maps(tensors: Mapping[str, Tensor], name: str) -> list[Tensor]:
    """(C, h, w) float32 of each level, finest first."""
    return [tensors[f"{name}_{level}"][0].float() for level in LEVELS]


def _depth_kernels(tensors: Mapping[str, Tensor], config: PanopticDepthConfig) -> list[Tensor] | None:
    return _maps(tensors, "depth_kernels") if config.depth == INSTANCE else None


def _things(tensors: Mapping[str, Tensor], config: PanopticDepthConfig) -> Kernels:
    count = len(config.thing_classes)
    masks, depths = _maps(tensors, "thing_kernels"), _depth_kernels(tensors, config)
    scores, classes, kernels, depth_kernels = [], [], [], []
    for level, positions in enumerate(_maps(tensors, "positions")):
        raw = positions[:count].sigmoid()[None]
        side = POOL[LEVELS[level]]
        heat = (raw + F.avg_pool2d(raw, side, 1, side // 2)) / 2  # so that one of two equal neighbours is the peak
        peaks = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
        best, place = peaks.flatten().topk(min(PER_LEVEL, peaks.numel()))
        best, place = best[best >= CENTRE_SCORE], place[best >= CENTRE_SCORE]
        cells = heat[0, 0].numel()
        scores.append(best)
        classes.append(place // cells)
        kernels.append(masks[level].flatten(1)[:, place % cells].T)
        if depths is not None:
            depth_kernels.append(depths[level].flatten(1)[:, place % cells].T)
    score, order = torch.cat(scores).sort(descending=True, stable=True)
    order = order[:MOST]
    things = torch.tensor(config.thing_classes, device=order.device)
    found = Kernels(
        things[torch.cat(classes)[order]],
        score[:MOST],
        torch.ones(len(order), dtype=torch.bool, device=order.device),
        torch.cat(kernels)[order],
        None if depths is None else torch.cat(depth_kernels)[order],
    )
    return merged(found, config.similarity)


def merged(found: Kernels, similarity: float) -> Kernels:
    """Kernels of one class that point the same way become one: their mean, with the best one's score.

    Args:
        found: by falling score.
        similarity: least cosine between two that become one.
    """
    direction = F.normalize(found.mask, dim=1)
    alike = (direction @ direction.T >= similarity) & (found.class_id[:, None] == found.class_id)
    same = alike.cpu().numpy()
    free = np.ones(len(same), bool)
    firsts: list[int] = []
    groups = np.zeros(same.shape, np.float32)
    for k in range(len(same)):
        if free[k]:
            members = same[k] & free
            members[k] = True  # a kernel of zeros has no direction
            free &= ~members
            groups[len(firsts), members] = 1 / np.count_nonzero(members)
            firsts.append(k)
    mean = torch.from_numpy(groups[: len(firsts)]).to(found.mask)
    chosen = torch.tensor(firsts, dtype=torch.long, device=found.mask.device)
    depth = None if found.depth is None else mean @ found.depth
    return Kernels(found.class_id[chosen], found.score[chosen], found.is_thing[chosen], mean @ found.mask, depth)


def _stuff(tensors: Mapping[str, Tensor], config: PanopticDepthConfig) -> Kernels:
    """Eq. 1: the mean kernel over all places that speak for a class, on all levels; or, without adaptive kernel fusion,
    the mean of the levels' means. The score is the mean probability of the class over the places whose best it is."""
    first = len(config.thing_classes)
    masks, depths = _maps(tensors, "stuff_kernels"), _depth_kernels(tensors, config)
    number = config.num_classes
    weights, sums, sure, places = [], [], masks[0].new_zeros(number), masks[0].new_zeros(number)
    for level, positions in enumerate(_maps(tensors, "positions")):
        probability, best = positions[first:].sigmoid().flatten(1).max(0)
        region = F.one_hot(best, number).T.to(probability)  # (classes, places)
        sure, places = sure + region @ probability, places + region.sum(1)
        region = region * (probability >= STUFF_SCORE)
        columns = [masks[level].flatten(1)] + ([] if depths is None else [depths[level].flatten(1)])
        weights.append(region.sum(1))
        sums.append(region @ torch.cat(columns).T)
    weight, total = torch.stack(weights), torch.stack(sums)  # (levels, classes), (levels, classes, values)
    if not config.kernel_fusion:
        total = total / weight.clamp(min=1)[..., None]
        weight = (weight > 0).to(total)
    mean, score = total.sum(0) / weight.sum(0).clamp(min=1)[:, None], sure / places.clamp(min=1)
    is_stuff = torch.ones(number, dtype=torch.bool, device=mean.device)
    is_stuff[list(config.thing_classes)] = False
    chosen = ((weight.sum(0) > 0) & is_stuff & (score >= STUFF_MEAN)).nonzero()[:, 0]
    width = masks[0].shape[0]
    return Kernels(
        chosen,
        score[chosen],
        torch.zeros(len(chosen), dtype=torch.bool, device=mean.device),
        mean[chosen, :width],
        None if depths is None else mean[chosen, width:],
    )

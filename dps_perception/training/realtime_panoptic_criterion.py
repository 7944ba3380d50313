"""Real-Time Panoptic's training objective (paper, Sections 4.1 to 4.3 and 5.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, sigmoid_focal_loss

from ..labels import VOID_CLASS_ID
from ..models.realtime_panoptic_boxes import absolute_boxes, dense_boxes, find_queries, locations
from ..models.realtime_panoptic_boxes import box_iou as iou_at_places
from ..models.realtime_panoptic_config import STRIDES, RealtimePanopticConfig
from .losses import depth_from_logits, depth_loss
from .per_image import PerImageCriterion
from .targets import STRIDE, Targets

LARGEST = {3: 64.0, 4: 128.0, 5: 256.0, 6: 512.0, 7: float("inf")}
"""A place belongs to the level where the largest distance to its box's edges is at most this, and more than the level
before allows (Eq. 9); pixels of the input, as in FCOS."""
WORST = 0.3
"""Share of the pixels that the semantic loss looks at: those that are worst."""
PROPOSALS = 20
"""Query boxes of an image that the mask loss looks at, chosen anew each time."""
IGNORE = -100
MOST_SEGMENTS = 200
"""Segments of an image that are targets at most."""


@dataclass(frozen=True)
class RealtimePanopticLosses:
    """Weights of Eq. 19.

    Attributes:
        boxes, centreness, levelness, classification, semantics, mask: the paper's terms, all 1 there (0.4 for semantics
            on COCO).
        depth: of the dense depth map (ours).
        weakly_supervised: learn from boxes instead of instance masks (Section 5.6): what is inside a box is foreground,
            and there is no mask loss.
    """

    boxes: float = 1.0
    centreness: float = 1.0
    levelness: float = 1.0
    classification: float = 1.0
    semantics: float = 1.0
    mask: float = 1.0
    depth: float = 1.0
    weakly_supervised: bool = False


@dataclass(frozen=True)
class Places:
    """What the places of one grid should say: n places.

    Attributes:
        owner: (n,) index of the thing each place belongs to, -1 background, -2 unknown.
        distances: (n, 4) to the edges of its box (Eq. 8), meaningful where owned.
    """

    owner: Tensor
    distances: Tensor

    @property
    def centreness(self) -> Tensor:
        """(n,) Eq. 10."""
        left, top, right, bottom = self.distances.clamp(min=1e-6).unbind(1)
        across = torch.minimum(left, right) / torch.maximum(left, right)
        return (across * torch.minimum(top, bottom) / torch.maximum(top, bottom)).sqrt()


def places_of(target: Targets, things: Tensor, x: Tensor, y: Tensor, size: Sequence[int], weakly: bool) -> Places:
    """Assign every place of a grid to a thing.

    Args:
        target: of the image.
        things: (N,) indices of the segments that are things.
        x, y: (w,), (h,) of the grid's columns and rows, pixels of the input.
        size: (H, W) of the input.
        weakly: by boxes (the smallest that holds the place) instead of masks.
    """
    number = -torch.ones(len(target.classes) + 1, dtype=torch.long, device=x.device)
    number[things] = torch.arange(len(things), device=x.device)
    boxes = target.boxes[things]
    px, py = (v.expand(len(y), len(x)).flatten() for v in (x[None], y[:, None]))
    if weakly:
        inside = (px[:, None] >= boxes[:, 0]) & (px[:, None] < boxes[:, 2])
        inside &= (py[:, None] >= boxes[:, 1]) & (py[:, None] < boxes[:, 3])
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).expand(len(px), -1)
        area = area.masked_fill(~inside, float("inf"))
        owner = torch.full_like(px, -1, dtype=torch.long)
        if len(boxes):
            smallest, which = area.min(1)
            owner = torch.where(smallest.isfinite(), which, owner)
    else:
        rows = (py * target.segment.shape[0] / size[0]).long().clamp(max=target.segment.shape[0] - 1)
        columns = (px * target.segment.shape[1] / size[1]).long().clamp(max=target.segment.shape[1] - 1)
        owner = number[target.segment[rows, columns]]  # -1, the last, of what is no segment
    cells = (
        (py / STRIDE).long().clamp(max=target.valid.shape[0] - 1),
        (px / STRIDE).long().clamp(max=target.valid.shape[1] - 1),
    )
    owner = torch.where((owner < 0) & (target.valid[cells] == 0), -2, owner)
    if not len(boxes):
        return Places(owner, boxes.new_zeros((len(owner), 4)))
    box = boxes[owner.clamp(min=0)]
    distances = torch.stack([px - box[:, 0], py - box[:, 1], box[:, 2] - px, box[:, 3] - py], 1)
    return Places(owner, distances)


class RealtimePanopticCriterion(PerImageCriterion[RealtimePanopticConfig, RealtimePanopticLosses]):
    """Losses of a batch; from images without labels only depth is learnt.

    The focal loss of the box classes is summed over all places and divided by the number of positives, as in FCOS, on
    which the paper builds, per image. Divided by the number of all places, as the paper words it, it would hardly count
    beside the other terms.
    """

    def _image(self, outputs: Mapping[str, Tensor], target: Targets) -> dict[str, Tensor]:
        return self._depth(outputs, target) | (self._labels(outputs, target) if target.labelled else {})

    def _labels(self, own: Mapping[str, Tensor], target: Targets) -> dict[str, Tensor]:
        index = {class_id: i for i, class_id in enumerate(self.config.thing_classes)}
        classes = target.classes.tolist()
        things = torch.tensor([k for k, c in enumerate(classes) if c in index], dtype=torch.long)
        things = things.to(target.classes.device)
        class_index = torch.tensor([index[classes[k]] for k in things.tolist()], device=things.device).long()
        size = [n * STRIDE for n in target.valid.shape]
        boxes, centres, found = [], [], 0
        classification = own["boxes_3"].new_zeros(())
        least = 0.0
        for level, stride in STRIDES.items():
            maps = own[f"boxes_{level}"]
            x, y = locations(maps.shape[2], maps.shape[3], stride, maps.device)
            places = places_of(target, things, x, y, size, self.weights.weakly_supervised)
            mine = places.owner >= 0
            farthest = places.distances.amax(1)
            mine &= (farthest <= LARGEST[level]) & (farthest > least) & (places.distances.amin(1) > 0)
            least = LARGEST[level]
            one_hot = maps.new_zeros((len(mine), len(self.config.thing_classes)))
            if len(things):
                one_hot[mine] = F.one_hot(class_index[places.owner[mine]], one_hot.shape[1]).to(one_hot)
            logits = own[f"box_classes_{level}"][0].flatten(1).T
            known = places.owner != -2
            classification = classification + sigmoid_focal_loss(
                logits[known], one_hot[known], alpha=0.25, gamma=2.0, reduction="sum"
            )
            found += int(mine.sum())
            if mine.any():
                predicted = absolute_boxes(maps, stride)[0].flatten(1)[:, mine].T
                wanted = target.boxes[things][places.owner[mine]]
                boxes.append(-_paired_iou(predicted, wanted).clamp(min=1e-6).log().sum())
                centre = own[f"centreness_{level}"][0, 0].flatten()[mine]
                centres.append(F.binary_cross_entropy_with_logits(centre, places.centreness[mine], reduction="sum"))
        number, none = max(1, found), classification * 0
        terms = {
            "classification": classification / number,
            "boxes": torch.stack(boxes).sum() / number if boxes else none,
            "centreness": torch.stack(centres).sum() / number if centres else none,
            "semantics": worst_cross_entropy(own["semantic_logits"], target.semantic, WORST),
        }
        if self.config.levelness:
            terms["levelness"] = self._levelness(own, target, things, size)
        if not self.weights.weakly_supervised and len(things):
            terms["mask"] = self._mask(own, target, things)
        return terms

    def _levelness(self, own: Mapping[str, Tensor], target: Targets, things: Tensor, size: Sequence[int]) -> Tensor:
        """Eq. 13: each pixel's level by the box that it belongs to, 0 for background."""
        logits = own["levelness"]
        x, y = ((torch.arange(n, device=logits.device) + 0.5) * STRIDE for n in (logits.shape[3], logits.shape[2]))
        places = places_of(target, things, x, y, size, self.weights.weakly_supervised)
        farthest = places.distances.amax(1)
        bounds = torch.tensor([bound for bound in LARGEST.values()][:-1], device=logits.device)
        level = torch.where(places.owner >= 0, 1 + torch.bucketize(farthest, bounds), 0)
        level = level.masked_fill(places.owner == -2, IGNORE).unflatten(0, logits.shape[2:])
        return _or_zero(F.cross_entropy(logits, level[None], ignore_index=IGNORE), logits)

    def _mask(self, own: Mapping[str, Tensor], target: Targets, things: Tensor) -> Tensor:
        """Eq. 16 to 18 for some of the query boxes, each with the thing whose box it overlaps most."""
        with torch.no_grad():
            proposals = find_queries(own, self.config).boxes
            chosen = torch.randperm(len(proposals))[:PROPOSALS].to(proposals.device)
            proposals = proposals[chosen]
        if not len(proposals):
            return own["boxes_3"].sum() * 0
        share, which = box_iou(proposals, target.boxes[things]).max(1)
        inside = (target.masks[things].float() / STRIDE**2)[which]
        size = (int(target.valid.shape[0]), int(target.valid.shape[1]))
        iou = iou_at_places(dense_boxes(own, size)[0], proposals)
        known = target.valid.float() / STRIDE**2
        wrong = (iou * (1 - inside) * known).sum((1, 2)) + ((1 - iou) * inside).sum((1, 2))
        return (share / inside.sum((1, 2)).clamp(min=1) * wrong).mean()

    def _depth(self, own: Mapping[str, Tensor], target: Targets) -> dict[str, Tensor]:
        usable = target.depth_m.isfinite()
        if not self.config.depth or not usable.any():
            return {}
        logits = F.interpolate(own["depth_logits"], target.depth_m.shape, mode="bilinear", align_corners=False)
        return {
            "depth": depth_loss(
                depth_from_logits(logits[0, 0][usable], self.config.max_depth_m), target.depth_m[usable]
            )
        }


def kept_values(config: RealtimePanopticConfig, weights: RealtimePanopticLosses, cells: int) -> int:
    """Float32 numbers of an image that the losses keep, with so many cells of stride 4: a dozen copies of the overlaps
    of places with query boxes (of each level, where levelness does not choose), three of the class probabilities."""
    proposals = 0 if weights.weakly_supervised else PROPOSALS * (1 if config.levelness else len(STRIDES))
    return (12 * proposals + 3 * config.num_classes) * cells


def worst_cross_entropy(logits: Tensor, semantic: Tensor, share: float) -> Tensor:
    """Cross-entropy over the worst share of the pixels: (1, C, h, w) logits, (H, W) class ids with void 255."""
    up = F.interpolate(logits, semantic.shape, mode="bilinear", align_corners=False)
    each = F.cross_entropy(up, semantic[None], ignore_index=VOID_CLASS_ID, reduction="none")[
        semantic[None] != VOID_CLASS_ID
    ]
    if not len(each):
        return logits.sum() * 0
    return each.topk(max(1, int(share * len(each)))).values.mean()


def _paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (n, 4) with boxes (n, 4), pair by pair."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inside = (high - low).clamp(min=0).prod(1)
    areas = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    return inside / (areas - inside).clamp(min=1e-6)


def _or_zero(value: Tensor, like: Tensor) -> Tensor:
    """`value`, or zero with a gradient where it is the mean of nothing."""
    return like.sum() * 0 if value.isnan() else value

"""Panoptic teachers: Mask2Former, MaskFormer, OneFormer and EoMT. Their queries are merged here, in one way for all.

A pixel's confidence is the probability of the query's class times that of its mask there; the query with the highest
owns the pixel, and below `min_confidence` nobody does. A query of which others own more than a fifth is dropped
altogether, as in the networks' own post-processing (`OVERLAP`). That is not used because it squeezes masks to 384x384
in some families, and merges stuff so that the next segment may get an id twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelLoadError
from .hub import guarded, library, load_config, load_network

FAMILIES = ("mask2former", "maskformer", "oneformer", "eomt", "eomt_dinov3")
OVERLAP = 0.8
"""Share of a mask's pixels that must be its own for it to be a segment."""


@dataclass(frozen=True)
class TeacherSegments:
    """What a teacher sees, on the image's pixel grid.

    Attributes:
        class_id: (H, W) int64, place in the teacher's classes; -1 where it is not sure.
        number: (H, W) int64, 1.. for each segment, 0 for none. Two segments of one stuff class are possible.
    """

    class_id: NDArray[np.int64]
    number: NDArray[np.int64]


class PanopticTeacher:
    """A panoptic network and its image processor.

    Attributes:
        names: of its classes, by class id.
        identity: which network it is.

    Args:
        name: hub name, or a folder that `save_pretrained` wrote.
        device: where it runs.
        min_confidence: pixels below it get no class.

    Raises:
        ConfigError: transformers is not installed.
        ModelLoadError: it can't be loaded, or is no panoptic network.
    """

    def __init__(self, name: str, device: torch.device, min_confidence: float) -> None:
        transformers = library()
        config = load_config(name, "panoptic", FAMILIES)
        self._processor = _processor(name, config)
        if getattr(self._processor, "do_split_image", False):
            raise ModelLoadError(
                f"panoptic teacher '{name}' was trained for semantic segmentation (its processor splits images); "
                "give a panoptic one, e.g. tue-mps/coco_panoptic_eomt_large_640"
            )
        network, self.identity = load_network(transformers.AutoModelForUniversalSegmentation, name, "panoptic", config)
        self._network = network.to(device)
        self._device, self._min_confidence = device, min_confidence
        self.names = tuple(str(config.id2label[i]) for i in range(len(config.id2label)))

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> TeacherSegments:
        """Segments of an image (H, W, 3) uint8."""
        size = (rgb.shape[0], rgb.shape[1])
        more = {"task_inputs": ["panoptic"]} if hasattr(self._processor, "tokenizer") else {}
        inputs = self._processor(
            images=np.array(rgb), return_tensors="pt", **more
        )  # a copy: bags give read-only pixels
        content = self._content(inputs, size)
        used = {k: v.to(self._device) for k, v in inputs.items() if isinstance(v, Tensor)}
        outputs = self._network(**used)
        return merge(
            outputs.class_queries_logits[0].float(),
            outputs.masks_queries_logits[0].float(),
            size,
            self._min_confidence,
            padded=(tuple(used["pixel_values"].shape[-2:]), content),
        )

    def _content(self, inputs: Any, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the network's input that hold the image; the rest, right and below, is padding."""
        mask = inputs.get("pixel_mask")
        if mask is not None:
            return int(mask[0].any(1).sum()), int(mask[0].any(0).sum())
        if getattr(self._processor, "do_pad", False):
            from transformers.image_transforms import get_size_with_aspect_ratio

            side = self._processor.size
            return get_size_with_aspect_ratio(size_hw, side["shortest_edge"], side["longest_edge"])
        return tuple(inputs["pixel_values"].shape[-2:])


def _processor(name: str, config: Any) -> Any:
    """The image processor; OneFormer's with the tokenizer of its task."""
    transformers = library()
    if config.model_type != "oneformer":
        return guarded(name, "panoptic", transformers.AutoImageProcessor.from_pretrained, name)
    # The file of class names is only for training, and lies elsewhere on the hub: it would need the network again.
    images = guarded(name, "panoptic", transformers.AutoImageProcessor.from_pretrained, name, class_info_file=None)
    tokenizer = guarded(name, "panoptic", transformers.AutoTokenizer.from_pretrained, name)
    length = config.task_seq_len
    return transformers.OneFormerProcessor(images, tokenizer, max_seq_length=length, task_seq_length=length)


def merge(
    class_logits: Tensor,
    mask_logits: Tensor,
    size_hw: tuple[int, int],
    min_confidence: float,
    padded: tuple[tuple[int, ...], tuple[int, int]] | None = None,
) -> TeacherSegments:
    """Queries to segments, see the module's description.

    Args:
        class_logits: (Q, C + 1), the last for "no object".
        mask_logits: (Q, h, w) of the network's input.
        size_hw: of the image.
        min_confidence: 0..1.
        padded: size of the network's input, and the part of it, top left, that holds the image; None: all of it.
    """
    scores, classes = class_logits.softmax(-1).max(-1)
    kept = torch.nonzero((classes < class_logits.shape[1] - 1) & (scores >= min_confidence)).flatten().tolist()
    best = torch.zeros(size_hw, device=mask_logits.device)
    owner = torch.zeros(size_hw, dtype=torch.long, device=mask_logits.device)
    areas = []
    for number, query in enumerate(kept, start=1):  # one by one: hundreds of full-size masks would not fit
        mask = _resized(mask_logits[query], size_hw, padded).sigmoid()
        areas.append(int((mask >= 0.5).sum()))
        confidence = scores[query] * mask
        wins = confidence > best
        best = torch.where(wins, confidence, best)
        owner[wins] = number
    score_of = torch.cat([scores.new_zeros(1), scores[kept]])
    inside = best >= 0.5 * score_of[owner]
    own = torch.bincount(owner[inside], minlength=len(kept) + 1).tolist()
    dropped = [n for n, area in enumerate(areas, start=1) if not area or own[n] < OVERLAP * area]
    owner[best < min_confidence] = 0
    if dropped:
        owner[torch.isin(owner, torch.tensor(dropped, device=owner.device))] = 0
    class_of = torch.tensor([-1, *(int(classes[q]) for q in kept)], device=owner.device)
    return TeacherSegments(class_of[owner].cpu().numpy(), owner.cpu().numpy())


def _resized(mask: Tensor, size_hw: tuple[int, int], padded: tuple[tuple[int, ...], tuple[int, int]] | None) -> Tensor:
    """Mask logits (h, w) on the image's pixel grid, bilinear."""
    mask = mask[None, None]
    if padded is not None and tuple(padded[0]) != tuple(padded[1]):
        (rows, columns) = padded[1]
        mask = F.interpolate(mask, size=tuple(padded[0]), mode="bilinear", align_corners=False)[..., :rows, :columns]
    return F.interpolate(mask, size=size_hw, mode="bilinear", align_corners=False)[0, 0]

"""Label spaces and the one panoptic encoding used everywhere inside the package.

panoptic id = class id * 256 + instance id. Stuff has instance 0, things have 1..255. A *thing* class with
instance 0 marks a crowd (a group whose members were not told apart): it is ignored in training and forgiven in
evaluation. Void is class 255, panoptic id 65535. Files with other encodings are converted where they are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

LABEL_DIVISOR = 256
VOID_CLASS_ID = 255
VOID_PANOPTIC_ID = 65535
MAX_INSTANCE_ID = 255


@dataclass(frozen=True)
class ClassInfo:
    """One semantic class; `color` is RGB in 0..255."""

    name: str
    is_thing: bool
    color: tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """Ordered semantic classes; a class id is the index into `classes`."""

    name: str
    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.classes) < VOID_CLASS_ID:
            raise ConfigError(
                f"label space '{self.name}' has {len(self.classes)} classes; 1 to {VOID_CLASS_ID - 1} fit"
            )
        for known in self.classes:
            if not all(0 <= part <= 255 for part in known.color):
                raise ConfigError(
                    f"label space '{self.name}': class '{known.name}' has color {known.color}; 0 to 255 fit"
                )

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    @cached_property
    def is_thing(self) -> NDArray[np.bool_]:
        """(C,) bool."""
        return np.array([c.is_thing for c in self.classes])

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """(256, 3) RGB look-up table by class id; unknown ids and void are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.classes)] = [c.color for c in self.classes]
        return table

    @cached_property
    def thing_table(self) -> NDArray[np.bool_]:
        """(256,) look-up table by class id; unknown ids and void are no things."""
        table = np.zeros(256, bool)
        table[: len(self.classes)] = self.is_thing
        return table

    def is_instance(self, panoptic: NDArray[Any]) -> NDArray[np.bool_]:
        """Which panoptic ids are one thing, told apart from others."""
        return self.thing_table[panoptic // LABEL_DIVISOR] & (panoptic % LABEL_DIVISOR > 0)

    def is_crowd(self, panoptic: NDArray[Any]) -> NDArray[np.bool_]:
        """Which panoptic ids are things that were not told apart."""
        return self.thing_table[panoptic // LABEL_DIVISOR] & (panoptic % LABEL_DIVISOR == 0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "classes": [{"name": c.name, "is_thing": c.is_thing, "color": list(c.color)} for c in self.classes],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSpace:
        try:
            classes = tuple(
                ClassInfo(
                    str(c["name"]), bool(c["is_thing"]), (int(c["color"][0]), int(c["color"][1]), int(c["color"][2]))
                )
                for c in data["classes"]
            )
            return cls(str(data["name"]), classes)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ConfigError(
                f"label space is not {{name, classes: [{{name, is_thing, color}}]}}: {error!r}"
            ) from error


def pack(class_id: NDArray[Any] | int, instance_id: NDArray[Any] | int) -> NDArray[np.uint16]:
    """Panoptic ids (uint16) of class ids and instance ids (broadcast together); class 255 becomes void."""
    class_id = np.asarray(class_id, np.int64)
    panoptic = class_id * LABEL_DIVISOR + np.asarray(instance_id, np.int64)
    packed = np.where(class_id == VOID_CLASS_ID, VOID_PANOPTIC_ID, panoptic)
    return packed.astype(np.uint16)


def unpack(panoptic: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(class ids, instance ids) as uint8 arrays; void gives class 255, instance 0."""
    panoptic = np.asarray(panoptic)
    class_id = (panoptic // LABEL_DIVISOR).astype(np.uint8)
    instance_id = (panoptic % LABEL_DIVISOR).astype(np.uint8)
    instance_id[class_id == VOID_CLASS_ID] = 0
    return class_id, instance_id


def _table(name: str) -> LabelSpace:
    """Label space of `label_tables/<name>.json`; what a file of the package says is never the user's mistake."""
    return LabelSpace.from_dict(json.loads((Path(__file__).parent / "label_tables" / f"{name}.json").read_text()))


CITYSCAPES = _table("cityscapes")
"""The 19 evaluated Cityscapes classes in trainId order (the street world uses them too)."""

SEMKITTI_DVPS = _table("semkitti_dvps")
"""The 19 classes of SemKITTI-DVPS in the order of its files; colours of SemanticKITTI (published there as BGR)."""

COCO_PANOPTIC = _table("coco_panoptic")
"""80 things, then 53 stuff classes, in the order of COCO's panoptic categories; class ids are places in that order."""

MAPILLARY_VISTAS = _table("mapillary_vistas")
"""The 65 evaluated classes (37 things) of Mapillary Vistas v1.2 in the order of its config file."""

LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space for space in (CITYSCAPES, SEMKITTI_DVPS, COCO_PANOPTIC, MAPILLARY_VISTAS)
}

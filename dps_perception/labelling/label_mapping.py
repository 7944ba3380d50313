"""A teacher's classes as those of a label space, by a written table.

A table is JSON: `{"from": name, "to": label space, "note": ..., "classes": {class: [teacher's classes]},
"crowd": [...], "void": [...]}`. Those under "void" are void knowingly; any class that a table does not name is void
too, and named aloud. Those under "crowd" are stuff to the teacher but things here: their pixels become a crowd
(instance 0). Names are compared without case, without COCO's endings "-merged", "-other" and "-stuff", and up to the
first comma ("road, route"), since teachers' configs write them in several ways.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import labels
from ..data.panoptic_ids import panoptic_of
from ..errors import ConfigError, nearest
from ..labels import VOID_CLASS_ID, LabelSpace
from .panoptic_teacher import TeacherSegments

TABLES = Path(labels.__file__).parent / "label_tables" / "teachers"
_KEYS = {"from", "to", "note", "classes", "crowd", "void"}
_ENOUGH = 0.9


@dataclass(frozen=True)
class LabelMapping:
    """What each class of a teacher becomes.

    Attributes:
        table: name of the table, or its file.
        label_space: the classes it leads to.
        class_id: (K,) uint8 for each of the teacher's classes, 255 void.
        crowd: (K,) whether its segments may hold several things.
        unnamed: classes of the teacher that the table does not name; they are void.
    """

    table: str
    label_space: LabelSpace
    class_id: NDArray[np.uint8]
    crowd: NDArray[np.bool_]
    unnamed: tuple[str, ...]

    def panoptic(self, segments: TeacherSegments) -> NDArray[np.uint16]:
        """(H, W) uint16 panoptic ids; void where the teacher is not sure or the class is void."""
        class_id = np.append(self.class_id, VOID_CLASS_ID).astype(np.uint8)[segments.class_id]
        crowd = np.append(self.crowd, False)[segments.class_id]
        return panoptic_of(class_id, np.where(crowd, 0, segments.number), self.label_space)

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """For the record: what each class of the teacher, whose names these are, became."""
        place = [*self.label_space.names, *[None] * (256 - len(self.label_space))]
        return {
            "table": self.table,
            "classes": {name: place[i] for name, i in zip(names, self.class_id.tolist(), strict=True)},
            "crowd": [name for name, crowd in zip(names, self.crowd.tolist(), strict=True) if crowd],
        }


def fold(name: str) -> str:
    """A class name in the form in which names are compared."""
    return re.sub(r"(-other)?-merged$|-other$|-stuff$", "", name.split(",")[0].strip().lower())


def mapping_for(names: Sequence[str], label_space: LabelSpace, table: Path | None = None) -> LabelMapping:
    """The mapping of a teacher with these classes.

    Args:
        names: of the teacher's classes, by class id.
        label_space: the classes wanted.
        table: the user's own table; None takes the shipped one that fits, or the names themselves where they agree.

    Raises:
        ConfigError: no table fits, or `table` is wrong: not JSON, unknown keys or names, a class named twice.
    """
    if table is not None:
        return _mapping(str(table), _read(table), names, label_space, own=True)
    teacher = {fold(name) for name in names}
    wanted = {fold(name) for name in label_space.names}
    if len(teacher & wanted) >= _ENOUGH * max(len(teacher), len(wanted)):
        same = [name for name in label_space.names if fold(name) in teacher]
        identity = {"to": label_space.name, "classes": {name: [name] for name in same}}
        return _mapping(f"the names of {label_space.name}", identity, names, label_space)
    for path in sorted(TABLES.glob(f"*_to_{label_space.name}.json")):
        content = _read(path)
        if len(teacher & _named(content)) >= _ENOUGH * len(teacher):
            return _mapping(path.stem, content, names, label_space)
    known = ", ".join(path.stem for path in sorted(TABLES.glob("*.json")))
    raise ConfigError(
        f"no table leads from the teacher's {len(names)} classes ({', '.join(names[:5])}, ...) to label space "
        f"'{label_space.name}'; there are {known}, and label spaces map to themselves. Write one and give it as "
        "--label-table (docs/labels.md), or take another --label-space"
    )


def _mapping(
    title: str, content: Mapping[str, Any], names: Sequence[str], label_space: LabelSpace, own: bool = False
) -> LabelMapping:
    """The mapping that a table says; of the user's own every name must exist."""
    if content["to"] != label_space.name:
        raise ConfigError(f"label table '{title}' leads to '{content['to']}', wanted is '{label_space.name}'")
    teacher = {fold(name) for name in names}
    target: dict[str, int] = {}
    for class_name, sources in content["classes"].items():
        if class_name not in label_space.names:
            raise ConfigError(
                f"label table '{title}': label space '{label_space.name}' has no class "
                f"'{class_name}'{nearest(class_name, label_space.names)}"
            )
        for source in sources:
            if target.setdefault(fold(source), label_space.names.index(class_name)) != label_space.names.index(
                class_name
            ):
                raise ConfigError(f"label table '{title}' names the teacher's class '{source}' twice")
    void, crowd = ({fold(name) for name in content.get(key, ())} for key in ("void", "crowd"))
    if twice := sorted(void & target.keys()):
        raise ConfigError(f"label table '{title}' has '{twice[0]}' under a class and under void")
    if own:
        for name in _all_names(content):
            if fold(name) not in teacher:
                raise ConfigError(f"label table '{title}': the teacher has no class '{name}'{nearest(name, names)}")
    return LabelMapping(
        title,
        label_space,
        np.array([target.get(fold(name), VOID_CLASS_ID) for name in names], np.uint8),
        np.array([fold(name) in crowd for name in names]),
        tuple(name for name in names if fold(name) not in target and fold(name) not in void),
    )


def _read(path: Path) -> Mapping[str, Any]:
    """A table of the right form."""
    try:
        content = json.loads(path.read_text())
        unknown = sorted(set(content) - _KEYS)
        if unknown:
            raise ConfigError(f"label table '{path}': unknown key '{unknown[0]}'{nearest(unknown[0], _KEYS)}")
        lists = [*content["classes"].values(), content.get("crowd", []), content.get("void", [])]
        if not all(isinstance(group, list) and all(isinstance(n, str) for n in group) for group in lists):
            raise TypeError("names must stand in lists")
        content["to"] = str(content["to"])
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"label table '{path}' can't be read ({error!r}); its form is "
            '{"to": "cityscapes", "classes": {"road": ["road", "bike lane"]}, "void": ["boat"]}'
        ) from error
    return content


def _all_names(content: Mapping[str, Any]) -> Iterable[str]:
    for group in content["classes"].values():
        yield from group
    yield from content.get("crowd", ())
    yield from content.get("void", ())


def _named(content: Mapping[str, Any]) -> set[str]:
    return {fold(name) for name in _all_names(content)}

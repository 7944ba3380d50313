"""Other people's class and instance numbers as our panoptic ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..labels import MAX_INSTANCE_ID, LabelSpace, pack


def panoptic_of(class_id: NDArray[Any], instance: NDArray[Any], label_space: LabelSpace) -> NDArray[np.uint16]:
    """Panoptic ids (H, W) of class ids (255 void) and instance numbers of any size (0 of a thing: crowd).

    Stuff gets instance 0. A class with an instance number above 255 has its instances numbered anew, the largest
    first; where it has more than 255 of them, the largest 255 stay and the others become crowd.
    """
    thing = np.append(label_space.is_thing, np.zeros(256 - len(label_space), bool))[class_id]
    number = np.where(thing, instance, 0).astype(np.int64)
    for surplus in np.unique(class_id[number > MAX_INSTANCE_ID]):
        inside = (class_id == surplus) & (number > 0)
        _, place, area = np.unique(number[inside], return_inverse=True, return_counts=True)
        rank = np.empty(len(area), np.int64)
        rank[np.argsort(-area, kind="stable")] = np.arange(1, len(area) + 1)
        number[inside] = np.where(rank <= MAX_INSTANCE_ID, rank, 0)[place.reshape(-1)]
    return pack(class_id, number)


def refuse(path: Path, values: NDArray[Any], wrong: NDArray[np.bool_], allowed: str) -> None:
    """Check label values.

    Raises:
        DatasetError: some are wrong; names the file, the first such value, its place and what is allowed.
    """
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DatasetError(
            f"{path}: value {values[row, column]} at row {row}, column {column} "
            f"({np.count_nonzero(wrong)} such pixels); allowed: {allowed}"
        )

"""The regions of a panoptic image as runs of equal ids: areas, boxes and run-length masks; pixels are read once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..labels import VOID_PANOPTIC_ID
from .bands import as_input, compiled, in_bands

_IDS = 1 << 16
_VOID = VOID_PANOPTIC_ID


@dataclass(frozen=True)
class Regions:
    """All K regions of an image but void, in order of their ids, and their R runs.

    Attributes:
        ids: (K,) int64 panoptic ids.
        areas: (K,) int64 pixels.
        boxes: (K, 4) int64 top, left, bottom, right: tight and half-open.
        first: (K + 1,) int64; the runs of region k are first[k]..first[k + 1], row-major.
        starts: (R,) int32 index of each run's first pixel, row-major in the whole image; a run stays in one row.
        lengths: (R,) int32 pixels of each run.
        width: of the image.
    """

    ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]
    starts: NDArray[np.int32]
    lengths: NDArray[np.int32]
    width: int

    def __len__(self) -> int:
        return len(self.ids)


def regions(panoptic: NDArray[np.uint16]) -> Regions:
    """The regions of (H, W) uint16 panoptic ids."""
    panoptic = as_input(panoptic, np.uint16)
    height, width = panoptic.shape
    first = np.zeros(height + 1, np.int64)
    in_bands(_count_runs, height, panoptic, first)
    np.cumsum(first, out=first)
    starts, ids = np.empty(first[-1], np.int32), np.empty(first[-1], np.uint16)
    in_bands(_find_runs, height, panoptic, first, starts, ids)
    region_ids, areas, boxes, of_region, starts, lengths = _group(starts, ids, first, width)
    return Regions(region_ids, areas, boxes, of_region, starts, lengths, width)


def run_lengths(found: Regions) -> list[NDArray[np.uint32]]:
    """For each region the runs inside its box, background first, row-major; they sum to the box's height * width."""
    counts = np.empty(2 * len(found.starts) + len(found), np.uint32)
    ends = np.empty(len(found) + 1, np.int64)
    _run_lengths(found.boxes, found.first, found.starts, found.lengths, found.width, counts, ends)
    return [counts[begin:end] for begin, end in itertools.pairwise(ends)]


@compiled
def _count_runs(band, begin, end, panoptic, counts):  # type: ignore[no-untyped-def]
    """Write how many runs each row has to counts[row + 1]."""
    for row in range(begin, end):
        number = 1
        for column in range(1, panoptic.shape[1]):
            number += panoptic[row, column] != panoptic[row, column - 1]
        counts[row + 1] = number


@compiled
def _find_runs(band, begin, end, panoptic, first, starts, ids):  # type: ignore[no-untyped-def]
    """Write start and id of all runs of each row from place first[row] on."""
    width = panoptic.shape[1]
    eights = (width + 7) // 8
    changes = np.zeros(8 * eights, np.uint8)
    together = changes.view(np.uint64)
    for row in range(begin, end):
        place = first[row]
        starts[place], ids[place] = row * width, panoptic[row, 0]
        for column in range(1, width):
            changes[column] = panoptic[row, column] != panoptic[row, column - 1]
        for eight in range(eights):
            if together[eight] == 0:
                continue
            for column in range(8 * eight, min(8 * eight + 8, width)):
                if changes[column]:
                    place += 1
                    starts[place], ids[place] = row * width + column, panoptic[row, column]


@compiled
def _group(starts, ids, first, width):  # type: ignore[no-untyped-def]
    """Sort the runs of all rows by id: the fields of `Regions`."""
    rows, runs = first.size - 1, starts.size
    index = np.full(_IDS, -1, np.int32)
    for run in range(runs):
        index[ids[run]] = 0
    index[_VOID] = -1
    number = 0
    for id_ in range(_IDS):
        if index[id_] == 0:
            index[id_] = number
            number += 1
    region_ids, areas = np.empty(number, np.int64), np.zeros(number, np.int64)
    boxes, of_region = np.zeros((number, 4), np.int64), np.zeros(number + 1, np.int64)
    for id_ in range(_IDS):
        if index[id_] >= 0:
            region_ids[index[id_]] = id_
    for row in range(rows):
        for run in range(first[row], first[row + 1]):
            k = index[ids[run]]
            if k < 0:
                continue
            left = starts[run] - row * width
            right = (starts[run + 1] if run + 1 < runs else rows * width) - row * width
            if areas[k] == 0:
                boxes[k, 0], boxes[k, 1] = row, left
            boxes[k, 1] = min(boxes[k, 1], left)
            boxes[k, 2] = row + 1
            boxes[k, 3] = max(boxes[k, 3], right)
            areas[k] += right - left
            of_region[k + 1] += 1
    for k in range(number):
        of_region[k + 1] += of_region[k]
    place = of_region.copy()
    sorted_starts, lengths = np.empty(of_region[number], np.int32), np.empty(of_region[number], np.int32)
    for run in range(runs):
        k = index[ids[run]]
        if k >= 0:
            sorted_starts[place[k]] = starts[run]
            lengths[place[k]] = (starts[run + 1] if run + 1 < runs else rows * width) - starts[run]
            place[k] += 1
    return region_ids, areas, boxes, of_region, sorted_starts, lengths


@compiled
def _run_lengths(boxes, first, starts, lengths, width, counts, ends):  # type: ignore[no-untyped-def]
    """Write all regions' run lengths to `counts`, those of region k to ends[k]..ends[k + 1]."""
    place = 0
    ends[0] = 0
    for k in range(boxes.shape[0]):
        top, left, box_width = boxes[k, 0], boxes[k, 1], boxes[k, 3] - boxes[k, 1]
        done = 0  # pixels of the box that are in `counts`
        for run in range(first[k], first[k + 1]):
            row = starts[run] // width
            begin = (row - top) * box_width + starts[run] - row * width - left
            if begin > done or run == first[k]:
                counts[place], counts[place + 1] = begin - done, lengths[run]
                place += 2
            else:  # the last run filled the row of the box up to its end
                counts[place - 1] += np.uint32(lengths[run])
            done = begin + lengths[run]
        rest = (boxes[k, 2] - top) * box_width - done
        if rest > 0:
            counts[place] = rest
            place += 1
        ends[k + 1] = place

"""Track numbers that stay with things from frame to frame, from their masks, depth and the camera's motion.

Of each thing a hundred pixels are kept with their depth. In the next frame these points are where the camera's
motion takes them, and whose pixels they fall on says how much of the thing is seen there: the IoU of the back-projected
mask with every thing of that frame. Without a known motion the masks stay where they are in the image. What moves by
itself is looked for a second time, where its velocity in the image takes it, and finally near there.

docs/tracking.md has what was measured. ROS-free.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..camera import Intrinsics
from ..kernels.regions import regions
from ..labels import LABEL_DIVISOR, LabelSpace

SAMPLES = 100
"""Pixels of a thing that stand for its mask."""
LOST_AFTER_S = 3.0
"""A thing that was not seen for longer gets a new number."""
MIN_IOU = 0.02
"""Enough to be the same, since masks of two things never overlap: small and fast ones keep little of theirs."""
OTHER_CLASS = 0.25
"""What another class takes from the IoU: a car that is taken for a truck in one frame stays the same thing."""
REACH, LARGEST_RATIO = 3.0, 3.0
"""Without overlap: how far from where it is expected, in its own sizes, and by what factor its area may differ."""
RATIO_WEIGHT = 0.3
"""What a ratio of areas by the factor e counts for, in sizes."""
NEW_VELOCITY = 0.6
"""Weight of the last motion in the velocity."""
_LAST_ID = 2**32 - 1
_IDS = 1 << 16
_FAR_M = 1e6
_WORTH_ANYTHING = 1e3  # of two ways to pair by distance the one with more pairs is better
_NEAREST_M = 0.1


@dataclass
class _Look:
    """Things of one frame: K of them with N samples in all.

    Attributes:
        ids: (K,) panoptic ids.
        area: (K,) of the masks in units of (focal length)^2, so that a camera with another zoom gives the same.
        centre: (K, 2) mean ray (x, y at 1 m depth).
        owner: (N,) whose sample it is.
        rays: (N, 2).
        depth_m: (N,) positive and finite.
        weight: (N,) area that a sample stands for.
    """

    ids: NDArray[np.int64]
    area: NDArray[np.float64]
    centre: NDArray[np.float64]
    owner: NDArray[np.int64]
    rays: NDArray[np.float64]
    depth_m: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def class_id(self) -> NDArray[np.int64]:
        return self.ids // LABEL_DIVISOR


@dataclass
class _Track:
    """A thing as it was last seen; `pose` takes optical coordinates of then to the frame that stands still."""

    number: int
    class_id: int
    area: float
    rays: NDArray[np.float64]
    depth_m: NDArray[np.float64]
    weight: NDArray[np.float64]
    pose: NDArray[np.float64] | None
    stamp_ns: int
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))


@dataclass
class _Expected:
    """Tracks as the camera's motion alone takes them to a frame: T tracks with N samples in all, as in `_Look`."""

    owner: NDArray[np.int64]
    rays: NDArray[np.float64]
    weight: NDArray[np.float64]
    area: NDArray[np.float64]
    centre: NDArray[np.float64]


class Tracker:
    """Tracks the things of one camera."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next = 1
        self._stamp_ns: int | None = None
        self._kind: tuple[LabelSpace, bool] | None = None

    def forget(self) -> None:
        """Lose all tracks; their numbers are not given again."""
        self._tracks, self._stamp_ns = [], None

    def update(
        self,
        panoptic: NDArray[np.uint16],
        depth_m: NDArray[np.float32],
        intrinsics: Intrinsics | None,
        pose: NDArray[np.float64] | None,
        stamp_ns: int,
        label_space: LabelSpace,
    ) -> dict[int, int]:
        """Track numbers (1 to 2**32 - 1) of all things of the next frame, by panoptic id.

        A thing gets a number when it is first seen. A stamp before the last one, another label space, or a calibration
        that comes or goes begin anew.

        Args:
            panoptic: (H, W) panoptic ids.
            depth_m: (H, W) metres; anything not finite or positive is unknown.
            intrinsics: of this grid; None: the image is all that is known.
            pose: (4, 4) takes optical coordinates to a frame in which the world stands still; None: not known.
            stamp_ns: of the image.
        """
        kind = label_space, intrinsics is not None
        if self._kind != kind or (self._stamp_ns is not None and stamp_ns < self._stamp_ns):
            self.forget()
        self._kind, self._stamp_ns = kind, stamp_ns
        camera = intrinsics or _any_camera(*panoptic.shape)
        label_of, look = _look(panoptic, depth_m, camera, label_space)
        self._tracks = [t for t in self._tracks if stamp_ns - t.stamp_ns <= LOST_AFTER_S * 1e9]
        pairs: list[tuple[int, int]] = []
        expected = None
        if self._tracks and len(look.ids):
            expected = _expect(self._tracks, pose if intrinsics is not None else None)
            shift = np.stack([t.velocity * ((stamp_ns - t.stamp_ns) / 1e9) for t in self._tracks])
            pairs = _assign(self._tracks, expected, shift, look, panoptic, label_of, camera)
        return self._keep(pairs, expected, look, pose, stamp_ns)

    def _keep(
        self,
        pairs: list[tuple[int, int]],
        expected: _Expected | None,
        look: _Look,
        pose: NDArray[np.float64] | None,
        stamp_ns: int,
    ) -> dict[int, int]:
        """Let the tracks go on as what they were found to be, begin new ones for the rest."""
        found = {k: t for t, k in pairs}
        edges = np.searchsorted(look.owner, np.arange(len(look.ids) + 1))
        numbers: dict[int, int] = {}
        for k, id_ in enumerate(look.ids.tolist()):
            own = slice(edges[k], edges[k + 1])
            samples = look.rays[own], look.depth_m[own], look.weight[own]
            seen = _Track(0, id_ // LABEL_DIVISOR, float(look.area[k]), *samples, pose, stamp_ns)
            if k in found and expected is not None:
                t = found[k]
                before = self._tracks[t]
                seen.number, seen.velocity = before.number, before.velocity
                elapsed_s = (stamp_ns - before.stamp_ns) / 1e9
                if elapsed_s > 0 and np.isfinite(expected.centre[t]).all():
                    moved = (look.centre[k] - expected.centre[t]) / elapsed_s
                    seen.velocity = before.velocity + NEW_VELOCITY * (moved - before.velocity)
                self._tracks[t] = seen
            else:
                seen.number, self._next = self._next, self._next % _LAST_ID + 1
                self._tracks.append(seen)
            numbers[id_] = seen.number
        return numbers


def _any_camera(height: int, width: int) -> Intrinsics:
    """Stands for an unknown one: only rays are made of it, and pixels of these again."""
    return Intrinsics(width, width, (width - 1) / 2, (height - 1) / 2, height, width)


def _look(
    panoptic: NDArray[np.uint16], depth_m: NDArray[np.float32], camera: Intrinsics, label_space: LabelSpace
) -> tuple[NDArray[np.int32], _Look]:
    """(65536,) the place of each thing's panoptic id, -1 for all others; and the things, in order of their ids."""
    found = regions(panoptic)
    things = np.flatnonzero(label_space.is_instance(found.ids))
    ids, counts = found.ids[things], found.areas[things]
    label_of = np.full(_IDS, -1, np.int32)
    label_of[ids] = np.arange(len(ids))

    kept = np.minimum(counts, SAMPLES)
    owner = np.repeat(np.arange(len(ids)), kept)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(kept) - kept, kept)
    before = np.append(0, np.cumsum(found.lengths, dtype=np.int64))  # pixels in the runs before each run
    wanted = before[found.first[things]][owner] + (2 * place + 1) * counts[owner] // (2 * kept[owner])
    run = np.searchsorted(before, wanted, "right") - 1
    pixels = found.starts[run] + wanted - before[run]
    y, x = np.divmod(pixels, panoptic.shape[1])
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy], -1)
    area = counts / (camera.fx * camera.fy)
    centre = _sums(owner, rays, len(ids)) / np.maximum(kept, 1)[:, None]
    depth = _known(depth_m.reshape(-1)[pixels].astype(np.float64), owner, np.cumsum(kept))
    return label_of, _Look(ids, area, centre, owner, rays, depth, (area / kept)[owner])


def _known(depth_m: NDArray[np.float64], owner: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """The depths, with those unknown filled by the median of the thing, or put far away where all are unknown."""
    wrong = ~(np.isfinite(depth_m) & (depth_m > 0))
    for k in np.unique(owner[wrong]):
        own = slice(ends[k - 1] if k else 0, ends[k])
        right = depth_m[own][~wrong[own]]
        depth_m[own][wrong[own]] = np.median(right) if len(right) else _FAR_M
    return depth_m


def _expect(tracks: list[_Track], pose: NDArray[np.float64] | None) -> _Expected:
    sizes = [len(t.depth_m) for t in tracks]
    owner = np.repeat(np.arange(len(tracks)), sizes)
    rays, depth_m = np.concatenate([t.rays for t in tracks]), np.concatenate([t.depth_m for t in tracks])
    weight = np.concatenate([t.weight for t in tracks])
    if pose is not None:
        moved = np.linalg.inv(pose) @ np.stack([pose if t.pose is None else t.pose for t in tracks])
        points = np.column_stack([rays, np.ones(len(rays))]) * depth_m[:, None]
        points = np.einsum("nij,nj->ni", moved[owner, :3, :3], points) + moved[owner, :3, 3]
        ahead = points[:, 2] > _NEAREST_M
        owner, points = owner[ahead], points[ahead]
        rays = points[:, :2] / points[:, 2:]
        weight = weight[ahead] * (depth_m[ahead] / points[:, 2]) ** 2
    number = np.bincount(owner, minlength=len(tracks))
    with np.errstate(invalid="ignore"):
        centre = _sums(owner, rays, len(tracks)) / number[:, None]
    area = np.bincount(owner, weight, len(tracks)).astype(np.float64)
    return _Expected(owner, rays, weight, area, centre)


def _assign(
    tracks: list[_Track],
    expected: _Expected,
    shift: NDArray[np.float64],
    look: _Look,
    panoptic: NDArray[np.uint16],
    label_of: NDArray[np.int32],
    camera: Intrinsics,
) -> list[tuple[int, int]]:
    """(track, thing) pairs: by overlap first, then those left over by their distance."""
    class_id = np.array([t.class_id for t in tracks])
    same_class = class_id[:, None] == look.class_id
    iou = _iou(expected, np.zeros_like(shift), look, panoptic, label_of, camera)
    if shift.any():
        iou = np.maximum(iou, _iou(expected, shift, look, panoptic, label_of, camera))
    score = iou - np.where(same_class, 0.0, OTHER_CLASS)
    pairs = _best(np.where(score >= MIN_IOU, -score, 0.0))

    size = np.sqrt(np.maximum(look.area, expected.area[:, None]))
    away = np.linalg.norm(look.centre - (expected.centre + shift)[:, None], axis=-1) / size
    with np.errstate(divide="ignore"):
        ratio = np.abs(np.log(look.area / expected.area[:, None]))
    near = same_class & (away < REACH) & (ratio < np.log(LARGEST_RATIO))  # False where NaN
    worth = np.where(near, away + RATIO_WEIGHT * ratio - _WORTH_ANYTHING, 0.0)
    for t, k in pairs:
        worth[t], worth[:, k] = 0.0, 0.0
    return pairs + _best(worth)


def _iou(
    expected: _Expected,
    shift: NDArray[np.float64],
    look: _Look,
    panoptic: NDArray[np.uint16],
    label_of: NDArray[np.int32],
    camera: Intrinsics,
) -> NDArray[np.float64]:
    """(T, K) IoU of what of each track is inside the image, moved by `shift` (T, 2), with each thing."""
    tracks, things = len(shift), len(look.ids)
    rays = expected.rays + shift[expected.owner]
    x = np.rint(rays[:, 0] * camera.fx + camera.cx)
    y = np.rint(rays[:, 1] * camera.fy + camera.cy)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    owner, weight = expected.owner[inside], expected.weight[inside]
    label = label_of[panoptic[y[inside].astype(np.intp), x[inside].astype(np.intp)]]
    on = label >= 0
    area = np.bincount(owner, weight, tracks)[:, None]
    shared = np.bincount(owner[on] * things + label[on], weight[on], tracks * things).reshape(tracks, things)
    shared = np.minimum(shared, np.minimum(area, look.area))
    return shared / (area + look.area - shared)


def _best(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs whose costs have the least sum; those that can't be have cost 0, all others less."""
    rows, columns = linear_sum_assignment(cost)
    return [(r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if cost[r, c] < 0]


def _sums(owner: NDArray[np.int64], values: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """(number, 2) sums of (N, 2) values by owner."""
    return np.stack([np.bincount(owner, values[:, i], number) for i in (0, 1)], -1)

"""Transforms over time from the messages of /tf and /tf_static: the part of tf2 that bags and the node need, ROS-free.

A transform "of `source` in `target`" is a (4, 4) matrix that takes coordinates in frame `source` to coordinates in
frame `target`, metres. Between two stamps the translation is linear and the rotation a slerp, as in tf2.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from ..errors import DatasetError, nearest

_SECOND = 1e9
# Poses this close are one pose: publishers that speak only on change leave long gaps.
_SAME_PLACE_M, _SAME_DIRECTION_RAD = 0.02, 0.005
_SILENT_S = 1.0
_FORGOTTEN_AFTER = 6  # times the history that is kept


class TransformError(DatasetError):
    """A transform that is needed is not known."""


@dataclass
class _Edge:
    """A child frame in its parent: `values` are x y z and the quaternion x y z w of each stamp, one after another."""

    parent: str
    static: bool
    stamps: array = field(default_factory=lambda: array("q"))
    values: array = field(default_factory=lambda: array("d"))
    other_parent: str = ""
    other_ns: int = 0
    in_order: bool = True

    def add(self, stamp_ns: int, values: list[float]) -> None:
        self.in_order = self.in_order and (not self.stamps or stamp_ns > self.stamps[-1])
        self.stamps.append(stamp_ns)
        self.values.extend(values)

    def keep(self, history_ns: int) -> None:
        """Forget what is older than that before the newest; looks only once there is twice as much."""
        if self.stamps[-1] - self.stamps[0] > 2 * history_ns:
            self.put_in_order()
            begin = bisect_left(self.stamps, self.stamps[-1] - history_ns)
            self.stamps, self.values = self.stamps[begin:], self.values[7 * begin :]

    @property
    def newest_ns(self) -> int:
        """The last stamp given; stamps mostly come in order."""
        return int(self.stamps[-1])

    def put_in_order(self) -> None:
        """Let the stamps rise; of equal ones the last one given counts."""
        if not self.in_order:
            stamps, values = np.array(self.stamps), np.array(self.values).reshape(-1, 7)
            order = np.argsort(stamps, kind="stable")
            order = order[np.append(np.diff(stamps[order]) > 0, True)]
            self.stamps, self.values = array("q", stamps[order]), array("d", values[order].ravel())
            self.in_order = True

    def pose(self, i: int) -> NDArray[np.float64]:
        """The values (7,) of one stamp: a copy, since an array can't grow while anybody (a traceback) holds a view."""
        return np.array(self.values[7 * i : 7 * i + 7])


class TransformTree:
    """All transforms of a recording, or the latest of a running robot.

    Args:
        tolerance_s: a stamp this far before the first or after the last transform takes that transform as it is.
        max_gap_s: between two transforms farther apart than this nothing is interpolated, unless both are the same.
        history_s: None keeps all. Else this much is kept of each frame (at most twice as much), a frame may move to
            another parent once the old one has been silent for a second, and where new frames come, those are forgotten
            that nobody has spoken of for a long time: memory does not grow.
    """

    def __init__(self, tolerance_s: float = 0.02, max_gap_s: float = 1.0, history_s: float | None = None) -> None:
        self.tolerance_s, self.max_gap_s, self.history_s = tolerance_s, max_gap_s, history_s
        self._edges: dict[str, _Edge] = {}

    @property
    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        return sorted({name for child, edge in self._edges.items() for name in (child, edge.parent)})

    def add_message(self, message: Any, *, static: bool) -> None:
        """Take in a tf2_msgs/TFMessage of /tf_static (`static`) or /tf."""
        for stamped in message.transforms:
            self.add_stamped(stamped, static=static)

    def add_stamped(self, stamped: Any, *, static: bool) -> None:
        """Take in a geometry_msgs/TransformStamped; see `add`."""
        stamp, moved, turned = stamped.header.stamp, stamped.transform.translation, stamped.transform.rotation
        self.add(
            stamped.header.frame_id,
            stamped.child_frame_id,
            int(stamp.sec) * 10**9 + int(stamp.nanosec),
            (moved.x, moved.y, moved.z),
            (turned.x, turned.y, turned.z, turned.w),
            static=static,
        )

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: tuple[float, float, float],
        rotation: tuple[float, float, float, float],
        *,
        static: bool = False,
    ) -> None:
        """Add one transform of `child` in `parent`: metres, and a quaternion (x, y, z, w) of any length but zero.

        Raises:
            TransformError: a value is not finite, or the quaternion is zero.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        values = [*map(float, translation), *map(float, rotation)]
        if not all(map(math.isfinite, values)) or math.hypot(*values[3:]) < 1e-6:
            raise TransformError(
                f"transform '{parent}' -> '{child}' at {stamp_ns / _SECOND:.3f} s is {values}; it must be finite with "
                "a quaternion that is not zero; repair what publishes it"
            )
        edge = self._edges.get(child)
        if edge is None and self.history_s is not None:
            self._forget_silent(stamp_ns)
        if edge is None or self._moves(edge, parent, stamp_ns, static):
            edge = self._edges[child] = _Edge(parent, static)
        elif static and not edge.static and edge.parent == parent:
            return
        if edge.parent != parent:
            # Told when it is needed: another robot's muddle need not stop this one.
            edge.other_parent = parent
            edge.other_ns = stamp_ns
            return
        if static:
            edge.stamps, edge.values = array("q"), array("d")
        edge.add(stamp_ns, values)
        if self.history_s is not None:
            edge.keep(round(self.history_s * _SECOND))

    def newest_ns(self, child: str) -> int | None:
        """The last stamp of a frame that moves; None for one that doesn't, or is not known."""
        edge = self._edges.get(child.lstrip("/"))
        return None if edge is None or edge.static else edge.newest_ns

    def forget_moving(self) -> None:
        """Forget all but the static transforms: time begins anew."""
        self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    def _moves(self, edge: _Edge, parent: str, stamp_ns: int, static: bool) -> bool:
        """Whether a new edge takes the place of this one."""
        if edge.parent == parent:
            return edge.static and not static  # what moves beats what stands
        if self.history_s is None:
            return False
        silent = edge.static or stamp_ns - edge.newest_ns > _SILENT_S * _SECOND
        return static == edge.static and silent

    def _given_up(self, edge: _Edge) -> bool:
        """Whether it is long ago that the other parent was spoken of."""
        return self.history_s is not None and edge.newest_ns - edge.other_ns > _SILENT_S * _SECOND

    def _forget_silent(self, now_ns: int) -> None:
        oldest = now_ns - _FORGOTTEN_AFTER * (self.history_s or 0.0) * _SECOND
        gone = [child for child, edge in self._edges.items() if not edge.static and edge.newest_ns < oldest]
        for child in gone:
            del self._edges[child]

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """The transform (4, 4) of `source` in `target` at a stamp.

        Raises:
            TransformError: a frame is unknown, the two are not connected, or the stamp is outside the recorded time or
                in a gap of it.
        """
        up, down = self._paths(target, source)
        return np.linalg.inv(self._chain(down, stamp_ns)) @ self._chain(up, stamp_ns)

    def lookup_moving(
        self, target: str, target_ns: int, source: str, source_ns: int, fixed: str
    ) -> NDArray[np.float64]:
        """The transform (4, 4) of `source` as it was at `source_ns` in `target` as it was at `target_ns`.

        Both are seen from the frame `fixed`, in which the world stands still in between.

        Raises:
            TransformError: as `lookup`.
        """
        return np.linalg.inv(self.lookup(fixed, target, target_ns)) @ self.lookup(fixed, source, source_ns)

    def check(self, target: str, source: str, stamp_ns: int) -> None:
        """Raise the TransformError that `lookup` would; much quicker."""
        for child in (c for path in self._paths(target, source) for c in path):
            self._bracket(child, stamp_ns)

    def require(self, target: str, source: str) -> None:
        """Raise TransformError where there is no chain between the two at any time."""
        self._paths(target, source)

    def keep_above(self, *frames: str) -> None:
        """Forget what `lookup` between these frames does not need; a robot may have dozens of joints."""
        needed = {name for frame in frames for name in self._ancestors(frame)} if self._edges else set()
        self._edges = {child: edge for child, edge in self._edges.items() if child in needed}

    def connected(self, target: str, source: str) -> bool:
        """Whether there is a chain between the two, at whatever time."""
        try:
            self.require(target, source)
        except TransformError:
            return False
        return True

    def _paths(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Child frames from `source` and from `target` up to the nearest frame that is above both."""
        if source.lstrip("/") == target.lstrip("/"):
            return [], []
        above_source, above_target = self._ancestors(source), self._ancestors(target)
        shared = next((name for name in above_source if name in above_target), None)
        if shared is None:
            raise TransformError(
                f"frames '{target}' and '{source}' are not connected: '{target}' hangs under '{above_target[-1]}', "
                f"'{source}' under '{above_source[-1]}'; publish (and record) /tf and /tf_static whole, with the "
                "mounting of every sensor"
            )
        paths = above_source[: above_source.index(shared)], above_target[: above_target.index(shared)]
        for child in (c for path in paths for c in path):
            edge = self._edges[child]
            if edge.other_parent and not self._given_up(edge):
                raise TransformError(
                    f"frame '{child}' has two parents, '{edge.parent}' and '{edge.other_parent}'; stop one of the two "
                    "that publish it"
                )
        return paths

    def _ancestors(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        names = [frame.lstrip("/")]
        while (edge := self._edges.get(names[-1])) is not None:
            if edge.parent in names:
                raise TransformError(f"transforms form a loop: {' -> '.join([*names, edge.parent])}")
            names.append(edge.parent)
        if len(names) == 1 and names[0] not in (known := self.frames):
            raise TransformError(
                f"no frame '{names[0]}' among the transforms{nearest(names[0], known)}; frames there are: "
                f"{', '.join(known) or 'none (are /tf and /tf_static published, or recorded?)'}"
            )
        return names

    def _chain(self, children: list[str], stamp_ns: int) -> NDArray[np.float64]:
        matrix = np.eye(4)
        for child in children:
            matrix = self._pose(child, stamp_ns) @ matrix
        return matrix

    def _pose(self, child: str, stamp_ns: int) -> NDArray[np.float64]:
        before, after, share = self._bracket(child, stamp_ns)
        one, other = self._edges[child].pose(before), self._edges[child].pose(after)
        pose = np.eye(4)
        if before == after:
            rotation = Rotation.from_quat(one[3:])
        else:
            rotation = Slerp([0.0, 1.0], Rotation.from_quat([one[3:], other[3:]]))(share)
        pose[:3, :3] = rotation.as_matrix()
        pose[:3, 3] = (1 - share) * one[:3] + share * other[:3]
        return pose

    def _bracket(self, child: str, stamp_ns: int) -> tuple[int, int, float]:
        """Indices of the transforms before and after a stamp, and how far it is from the first to the second (0..1)."""
        edge = self._edges[child]
        if edge.static:
            return 0, 0, 0.0
        edge.put_in_order()
        stamps = edge.stamps
        before, after = stamps[0], stamps[-1]
        tolerance_ns = round(self.tolerance_s * _SECOND)  # an integer: floats are too coarse for stamps of today
        if not before - tolerance_ns <= stamp_ns <= after + tolerance_ns:
            raise TransformError(
                f"transform '{edge.parent}' -> '{child}' is known from {before / _SECOND:.3f} s to "
                f"{after / _SECOND:.3f} s, not at {stamp_ns / _SECOND:.3f} s (tolerance {self.tolerance_s:g} s)"
            )
        i = max(0, bisect_right(stamps, stamp_ns) - 1)
        if stamp_ns <= stamps[i] or i == len(stamps) - 1:
            return i, i, 0.0
        gap_ns = stamps[i + 1] - stamps[i]
        if gap_ns > self.max_gap_s * _SECOND and not _same(edge.pose(i), edge.pose(i + 1)):
            raise TransformError(
                f"transform '{edge.parent}' -> '{child}' is missing for {gap_ns / _SECOND:.2f} s around "
                f"{stamp_ns / _SECOND:.3f} s (at most {self.max_gap_s:g} s are interpolated)"
            )
        return i, i + 1, (stamp_ns - stamps[i]) / gap_ns


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    turned = (Rotation.from_quat(one[3:]).inv() * Rotation.from_quat(other[3:])).magnitude()
    return bool(np.linalg.norm(one[:3] - other[:3]) < _SAME_PLACE_M and turned < _SAME_DIRECTION_RAD)

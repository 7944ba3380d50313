"""Transforms of the running robot from /tf and /tf_static, for threads that may wait a moment for the one they need."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from tf2_msgs.msg import TFMessage

from ..data.tf_tree import TransformError, TransformTree

HISTORY_S = 10.0
"""As tf2 keeps."""
TOLERANCE_S = 0.005
"""Half the period of fast odometry: a pose that old is used as it is, nothing older stands in for a missing one."""
JUMP_S = 1.0
"""Stamps of one frame that go back by more than this are a clock that was set, or a bag that starts again."""
PATIENCE, BACK_OFF_S = 3, 1.0
"""After so many failures in a row one look-up in this time waits: a frame that does not exist must not slow all."""
_DEPTH = 100


class Transforms:
    """Keeps the last ten seconds of all transforms while it listens; one for a node, for any thread.

    Callbacks only store, on the executor's thread, and never wait for anybody; those who look up wait for them.

    Args:
        node: that subscribes.
        warn: called with (kind, text), throttled by the caller.
        clock: seconds, steady.
    """

    def __init__(
        self, node: Node, warn: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._node = node
        self._warn = warn
        self._clock = clock
        self._changed = Condition()
        self._subscriptions: list[Any] = []
        self.jumps = 0
        self._clear()

    @property
    def listening(self) -> bool:
        return bool(self._subscriptions)

    def listen(self, needed: bool) -> None:
        """Subscribe, or unsubscribe and forget all; on the executor's thread."""
        if needed and not self.listening:
            for topic, durability in (
                ("/tf", QoSDurabilityPolicy.VOLATILE),
                ("/tf_static", QoSDurabilityPolicy.TRANSIENT_LOCAL),
            ):
                qos = QoSProfile(
                    history=QoSHistoryPolicy.KEEP_LAST,
                    depth=_DEPTH,
                    reliability=QoSReliabilityPolicy.RELIABLE,
                    durability=durability,
                )
                callback = self._on_static if topic == "/tf_static" else self._on_moving
                self._subscriptions.append(self._node.create_subscription(TFMessage, topic, callback, qos))
        elif not needed and self.listening:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []
            with self._changed:
                self._clear()

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> NDArray[np.float64]:
        """The transform (4, 4) that takes coordinates in `source` to `target` at a stamp.

        Where it is not known yet, wait up to `timeout_s` for it: not for the executor's thread. Static transforms hold
        at any stamp.

        Raises:
            TransformError: it did not come; says what is missing.
        """
        pair = target, source
        with self._changed:
            failures, tried = self._failures.get(pair, (0, 0.0))
            hopeless = failures >= PATIENCE and self._clock() < tried + BACK_OFF_S
            known = self._changed.wait_for(lambda: self._known(*pair, stamp_ns), 0.0 if hopeless else timeout_s)
            if known:
                self._failures.pop(pair, None)
            elif not hopeless:
                self._failures[pair] = failures + 1, self._clock()
            return self._tree.lookup(*pair, stamp_ns)

    def _known(self, target: str, source: str, stamp_ns: int) -> bool:
        try:
            self._tree.check(target, source, stamp_ns)
        except TransformError:
            return False
        return True

    def _clear(self) -> None:
        # Between two transforms tf2 interpolates however far they are apart, within what it keeps.
        self._tree = TransformTree(TOLERANCE_S, max_gap_s=HISTORY_S, history_s=HISTORY_S)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}

    def _on_moving(self, message: TFMessage) -> None:
        self._add(message, static=False)

    def _on_static(self, message: TFMessage) -> None:
        self._add(message, static=True)

    def _add(self, message: TFMessage, *, static: bool) -> None:
        with self._changed:
            for stamped in message.transforms:
                if not static:
                    self._notice_jump(stamped)
                try:
                    self._tree.add_stamped(stamped, static=static)
                except TransformError as error:
                    self._warn("transform_value", f"{error}. It is ignored")
            self._changed.notify_all()

    def _notice_jump(self, stamped: Any) -> None:
        newest, stamp = self._tree.newest_ns(stamped.child_frame_id), stamped.header.stamp
        back_s = 0.0 if newest is None else (newest - stamp.sec * 10**9 - stamp.nanosec) / 1e9
        if back_s > JUMP_S:
            self.jumps += 1
            self._tree.forget_moving()
            self._warn(
                "transform_jump",
                f"the stamp of transform '{stamped.header.frame_id}' -> '{stamped.child_frame_id}' jumped back by "
                f"{back_s:.2f} s (a bag that starts again?): all transforms before are forgotten",
            )

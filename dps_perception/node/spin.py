"""Spinning: until a condition holds (tools, tests), or until the process is told to stop (nodes)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # signals are caught before anything slow is imported
    from rclpy.context import Context
    from rclpy.executors import Executor, SingleThreadedExecutor
    from rclpy.node import Node

N = TypeVar("N", bound="Node")


@contextlib.contextmanager
def ros_node(make: Callable[[Context], N], ros_args: Sequence[str] = ()) -> Iterator[tuple[N, SingleThreadedExecutor]]:
    """The node that `make` makes, and an executor that spins it, in a ROS context of their own; gone with the block.

    Signals are left to Python.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    context = rclpy.Context()
    rclpy.init(args=list(ros_args), context=context, signal_handler_options=SignalHandlerOptions.NO)
    with contextlib.ExitStack() as stack:
        stack.callback(context.try_shutdown)
        node = make(context)
        stack.callback(node.destroy_node)
        executor = SingleThreadedExecutor(context=context)
        stack.callback(executor.shutdown)
        executor.add_node(node)
        yield node, executor


def spin_until(executor: Executor, condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Run callbacks until `condition()` is true; return False where it still isn't after `timeout_s` seconds."""
    end = time.monotonic() + timeout_s
    while not condition():
        left = end - time.monotonic()
        if left <= 0:
            return False
        executor.spin_once(timeout_sec=min(left, 0.05))
    return True


class StopSignal:
    """SIGINT and SIGTERM as a flag, so that a node ends its work in order instead of in the middle of a callback.

    For nodes whose `rclpy.init` was called with `SignalHandlerOptions.NO`. The second signal gets Python's or the
    system's own handling, so that an impatient user is not ignored.

    Attributes:
        received: one has come.
        at_once: as long as this is set, a signal ends the process there and then, with status 0: for the time before
            there is anything to end in order (imports alone can take a minute on a busy disk).
    """

    def __init__(self, at_once: bool = False) -> None:
        self.received = False
        self.at_once = at_once
        self._executor: Executor | None = None
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.at_once:
            os._exit(0)
        self.received = True
        self.restore()
        if self._executor is not None:
            self._executor.wake()

    def restore(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def spin(self, executor: Executor) -> None:
        """Run callbacks until a signal arrives or the ROS context is shut down."""
        self._executor = executor
        while not self.received and executor.context.ok():
            executor.spin_once(timeout_sec=0.5)

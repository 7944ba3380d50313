"""ROS in tests: a context and an executor for some nodes, a source of messages, a recorder in a process of its own.

Imports are inside, because conftest shows these fixtures to all tests.
"""

from __future__ import annotations

import contextlib

import pytest


@contextlib.contextmanager
def ros():
    """(context, executor); everything is shut down afterwards."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)
    try:
        yield context, executor
    finally:
        for node in executor.get_nodes():
            executor.remove_node(node)
            node.destroy_node()
        executor.shutdown()
        context.try_shutdown()


@pytest.fixture
def source():
    """A node to publish with."""
    from rclpy.node import Node

    with ros() as (context, executor):
        node = Node("source", context=context)
        executor.add_node(node)
        yield node


@pytest.fixture
def recorder():
    """Starts dps_record with arguments."""
    from processes import starter

    with starter("dps_perception.node.record") as start:
        yield start

"""Live transforms: what is waited for, what is not, what is forgotten; time is a number that the test sets."""

import threading
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from dps_perception.data.tf_tree import TransformError
from dps_perception.node.transforms import BACK_OFF_S, PATIENCE, Transforms

S = 10**9


class FakeNode:
    """Keeps callbacks by topic instead of subscribing."""

    def __init__(self):
        self.callbacks, self.qos = {}, {}

    def create_subscription(self, kind, topic, callback, qos):
        assert kind is TFMessage
        self.callbacks[topic], self.qos[topic] = callback, qos
        return topic

    def destroy_subscription(self, topic):
        del self.callbacks[topic]


def message(parent, child, stamp_ns, x=0.0, w=1.0):
    stamped = TransformStamped(child_frame_id=child)
    stamped.header.frame_id = parent
    stamped.header.stamp.sec, stamped.header.stamp.nanosec = divmod(stamp_ns, S)
    stamped.transform.translation.x, stamped.transform.rotation.w = x, w
    return TFMessage(transforms=[stamped])


class Rig:
    def __init__(self):
        self.node, self.warnings, self.now = FakeNode(), [], 0.0
        self.transforms = Transforms(self.node, lambda kind, text: self.warnings.append((kind, text)), lambda: self.now)
        self.transforms.listen(True)

    def moving(self, *args, **values):
        self.node.callbacks["/tf"](message(*args, **values))

    def static(self, *args, **values):
        self.node.callbacks["/tf_static"](message(*args, **values))

    def x(self, stamp_ns, timeout_s=0.0, target="odom", source="camera"):
        return self.transforms.lookup(target, source, stamp_ns, timeout_s)[0, 3]


@pytest.fixture
def rig():
    made = Rig()
    made.static("base", "camera", 0, x=0.5)
    made.moving("odom", "base", 10 * S, x=1.0)
    made.moving("odom", "base", 11 * S, x=3.0)
    return made


def test_subscriptions_are_as_those_of_tf2_and_last_as_long_as_they_are_needed(rig):
    tf, static = rig.node.qos["/tf"], rig.node.qos["/tf_static"]
    assert (tf.reliability, static.reliability) == (ReliabilityPolicy.RELIABLE,) * 2
    assert (tf.durability, static.durability) == (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)
    assert (tf.depth, static.depth) == (100, 100)
    rig.transforms.listen(True)
    rig.transforms.listen(False)
    assert not rig.node.callbacks
    with pytest.raises(TransformError, match="frames there are: none"):
        rig.x(10 * S)


def test_the_pose_is_that_of_the_stamp(rig):
    assert rig.x(10 * S) == 1.5
    assert rig.x(10 * S + S // 4) == 2.0
    assert rig.x(0, source="base", target="camera") == -0.5  # a static chain holds at any time


def test_a_transform_that_comes_a_bit_late_is_waited_for(rig):
    late = threading.Timer(0.05, lambda: rig.moving("odom", "base", 12 * S, x=5.0))
    late.start()
    assert rig.x(11 * S + S // 2, timeout_s=10.0) == 4.5
    late.join()


def test_nothing_is_extrapolated_beyond_the_tolerance(rig):
    assert rig.x(11 * S + 4_000_000) == 3.5
    begin = time.monotonic()
    with pytest.raises(
        TransformError, match=r"'odom' -> 'base' is known from 10\.000 s to 11\.000 s, not at 11\.006 s"
    ):
        rig.x(11 * S + 6_000_000, timeout_s=0.05)
    assert time.monotonic() - begin >= 0.05
    with pytest.raises(TransformError, match="known from"):
        rig.x(9 * S)


def test_a_frame_that_never_comes_is_not_waited_for_each_time(rig):
    """After three failures one look-up a second waits; as soon as one succeeds all do again."""
    waits = []
    rig.transforms._changed.wait_for = lambda condition, timeout: waits.append(timeout) or condition()
    for _ in range(PATIENCE + 2):
        with pytest.raises(TransformError, match=r"no frame 'odum'.*did you mean 'odom'"):
            rig.x(10 * S, 0.1, target="odum")
    assert waits == [0.1] * PATIENCE + [0.0] * 2
    rig.now += BACK_OFF_S
    for _ in range(2):
        with pytest.raises(TransformError):
            rig.x(10 * S, 0.1, target="odum")
    assert waits[-2:] == [0.1, 0.0]
    assert rig.x(10 * S, 0.1) == 1.5  # others are waited for all the same
    assert waits[-1] == 0.1
    rig.moving("odum", "odom", 10 * S)
    rig.x(10 * S, 0.1, target="odum")
    with pytest.raises(TransformError):
        rig.x(20 * S, 0.1, target="odum")
    assert waits[-1] == 0.1


def test_broken_values_are_ignored_with_a_warning(rig):
    rig.moving("odom", "base", 12 * S, x=float("nan"))
    rig.moving("odom", "base", 12 * S, w=0.0)
    assert [kind for kind, _ in rig.warnings] == ["transform_value"] * 2
    assert "'odom' -> 'base' at 12.000 s" in rig.warnings[0][1]
    assert "It is ignored" in rig.warnings[0][1]
    mixed = message("odom", "base", 12 * S, x=float("inf"))
    mixed.transforms += message("odom", "base", 12 * S, x=5.0).transforms
    rig.node.callbacks["/tf"](mixed)
    assert rig.x(12 * S) == 5.5


def test_time_that_jumps_back_begins_anew(rig):
    """A bag that starts again: old poses must not be mixed with those of the new round."""
    rig.moving("odom", "base", 3 * S, x=7.0)
    assert rig.transforms.jumps == 1
    assert rig.warnings[0][0] == "transform_jump"
    assert "jumped back by 8.00 s" in rig.warnings[0][1]
    assert rig.x(3 * S) == 7.5
    with pytest.raises(TransformError, match=r"from 3\.000 s to 3\.000 s"):
        rig.x(11 * S)
    rig.moving("odom", "base", 3 * S - S // 2, x=6.0)  # a straggler is not a jump
    assert rig.transforms.jumps == 1
    assert rig.x(3 * S - S // 4) == 7.0


def test_memory_does_not_grow(rig):
    for tick in range(2000):  # 400 s
        rig.moving("odom", "base", 11 * S + tick * S // 5, x=float(tick))
    assert len(rig.transforms._tree._edges["base"].stamps) <= 101
    assert rig.x(402 * S) > 0
    np.testing.assert_array_equal(rig.transforms.lookup("odom", "odom", 5, 0.0), np.eye(4))

"""Transforms over time: chains, interpolation and motion by hand, and everything that can be missing."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dps_perception.data.tf_tree import TransformError, TransformTree

S = 10**9
NO_TURN = (0.0, 0.0, 0.0, 1.0)
QUARTER_LEFT = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))


def robot() -> TransformTree:
    """Base moves 4 m along odom's x and turns a quarter left from 10 s to 11 s; lidar on base, camera on a mast."""
    tree = TransformTree()
    tree.add("odom", "base", 10 * S, (0, 0, 0), NO_TURN)
    tree.add("odom", "base", 11 * S, (4, 0, 0), QUARTER_LEFT)
    tree.add("base", "lidar", 0, (1, 0, 2), NO_TURN, static=True)
    tree.add("/base", "mast", 0, (0, 0, 1), QUARTER_LEFT, static=True)
    tree.add("mast", "camera", 0, (1, 0, 0), NO_TURN, static=True)
    return tree


def moved(matrix: np.ndarray, point: tuple[float, float, float]) -> list[float]:
    return (matrix @ [*point, 1])[:3].tolist()


def test_chain_up_and_down_by_hand():
    """camera is 1 m along the mast's x, which is base's y: at (0, 1, 1) in base, at (-1, 1, -1) from the lidar."""
    tree = robot()
    assert moved(tree.lookup("base", "camera", 0), (0, 0, 0)) == pytest.approx([0, 1, 1])
    assert moved(tree.lookup("lidar", "camera", 0), (0, 0, 0)) == pytest.approx([-1, 1, -1])
    # 2 m ahead of the camera (its x) is 2 m along base's y.
    assert moved(tree.lookup("lidar", "camera", 0), (2, 0, 0)) == pytest.approx([-1, 3, -1])
    np.testing.assert_allclose(
        tree.lookup("camera", "lidar", 0) @ tree.lookup("lidar", "camera", 0), np.eye(4), atol=1e-12
    )
    np.testing.assert_array_equal(tree.lookup("nobody", "nobody", 0), np.eye(4))


def test_between_two_stamps_places_are_linear_and_turns_are_even():
    pose = robot().lookup("odom", "base", 10 * S + S // 4)
    np.testing.assert_allclose(pose[:3, 3], [1, 0, 0])
    np.testing.assert_allclose(pose[:3, :3], Rotation.from_euler("z", 22.5, degrees=True).as_matrix(), atol=1e-12)


def test_stamps_of_any_order_and_twice():
    tree = robot()
    tree.add("odom", "base", 10 * S + S // 2, (9, 9, 9), NO_TURN)
    tree.add("odom", "base", 10 * S + S // 2, (0, 8, 0), NO_TURN)
    assert moved(tree.lookup("odom", "base", 10 * S + S // 4), (0, 0, 0)) == pytest.approx([0, 4, 0])
    assert moved(tree.lookup("odom", "base", 11 * S), (0, 0, 0)) == pytest.approx([4, 0, 0])


def test_a_thing_that_stands_still_is_followed_through_the_robots_motion():
    """At 10 s the lidar sees it at (5, 0, -2), so it is at (6, 0, 0) in odom; at 11 s base is at (4, 0), facing y."""
    tree = robot()
    place = moved(tree.lookup_moving("base", 11 * S, "lidar", 10 * S, "odom"), (5, 0, -2))
    assert place == pytest.approx([0, -2, 0])  # 2 m along odom's x is 2 m to the right of who faces y
    assert moved(tree.lookup("base", "lidar", 11 * S), (5, 0, -2)) == pytest.approx([6, 0, 0])


@pytest.mark.parametrize(
    ("target", "source", "stamp_ns", "told"),
    [
        ("camara", "lidar", 0, r"no frame 'camara'.*did you mean 'camera'.*base, camera, .*lidar, mast, odom"),
        ("odom", "island", 10 * S, r"'odom' and 'island' are not connected.*under 'odom'.*under 'sea'"),
        ("odom", "lidar", 9 * S, r"'odom' -> 'base' is known from 10\.000 s to 11\.000 s, not at 9\.000 s"),
        ("odom", "lidar", 12 * S, r"not at 12\.000 s \(tolerance 0\.02 s\)"),
        ("odom", "torn", 10 * S, r"'torn' has two parents, 'odom' and 'base'"),
        ("odom", "hen", 10 * S, r"form a loop: hen -> egg -> hen"),
    ],
)
def test_what_is_missing_is_named(target, source, stamp_ns, told):
    tree = robot()
    tree.add("sea", "island", 0, (0, 0, 0), NO_TURN, static=True)
    tree.add("odom", "torn", 10 * S, (0, 0, 0), NO_TURN)
    tree.add("base", "torn", 10 * S, (0, 0, 0), NO_TURN)
    tree.add("egg", "hen", 0, (0, 0, 0), NO_TURN, static=True)
    tree.add("hen", "egg", 0, (0, 0, 0), NO_TURN, static=True)
    for ask in (tree.lookup, tree.check):
        with pytest.raises(TransformError, match=told):
            ask(target, source, stamp_ns)


def test_within_the_tolerance_the_last_pose_counts():
    pose = robot().lookup("odom", "base", 11 * S + S // 64)
    np.testing.assert_allclose(pose[:3, 3], [4, 0, 0])


def test_a_gap_is_an_error_unless_nothing_moved():
    tree = TransformTree(max_gap_s=1.0)
    for second, x in ((0, 0.0), (1, 0.0), (5, 0.0), (9, 3.0)):
        tree.add("odom", "base", second * S, (x, 0, 0), NO_TURN)
    assert tree.lookup("odom", "base", 3 * S)[0, 3] == 0
    with pytest.raises(TransformError, match=r"missing for 4\.00 s around 7\.000 s"):
        tree.lookup("odom", "base", 7 * S)


@pytest.mark.parametrize(("stamp_ns", "told"), [(9 * S, "known from"), (12 * S, "missing for 2.00 s")])
def test_a_failed_look_up_lets_the_tree_grow_while_its_error_is_still_held(stamp_ns, told):
    """A traceback keeps what `lookup` had in hand; other threads take in transforms meanwhile."""
    tree = robot()
    tree.add("odom", "base", 13 * S, (9, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match=told) as held:
        tree.lookup("odom", "base", stamp_ns)
    tree.add("odom", "base", 14 * S, (9, 0, 0), NO_TURN)
    assert tree.lookup("odom", "base", 14 * S)[0, 3] == 9
    assert held.tb is not None


def test_moving_beats_static_and_broken_values_are_refused():
    tree = TransformTree()
    tree.add("odom", "base", 0, (7, 0, 0), NO_TURN, static=True)
    tree.add("odom", "base", 0, (1, 0, 0), NO_TURN)
    tree.add("odom", "base", 0, (7, 0, 0), NO_TURN, static=True)
    assert tree.lookup("odom", "base", 0)[0, 3] == 1
    for translation, rotation in (((np.nan, 0, 0), NO_TURN), ((0, 0, 0), (0, 0, 0, 0))):
        with pytest.raises(TransformError, match=r"'odom' -> 'base'.*must be finite with a quaternion"):
            tree.add("odom", "base", 0, translation, rotation)


def test_only_what_is_needed_is_kept():
    tree = robot()
    tree.add("base", "wheel", 0, (0, 0, 0), NO_TURN, static=True)
    tree.keep_above("lidar", "odom")
    assert tree.frames == ["base", "lidar", "odom"]
    tree.lookup("odom", "lidar", 10 * S)


def test_an_empty_tree_says_what_to_look_for():
    with pytest.raises(TransformError, match=r"frames there are: none \(are /tf and /tf_static published, or recorded"):
        TransformTree().lookup("camera", "lidar", 0)


def test_a_live_tree_keeps_ten_seconds_and_forgets_names_that_nobody_uses():
    """A day of transforms at 10 Hz, and every ten seconds a new name as trackers publish them."""
    tree = TransformTree(history_s=10.0)
    for tenth in range(0, 24 * 36_000, 10):  # every second of a day, to keep the test short
        tree.add("odom", "base", tenth * S // 10, (tenth, 0, 0), NO_TURN)
        if tenth % 100 == 0:
            tree.add("odom", f"person_{tenth}", tenth * S // 10, (0, 0, 0), NO_TURN)
    now = 24 * 3600 * S
    assert len(tree._edges["base"].stamps) <= 21
    assert len(tree.frames) <= 2 + 7
    assert tree.lookup("odom", "base", now - 9 * S)[0, 3] == pytest.approx(24 * 36_000 - 90)
    with pytest.raises(TransformError, match="known from"):
        tree.lookup("odom", "base", now - 30 * S)


def test_a_live_tree_follows_a_frame_to_its_new_parent_but_names_two_that_quarrel():
    tree = TransformTree(history_s=10.0)
    for tenth in range(10):
        tree.add("map", "tool", tenth * S // 10, (1, 0, 0), NO_TURN)
        tree.add("base", "tool", tenth * S // 10, (2, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match="two parents, 'map' and 'base'"):
        tree.lookup("map", "tool", S // 2)
    tree.add("base", "tool", 3 * S, (2, 0, 0), NO_TURN)  # 'map' has been silent since 0.9 s
    assert tree.lookup("base", "tool", 3 * S)[0, 3] == 2
    tree.add("map", "tool", 3 * S, (1, 0, 0), NO_TURN)  # a straggler is forgiven after a second
    with pytest.raises(TransformError, match="two parents"):
        tree.lookup("base", "tool", 3 * S)
    tree.add("base", "tool", 4 * S + S // 2, (2, 0, 0), NO_TURN)
    assert tree.lookup("base", "tool", 4 * S + S // 2)[0, 3] == 2


def test_a_static_transform_can_be_corrected_while_running():
    tree = TransformTree(history_s=10.0)
    tree.add("base", "camera", 0, (1, 0, 0), NO_TURN, static=True)
    tree.add("mast", "camera", 0, (3, 0, 0), NO_TURN, static=True)
    assert tree.lookup("mast", "camera", 5 * S)[0, 3] == 3
    tree.add("odom", "base", 7 * S, (4, 0, 0), NO_TURN)
    assert (tree.newest_ns("base"), tree.newest_ns("camera"), tree.newest_ns("nobody")) == (7 * S, None, None)
    tree.forget_moving()
    assert tree.frames == ["camera", "mast"]

"""target_frame and tracking in the running node: 3D where it belongs at the image's stamp, or not at all."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from node_fakes import CAR, overrides
from node_rig import rigs
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from dps_msgs.msg import InstanceArray, PipelineStats
from dps_perception.kernels.cloud import POINT_DTYPE
from dps_perception.node.qos import LATCHED

# camera (x right, y down, z ahead) looks along base's x, 1 m above it: REP 103.
AS_MOUNTED = dict(x=0.5, z=1.0, turn=(-0.5, 0.5, -0.5, 0.5))
QUARTER_LEFT = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))


class Robot:
    """The node's rig with publishers of /tf and /tf_static."""

    def __init__(self, make, **values):
        self.rig = make(diagnostics_period=0.1, **values)
        self.tf = self.rig.other.create_publisher(TFMessage, "/tf", 100)
        self.static = self.rig.other.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.rig.listen(
            points=PointCloud2, instances=InstanceArray, markers=MarkerArray, panoptic=Image, depth=Image,
            camera_info=CameraInfo, diagnostics=DiagnosticArray, stats=PipelineStats,
        )  # fmt: skip
        self.rig.ready()

    def connected(self):
        self.rig.until(lambda: self.tf.get_subscription_count() and self.static.get_subscription_count())

    def send(self, publisher, parent, child, second=0.0, x=0.0, y=0.0, z=0.0, turn=(0.0, 0.0, 0.0, 1.0)):
        stamped = TransformStamped(child_frame_id=child)
        stamped.header.frame_id = parent
        stamped.header.stamp.sec, nanoseconds = divmod(round(second * 10**9), 10**9)
        stamped.header.stamp.nanosec = nanoseconds
        moved, turned = stamped.transform.translation, stamped.transform.rotation
        moved.x, moved.y, moved.z = float(x), float(y), float(z)
        turned.x, turned.y, turned.z, turned.w = map(float, turn)
        publisher.publish(TFMessage(transforms=[stamped]))

    def values(self, part):
        return [(pair.key, pair.value) for pair in self.rig.status(part).values]

    def known(self, target, second):
        """Wait until the node's look-up would succeed."""
        tree = self.rig.node._cameras._transforms
        self.rig.until(lambda: tree._known(target, "camera", round(second * 10**9)))


@pytest.fixture
def robot():
    with rigs() as make:
        yield lambda **values: Robot(make, **values)


def car_point(message):
    """x y z of the pixel (10, 9), car at 10 m, at (-2.75, -1.25, 10) in the camera."""
    point = np.frombuffer(message.data, POINT_DTYPE).reshape(message.height, message.width)[9, 10]
    return [float(point[axis]) for axis in "xyz"]


def thing(message):
    return next(i for i in message.instances if i.is_thing)


def test_without_a_target_frame_nothing_listens_to_tf(robot):
    r = robot()
    r.rig.send(1)
    r.rig.until(lambda: r.rig.got["points"] and r.rig.got["instances"])
    assert r.tf.get_subscription_count() == 0
    assert not r.rig.node._cameras._transforms.listening
    assert r.rig.got["points"][0].header.frame_id == "camera"
    assert thing(r.rig.got["instances"][0]).track_id == 0


def test_points_instances_and_markers_are_in_the_target_frame_and_images_stay(robot):
    """By hand: ahead (z = 10) is base's x less the mounting's 0.5, right is -y, down is -z below 1 m."""
    r = robot(target_frame="base")
    r.connected()
    r.send(r.static, "base", "camera", **AS_MOUNTED)
    r.known("base", 3)
    r.rig.send(3)
    r.rig.until(lambda: all(r.rig.got[n] for n in ("points", "instances", "markers", "depth", "camera_info")))
    points, instances = r.rig.got["points"][0], r.rig.got["instances"][0]
    assert (points.header.frame_id, points.header.stamp.sec) == ("base", 3)
    np.testing.assert_allclose(car_point(points), [10.5, 2.75, 2.25], rtol=1e-5)
    car = thing(instances)
    assert (instances.header.frame_id, instances.header.stamp.sec) == ("base", 3)
    # Columns 8..15 and rows 8..15 of the car, principal point (15.5, 11.5), f = 20, at 10 m.
    np.testing.assert_allclose([car.centroid.x, car.centroid.y, car.centroid.z], [10.5, 2.0, 1.0], atol=1e-4)
    size = [car.box_size.x, car.box_size.y, car.box_size.z]
    np.testing.assert_allclose(size, [0, 3.5, 3.5], atol=1e-4)
    assert car.box_center.orientation.w == 1.0
    assert car.depth.median == 10.0  # along the optical axis, in whatever frame
    _, box, name = r.rig.got["markers"][0].markers
    assert (box.header.frame_id, name.header.frame_id) == ("base", "base")
    assert name.pose.position.z == pytest.approx(1.0 + 1.75 + 0.2, abs=1e-4)  # above: z points up here
    assert name.pose.position.y == pytest.approx(2.0, abs=1e-4)
    for images in ("panoptic", "depth", "camera_info"):
        assert r.rig.got[images][0].header.frame_id == "camera"


def test_the_pose_is_that_of_the_images_stamp_while_the_robot_turns_and_drives(robot):
    """From 10 s to 12 s base turns a quarter left and drives 4 m along x: at 11 s an eighth and 2 m."""
    r = robot(target_frame="odom")
    r.connected()
    r.send(r.static, "base", "camera", **AS_MOUNTED)
    r.send(r.tf, "odom", "base", 10.0)
    r.send(r.tf, "odom", "base", 12.0, x=4.0, turn=QUARTER_LEFT)
    r.known("odom", 12)
    r.rig.send(11)
    r.rig.until(lambda: r.rig.got["points"] and r.rig.got["instances"])
    ahead, left, half = 10.5, 2.75, np.sqrt(0.5)
    np.testing.assert_allclose(
        car_point(r.rig.got["points"][0]), [2 + half * (ahead - left), half * (ahead + left), 2.25], rtol=1e-5
    )
    center = thing(r.rig.got["instances"][0]).centroid
    np.testing.assert_allclose(
        [center.x, center.y, center.z], [2 + half * (10.5 - 2), half * (10.5 + 2), 1.0], atol=2e-3
    )


def test_without_a_transform_3d_is_withheld_and_the_rest_goes_on(robot):
    r = robot(target_frame="odom", transform_timeout=0.02)
    r.connected()
    for second in (1, 2, 3):
        r.rig.send(second)
        r.rig.until(lambda second=second: second in r.rig.stamps("stats"))
    for going_on in ("panoptic", "depth", "camera_info"):
        assert r.rig.stamps(going_on) == [1, 2, 3]
    assert not any(r.rig.got[name] for name in ("points", "instances", "markers"))
    kind, text = r.rig.warnings[0]
    assert kind == "transform"
    for part in ("image at 1.000 s", "'camera' in target_frame 'odom'", "tf2_echo odom camera", "transform_timeout"):
        assert part in text
    r.rig.until(lambda: "target_frame 'odom'" in r.rig.status("processing").message)
    assert r.rig.status("processing").level == DiagnosticStatus.WARN
    r.rig.until(lambda: ("frames without transform", "3") in r.values("processing"))
    # It comes, and all is well again.
    r.send(r.static, "odom", "camera")
    r.known("odom", 4)
    r.rig.send(4)
    r.rig.until(lambda: r.rig.stamps("points") == [4] and r.rig.stamps("instances") == [4])
    r.rig.until(lambda: r.rig.status("processing").level == DiagnosticStatus.OK)


def test_tf_that_comes_after_the_image_is_waited_for(robot):
    """The executor goes on meanwhile: it is this thread, which sends the transform once the depth image is there."""
    r = robot(target_frame="odom", transform_timeout=5.0)
    r.connected()
    r.send(r.static, "base", "camera", **AS_MOUNTED)
    r.send(r.tf, "odom", "base", 1.0)
    r.known("odom", 1)
    r.rig.send(2)
    r.rig.until(lambda: r.rig.stamps("depth") == [2])  # published before, so the node is at the instances now
    assert not r.rig.got["points"]
    r.send(r.tf, "odom", "base", 2.1, x=1.1)
    r.rig.until(lambda: r.rig.stamps("points") == [2] and r.rig.stamps("instances") == [2])
    np.testing.assert_allclose(car_point(r.rig.got["points"][0])[0], 11.5, rtol=1e-5)
    assert not r.rig.warnings


def test_the_target_frame_changes_while_the_node_runs(robot):
    r = robot()
    assert not r.rig.node.set_parameters(overrides(target_frame="/base"))[0].successful  # tf2 has no such names
    assert r.rig.node.set_parameters(overrides(target_frame="base"))[0].successful
    r.connected()
    r.send(r.static, "base", "camera", **AS_MOUNTED)
    r.known("base", 1)
    r.rig.send(1)
    r.rig.until(lambda: r.rig.stamps("points") == [1])
    r.rig.node.set_parameters(overrides(target_frame=""))
    assert not r.rig.node._cameras._transforms.listening
    r.rig.send(2)
    r.rig.until(lambda: r.rig.stamps("points") == [1, 2])
    assert [m.header.frame_id for m in r.rig.got["points"]] == ["base", "camera"]
    r.rig.node.set_parameters(overrides(target_frame="base"))
    r.rig.node.trigger_deactivate()
    assert not r.rig.node._cameras._transforms.listening
    r.rig.node.trigger_activate()
    assert r.rig.node._cameras._transforms.listening


def test_tracks_are_published_and_start_again_when_time_does(robot):
    r = robot(tracking=True)
    for second in (1, 2, 3):
        r.rig.send(second)
        r.rig.until(lambda second=second: len(r.rig.got["markers"]) == second)
    assert [thing(m).track_id for m in r.rig.got["instances"]] == [1, 1, 1]
    assert {i.track_id for m in r.rig.got["instances"] for i in m.instances if not i.is_thing} == {0}
    _, box, name = r.rig.got["markers"][-1].markers
    assert (box.id, name.id, name.text) == (1, 1, "car #1 10.0 m")
    assert not r.rig.node._cameras._transforms.listening
    r.rig.node.set_parameters(overrides(tracking=False))
    r.rig.send(4)
    r.rig.until(lambda: len(r.rig.got["markers"]) == 4)
    assert thing(r.rig.got["instances"][-1]).track_id == 0
    assert r.rig.got["markers"][-1].markers[1].id == CAR * 256 + 1
    r.rig.node.set_parameters(overrides(tracking=True))
    for number, second in ((5, 5), (6, 1)):
        r.rig.send(second)
        r.rig.until(lambda number=number: len(r.rig.got["instances"]) == number)
    assert [thing(m).track_id for m in r.rig.got["instances"]][-2:] == [2, 3]


def test_tracking_goes_on_without_the_cameras_motion_and_says_so(robot):
    r = robot(tracking=True, tracking_frame="odom", transform_timeout=0.02)
    assert r.rig.node._cameras._transforms.listening
    for second in (1, 2):
        r.rig.send(second)
        r.rig.until(lambda second=second: second in r.rig.stamps("instances"))
    assert [thing(m).track_id for m in r.rig.got["instances"]] == [1, 1]
    assert "tracking goes on without the camera's motion" in r.rig.warnings[0][1]
    assert "tracking_frame 'odom'" in r.rig.warnings[0][1]

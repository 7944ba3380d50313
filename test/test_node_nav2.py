"""What others rely on: Nav2's semantic segmentation layer, and one pixel grid and stamp for all outputs."""

import re
from pathlib import Path

import message_filters
import numpy as np
import pytest
import yaml
from node_fakes import CAR, ROAD, SKY, fake_prediction
from node_rig import rigs
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from test_node_encode import read_points
from vision_msgs.msg import LabelInfo

from dps_msgs.msg import InstanceArray
from dps_perception.labels import CITYSCAPES
from dps_perception.node.encode import OUTPUTS

H, W = 24, 32
# As the layer subscribes: sensor data with a deep queue, labels latched.
SENSOR_DATA = QoSProfile(
    depth=50, reliability=QoSReliabilityPolicy.BEST_EFFORT, durability=QoSDurabilityPolicy.VOLATILE
)
LABELS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def rig():
    with rigs() as make:
        yield make


class Layer:
    """Nav2's part: waits for the labels, pairs mask, confidence and cloud by stamp, looks each pixel's point up."""

    def __init__(self, rig, costs):
        self.costs, self.ids = costs, {}
        self.refused, self.cells, self.stamps = [], [], []
        node = rig.other
        node.create_subscription(LabelInfo, "/dps/label_info", self.labels, LABELS)
        topics = (Image, "/dps/semantic"), (Image, "/dps/confidence"), (PointCloud2, "/dps/points")
        inputs = [message_filters.Subscriber(node, kind, topic, qos_profile=SENSOR_DATA) for kind, topic in topics]
        self.synchronizer = message_filters.TimeSynchronizer(inputs, 1000)
        self.synchronizer.registerCallback(self.take)

    def labels(self, message):
        self.ids = {c.class_id: self.costs[c.class_name] for c in message.class_map if c.class_name in self.costs}
        self.named = [c.class_name for c in message.class_map]

    def take(self, mask, confidence, cloud):
        if not self.ids or mask.width * mask.height != cloud.width * cloud.height:
            self.refused.append((mask, cloud))
            return
        self.stamps.append((mask.header.stamp.sec, cloud.header.frame_id))
        assert (mask.encoding, confidence.encoding) == ("mono8", "mono8")
        assert (mask.width, mask.height) == (cloud.width, cloud.height) == (confidence.width, confidence.height)
        count = mask.width * mask.height  # it indexes data by row * width + column: no padding
        assert len(mask.data) == len(confidence.data) == count
        assert cloud.point_step * count == len(cloud.data)
        assert {f.name: f.datatype for f in cloud.fields if f.name in "xyz"} == dict.fromkeys("xyz", PointField.FLOAT32)
        points = read_points(cloud).ravel()
        self.cells.append(
            [
                (self.ids[class_id], confidence.data[index], tuple(float(points[index][axis]) for axis in "xyz"))
                for index, class_id in enumerate(mask.data)
                if np.isfinite(points["z"][index]) and class_id in self.ids
            ]
        )


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_nav2s_semantic_segmentation_layer(rig, scale):
    r = rig(output_scale=scale)
    layer = Layer(r, {"road": 0, "car": 254})  # the other classes have no cost there, and are ignored
    r.ready()
    r.until(lambda: layer.ids)
    assert layer.named == list(CITYSCAPES.names)  # before the first frame
    outputs = r.node.cameras[0].line.outputs._publishers
    r.until(lambda: all(outputs[n].get_subscription_count() for n in ("semantic", "confidence", "points")))
    for second in (5, 6, 7):
        r.send(second)
        r.until(lambda seen=second: layer.stamps and layer.stamps[-1][0] == seen)
    assert layer.stamps == [(5, "camera"), (6, "camera"), (7, "camera")]
    assert layer.refused == []
    prediction = fake_prediction(H, W)
    count = {name: int((prediction.panoptic >> 8 == class_id).sum()) for name, class_id in (("road", 0), ("car", CAR))}
    cells = layer.cells[-1]
    assert sum(cost == 254 for cost, _, _ in cells) == pytest.approx(count["car"] * scale**2)
    assert sum(cost == 0 for cost, _, _ in cells) == pytest.approx(count["road"] * scale**2, abs=1)
    assert {confidence for _, confidence, _ in cells} == {204}  # 0.8
    car = np.array([point for cost, _, point in cells if cost == 254])
    np.testing.assert_allclose(car[:, 2], 10.0)
    # Columns 8..15 of 32, f 20, centre 15.5: x = 10 (u - 15.5) / 20; at half size each pixel is the mean of two.
    wanted = (-3.75, -0.25) if scale == 1.0 else (-3.5, -0.5)
    assert (car[:, 0].min(), car[:, 0].max()) == pytest.approx(wanted)


def test_a_stride_breaks_the_layers_contract(rig):
    """As docs/nav2.md says: point_stride must be 1."""
    r = rig(point_stride=2)
    layer = Layer(r, {"road": 0})
    r.ready()
    outputs = r.node.cameras[0].line.outputs._publishers
    r.until(
        lambda: layer.ids and all(outputs[n].get_subscription_count() for n in ("semantic", "confidence", "points"))
    )
    r.send(5)
    r.until(lambda: layer.refused)
    ((mask, cloud),) = layer.refused
    assert (mask.width, cloud.width) == (32, 16)


@pytest.mark.parametrize(("scale", "size"), [(0.5, (12, 16)), (0.3, (7, 10)), (1.0, (24, 32))])
def test_one_grid_and_stamp_for_all_outputs(rig, scale, size):
    """Of every output there is: size, stamp, frame, and that camera_info takes the cloud's points to their pixels."""
    r = rig(output_scale=scale)
    r.listen(**{name: kind for name, (kind, _) in OUTPUTS.items()})
    r.ready()
    r.send(5)
    r.until(lambda: all(r.got[name] for name in OUTPUTS))
    headers = {}
    for name in OUTPUTS:
        (message,) = r.got[name]
        if hasattr(message, "markers"):
            headers |= {f"{name} {i}": marker.header for i, marker in enumerate(message.markers)}
        else:
            headers[name] = message.header
            assert (message.height, message.width) == size, name
        if isinstance(message, Image):
            assert len(message.data) == message.step * size[0], name
    assert {(h.stamp.sec, h.stamp.nanosec, h.frame_id) for h in headers.values()} == {(5, 0, "camera")}
    info, cloud, instances = (r.got[n][0] for n in ("camera_info", "points", "instances"))
    assert isinstance(info, CameraInfo)
    assert isinstance(instances, InstanceArray)
    points = read_points(cloud)
    xyz = np.stack([points[axis] for axis in "xyz"], -1).astype(np.float64)
    seen = xyz @ np.array(info.k).reshape(3, 3).T
    rows, columns = np.mgrid[: size[0], : size[1]]
    valid = np.isfinite(xyz[..., 2])
    assert valid.sum() > size[0] * size[1] / 3
    np.testing.assert_allclose((seen[..., 0] / seen[..., 2])[valid], columns[valid], atol=1e-3)
    np.testing.assert_allclose((seen[..., 1] / seen[..., 2])[valid], rows[valid], atol=1e-3)
    semantic = np.frombuffer(r.got["semantic"][0].data, np.uint8).reshape(size)
    np.testing.assert_array_equal(points["label"], semantic)
    np.testing.assert_array_equal(valid, ~np.isin(semantic, [SKY]))
    depth = np.frombuffer(r.got["depth"][0].data, np.float32).reshape(size)
    np.testing.assert_array_equal(points["z"][valid], depth[valid])
    car = next(i for i in instances.instances if i.class_name == "car")
    inside = semantic[car.roi.y_offset :, car.roi.x_offset :][: car.roi.height, : car.roi.width]
    assert (inside == CAR).sum() == car.pixel_count == (semantic == CAR).sum()
    assert ROAD in semantic


def test_points_of_little_confidence_are_left_out_live(rig):
    r = rig()
    r.listen(points=PointCloud2, depth=Image)
    r.ready()
    r.send(5)
    r.until(lambda: r.got["points"] and r.got["depth"])
    assert np.isfinite(read_points(r.got["points"][-1])["z"]).any()
    (result,) = r.node.set_parameters([Parameter("min_point_confidence", value=0.9)])
    assert result.successful
    r.send(6)
    r.until(lambda: r.stamps("points")[-1] == 6 and r.stamps("depth")[-1] == 6)
    assert not np.isfinite(read_points(r.got["points"][-1])["z"]).any()
    assert np.isfinite(np.frombuffer(r.got["depth"][-1].data, np.float32)).any()


def test_the_documented_parameters_fit_topics_and_classes():
    document = (Path(__file__).resolve().parent.parent / "docs" / "nav2.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    layer = yaml.safe_load(block)["local_costmap"]["local_costmap"]["ros__parameters"]["semantic_layer"]
    camera = layer[layer["observation_sources"]]
    topics = {name.removeprefix("/dps/") for key, name in camera.items() if key.endswith("_topic")}
    assert topics == {"semantic", "confidence", "points", "label_info"}
    assert topics - {"label_info"} <= set(OUTPUTS)
    named = [name for kind in camera["class_types"] for name in camera[kind]["classes"]]
    assert sorted(named) == sorted(CITYSCAPES.names)

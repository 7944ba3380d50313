"""Several cameras in one node: topics of their own, one model, each gets its turn, one's trouble is not the other's."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_fakes import FakePredictor, camera_info, image, overrides, ros
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import SetBool

from dps_msgs.msg import PanopticInfo, PipelineStats
from dps_perception.errors import ConfigError
from dps_perception.node.node import DpsNode
from dps_perception.node.parameters import Parameters
from dps_perception.node.pipeline import images_together
from dps_perception.node.qos import LATCHED
from dps_perception.node.spin import spin_until

NAMES = ("front", "rear")


class Cameras:
    """A node with two cameras, and a node that feeds both and keeps what comes out."""

    def __init__(self, context, executor, **values):
        self.executor, self.loaded, self.got, self.warnings = executor, [], {}, []
        values = {"cameras": "front, rear", "overlap": "none", **values}
        self.node = DpsNode(self._load, context=context, parameter_overrides=overrides(**values))
        self.node._cameras._throttle = lambda kind, text: self.warnings.append((kind, text))
        self.other = Node("other", context=context)
        for node in (self.node, self.other):
            executor.add_node(node)
        self.images = {name: self.other.create_publisher(Image, f"{name}/image", 1) for name in NAMES}
        self.infos = {name: self.other.create_publisher(CameraInfo, f"{name}/camera_info", 1) for name in NAMES}

    def _load(self, *args, **settings):
        self.loaded.append(FakePredictor(*args, **settings))
        return self.loaded[-1]

    @property
    def predictor(self):
        return self.loaded[-1]

    def listen(self, topic, kind, qos=10):
        self.got[topic] = []
        self.other.create_subscription(kind, topic, self.got[topic].append, qos)

    def until(self, condition):
        assert spin_until(self.executor, condition, 10.0), f"warnings: {self.warnings}"

    def ready(self):
        self.until(lambda: self.node.state == "active")
        both = [*self.images.values(), *self.infos.values()]
        self.until(lambda: all(publisher.get_subscription_count() for publisher in both))
        for topic in self.got:
            self.until(lambda topic=topic: self.other.count_publishers(topic) > 0)
        for camera in self.node.cameras:
            wanted = [n for n in camera.line.outputs._publishers if f"/dps/{camera.name}/{n}" in self.got]
            self.until(
                lambda camera=camera, wanted=wanted: all(
                    camera.line.outputs._publishers[n].get_subscription_count() for n in wanted
                )
            )

    def send(self, name, second, **changes):
        self.images[name].publish(image(stamp=(second, 0), frame_id=name, **changes))
        self.infos[name].publish(camera_info(stamp=(second, 0), frame_id=name))

    def counts(self, name):
        return self.node._worker.counts(name)

    def status(self, name):
        arrays = self.got["/diagnostics"]
        return next((s for s in reversed(arrays[-1].status) if s.name == name), None) if arrays else None


@pytest.fixture
def cameras():
    with ros() as (context, executor):
        made = []

        def make(**values):
            made.append(Cameras(context, executor, **values))
            return made[-1]

        yield make
        for each in made:
            for predictor in each.loaded:
                predictor.free.set()
            if each.node.state in ("inactive", "active"):
                each.node.trigger_shutdown()


def test_each_camera_has_its_topics_stamps_and_frame_and_all_share_one_model(cameras):
    c = cameras()
    for name in NAMES:
        c.listen(f"/dps/{name}/panoptic", Image)
        c.listen(f"/dps/{name}/points", PointCloud2)
        c.listen(f"/dps/{name}/panoptic_info", PanopticInfo, LATCHED)
    c.ready()
    c.send("front", 1, value=11)
    c.send("rear", 2, value=22, size=(24, 32))
    c.until(lambda: all(c.got[f"/dps/{name}/{topic}"] for name in NAMES for topic in ("panoptic", "points")))
    c.until(lambda: all(c.got[f"/dps/{name}/panoptic_info"] for name in NAMES))
    for name, second in (("front", 1), ("rear", 2)):
        for topic in ("panoptic", "points"):
            (message,) = c.got[f"/dps/{name}/{topic}"]
            assert (message.header.stamp.sec, message.header.frame_id) == (second, name)
    assert len(c.loaded) == 1
    assert sorted(value for value, _ in c.predictor.seen) == [11, 22]
    assert not [name for name, _ in c.node.get_topic_names_and_types() if name == "/dps/panoptic"]


def test_a_camera_that_floods_the_node_costs_the_other_nothing(cameras):
    c = cameras()
    c.listen("/dps/front/panoptic", Image)
    c.listen("/dps/rear/panoptic", Image)
    c.ready()
    c.predictor.free.clear()
    for turn in range(4):
        c.send("rear", 100 + turn, value=200)
        for i in range(5):
            received = c.counts("front").received
            c.send("front", 1 + 5 * turn + i, value=1)
            c.until(lambda received=received: c.counts("front").received > received)
        c.until(lambda turn=turn: c.counts("rear").received == turn + 1)
        done = c.counts("rear").done
        c.predictor.free.set()  # both have an image waiting or in work: rear's is done before front's turn comes again
        c.until(lambda done=done: c.counts("rear").done == done + 1)
        c.until(lambda: c.node._worker.call(lambda: True).result(10))
        c.predictor.free.clear()
    c.predictor.free.set()
    c.until(lambda: len(c.got["/dps/rear/panoptic"]) == 4)
    assert c.counts("rear").dropped == 0
    assert c.counts("front").dropped > 0
    assert c.counts("front").received == 20


def test_trouble_of_one_camera_is_named_and_the_other_goes_on(cameras):
    c = cameras(diagnostics_period=0.1)
    c.listen("/dps/rear/panoptic", Image)
    c.listen("/dps/rear/stats", PipelineStats)
    c.listen("/diagnostics", DiagnosticArray)
    c.ready()
    c.send("front", 1, encoding="rgb9")
    c.until(lambda: any(kind == "front: ImageError" and text.startswith("front: ") for kind, text in c.warnings))
    c.send("rear", 2)
    c.until(lambda: c.got["/dps/rear/panoptic"])
    c.until(lambda: (s := c.status("dps: front: processing")) is not None and s.level == DiagnosticStatus.ERROR)
    c.until(lambda: c.status("dps: rear: input").message == "image and camera_info arrive")
    assert "rgb9" in c.status("dps: front: processing").message
    assert c.status("dps: rear: processing").level == DiagnosticStatus.OK
    assert c.status("dps: model").level == DiagnosticStatus.OK


def test_one_camera_can_be_switched_off_and_on(cameras):
    c = cameras()
    c.listen("/dps/front/panoptic", Image)
    c.listen("/dps/rear/panoptic", Image)
    c.ready()

    def enable(service, on):
        client = c.other.create_client(SetBool, service)
        c.until(client.service_is_ready)
        future = client.call_async(SetBool.Request(data=on))
        c.until(future.done)
        return future.result().message

    assert enable("/dps/front/enable", False) == "front disabled, active"
    c.until(lambda: not c.images["front"].get_subscription_count())
    c.send("rear", 2)
    c.until(lambda: c.got["/dps/rear/panoptic"])
    assert not c.got["/dps/front/panoptic"]
    assert enable("/dps/enable", False) == "disabled, active"
    assert enable("/dps/enable", True) == "enabled, active"
    c.until(lambda: c.images["rear"].get_subscription_count())
    assert not c.node.cameras[0].inputs.started  # the camera's own switch is still off
    assert enable("/dps/front/enable", True) == "front enabled, active"
    c.until(lambda: c.images["front"].get_subscription_count() and c.infos["front"].get_subscription_count())
    c.send("front", 3)
    c.until(lambda: c.got["/dps/front/panoptic"])


def test_waiting_images_of_different_cameras_run_together_and_each_keeps_its_own_answer(cameras):
    c = cameras(max_batch=4)
    for name in NAMES:
        c.listen(f"/dps/{name}/panoptic", Image)
    c.ready()
    c.predictor.free.clear()
    c.send("front", 1, value=1)
    c.until(lambda: len(c.predictor.seen) == 1)  # in the network; now both wait
    c.send("front", 2, value=2)
    c.send("rear", 3, value=3, size=(48, 64))
    c.until(lambda: c.counts("front").received == 2 and c.counts("rear").received == 1)
    c.predictor.free.set()
    c.until(lambda: len(c.got["/dps/front/panoptic"]) == 2 and len(c.got["/dps/rear/panoptic"]) == 1)
    assert c.predictor.batches == [1, 2]
    assert [m.header.stamp.sec for m in c.got["/dps/front/panoptic"]] == [1, 2]
    assert (c.got["/dps/rear/panoptic"][0].height, c.got["/dps/front/panoptic"][1].height) == (48, 24)


@pytest.mark.parametrize(
    ("max_batch", "device", "backend", "together"),
    [(0, "cpu", 16, 1), (0, "cuda:0", 16, 16), (3, "cpu", 16, 3), (3, "cuda:0", 1, 1), (0, "cuda:0", 1, 1)],
)
def test_how_many_images_run_together(max_batch, device, backend, together):
    predictor = FakePredictor()
    predictor.device = device
    predictor.backend.max_batch = backend
    assert images_together(Parameters(max_batch=max_batch), predictor) == together


def test_a_batch_gives_what_single_images_give(small_weights):
    from dps_perception.inference.predictor import Predictor

    predictor = Predictor.load(small_weights, device="cpu", precision="fp32")
    images = [np.random.default_rng(i).integers(0, 256, (50, 70 + i, 3), np.uint8) for i in range(3)]
    prepared = [predictor.prepare(each) for each in images]
    together = [
        predictor.fuse(tensors, each)
        for tensors, each in zip(predictor.infer_together(prepared), prepared, strict=True)
    ]
    for each, one in zip(images, together, strict=True):
        alone = predictor.predict(each)
        assert one.panoptic.shape == each.shape[:2]
        assert (one.panoptic == alone.panoptic).mean() > 0.99  # sums in another order
        np.testing.assert_allclose(one.depth_m, alone.depth_m, rtol=1e-3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cameras": "front, front"}, "names a camera twice"),
        ({"cameras": "front rear"}, "cameras='front rear' is not valid"),
        ({"cameras": "front,"}, "cameras='front,' is not valid"),
        ({"cameras": "front, rear", "frame_id": "camera"}, "would give 2 cameras one frame"),
    ],
)
def test_camera_lists_that_cannot_be(values, said):
    with ros() as (context, _), pytest.raises(ConfigError, match=said):
        DpsNode(FakePredictor, context=context, parameter_overrides=overrides(**values))

"""A running node between a feeder and a listener, for the node's tests."""

import contextlib

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_fakes import FakePredictor, camera_info, image, overrides, ros
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from dps_perception.node.node import DpsNode
from dps_perception.node.qos import LATCHED
from dps_perception.node.spin import spin_until


class Rig:
    """The node, and a second node that feeds it and keeps what it publishes."""

    def __init__(self, context, executor, load=FakePredictor, image_type=Image, image_topic="image", qos=1, **values):
        self.executor = executor
        self.loaded = []
        self.node = DpsNode(self._remember(load), context=context, parameter_overrides=overrides(**values))
        self.other = Node("other", context=context)
        for node in (self.node, self.other):
            executor.add_node(node)
        self.got = {}
        self.images = self.other.create_publisher(image_type, image_topic, qos)
        self.infos = self.other.create_publisher(CameraInfo, "camera_info", 1)
        self.warnings = []
        self.node._cameras._throttle = lambda kind, text: self.warnings.append((kind, text))

    def _remember(self, load):
        def loading(*args, **settings):
            self.loaded.append(load(*args, **settings))
            return self.loaded[-1]

        return loading

    @property
    def predictor(self):
        return self.loaded[-1]

    def listen(self, **topics):
        for name, kind in topics.items():
            self.got[name] = []
            qos = LATCHED if name == "panoptic_info" else 10
            topic = "/diagnostics" if name == "diagnostics" else f"/dps/{name}"
            self.other.create_subscription(kind, topic, self.got[name].append, qos)

    def until(self, condition, timeout_s=10.0):
        assert spin_until(self.executor, condition, timeout_s), f"warnings: {self.warnings}"

    def ready(self):
        """Active, and every topic has found its other side."""
        self.until(lambda: self.node.state == "active")
        self.until(lambda: self.images.get_subscription_count() > 0 and self.infos.get_subscription_count() > 0)
        outputs = self.node.cameras[0].line.outputs
        names = [n for n in self.got if n in outputs._publishers]
        self.until(lambda: all(outputs._publishers[n].get_subscription_count() for n in names))
        if "stats" in self.got:
            self.until(lambda: outputs.wants_stats)

    def send(self, second, info=True, **changes):
        self.images.publish(image(stamp=(second, 0), **changes))
        if info:
            self.infos.publish(camera_info(stamp=(second, 0)))

    def stamps(self, name):
        return [m.header.stamp.sec for m in self.got[name]]

    def call(self, kind, name, **request):
        client = self.other.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(kind.Request(**request))
        self.until(future.done)
        return future.result()

    def status(self, part):
        """The latest diagnostics of "input", "processing" or "model"."""
        arrays = self.got["diagnostics"] or [DiagnosticArray(status=[DiagnosticStatus(name=f"dps: {part}")])]
        return next(s for s in arrays[-1].status if s.name == f"dps: {part}")


@contextlib.contextmanager
def rigs():
    """A maker of Rigs; their nodes are shut down afterwards."""
    with ros() as (context, executor):
        made = []

        def make(**values):
            made.append(Rig(context, executor, **values))
            return made[-1]

        yield make
        for r in made:
            for predictor in r.loaded:
                predictor.free.set()
            if r.node.state in ("inactive", "active"):
                r.node.trigger_shutdown()

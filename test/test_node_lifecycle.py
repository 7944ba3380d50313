"""Lifecycle and services of the node, with a predictor whose answers are known."""

import gc
import threading
import weakref

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from node_fakes import overrides
from node_rig import rigs
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from dps_msgs.msg import PanopticInfo

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def rig():
    with rigs() as make:
        yield make


def test_transitions_in_order(rig):
    r = rig(autostart=False)
    node = r.node
    assert node.state == "unconfigured"
    assert node.trigger_configure() == SUCCESS
    assert r.predictor.warm
    assert node.state == "inactive"
    assert node.trigger_activate() == SUCCESS
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert r.predictor.closed
    assert node.state == "unconfigured"
    assert node.trigger_shutdown() == SUCCESS
    assert node.state == "finalized"


def test_transitions_again_and_again_leave_nothing_behind(rig):
    r = rig(autostart=False)

    def cycle():
        for step in ("configure", "activate", "deactivate", "cleanup"):
            assert getattr(r.node, f"trigger_{step}")() == SUCCESS

    cycle()
    gc.collect()
    threads, publishers = threading.active_count(), len(list(r.node.publishers))
    subscriptions, timers = len(list(r.node.subscriptions)), len(list(r.node.timers))
    for _ in range(10):
        cycle()
    assert threading.active_count() == threads
    assert len(list(r.node.publishers)) == publishers
    assert len(list(r.node.subscriptions)) == subscriptions
    assert len(list(r.node.timers)) == timers
    assert all(p.closed for p in r.loaded)


def test_a_node_that_is_gone_leaves_nothing_in_memory():
    with rigs() as make:
        r = make(autostart=False)
        assert r.node.trigger_configure() == SUCCESS
        node, context = weakref.ref(r.node), weakref.ref(r.node.context)
    del r, make
    gc.collect()
    assert node() is None
    assert context() is None


def test_lifecycle_services_and_autostart_off(rig):
    r = rig(autostart=False)
    assert r.call(GetState, "/dps/get_state").current_state.label == "unconfigured"
    request = ChangeState.Request()
    request.transition.label = "configure"
    assert r.call(ChangeState, "/dps/change_state", transition=request.transition).success
    assert r.call(GetState, "/dps/get_state").current_state.label == "inactive"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"weights": "missing"}, "no weights file 'missing'"),
        ({"device": "cuda:9"}, "PyTorch sees 0 GPUs"),
        ({"input_height": 64}, "set both"),
        ({"label_space": "cityscape"}, "label space 'cityscapes', the parameter label_space asks for 'cityscape'"),
        ({"no_point_classes": "raod"}, "no_point_classes: label space 'cityscapes' has no class 'raod', did you mean"),
    ],
)
def test_a_failing_configure_is_clean_and_says_why(rig, values, reason):
    r = rig(autostart=False, diagnostics_period=0.1, **values)
    r.listen(diagnostics=DiagnosticArray)
    before = len(list(r.node.publishers))
    assert r.node.trigger_configure() == FAILURE
    assert r.node.state == "unconfigured"
    assert len(list(r.node.publishers)) == before
    assert all(p.closed for p in r.loaded)
    r.until(lambda: reason in r.status("model").message)
    assert r.status("model").level == DiagnosticStatus.ERROR
    right = {"weights": "", "device": "cpu", "input_height": 0, "label_space": "cityscapes", "no_point_classes": ""}
    r.node.set_parameters(overrides(**right))
    assert r.node.trigger_configure() == SUCCESS  # put right without a restart


def test_an_unexpected_error_while_loading_goes_back_to_unconfigured(rig):
    def load(*_, **__):
        raise KeyError("surprise")

    r = rig(load=load, autostart=False)
    assert r.node.trigger_configure() == TransitionCallbackReturn.ERROR
    assert r.node.state == "unconfigured"


def test_nothing_is_published_or_received_unless_active(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    r.node.trigger_deactivate()
    r.until(lambda: r.images.get_subscription_count() == 0)
    r.send(1)
    r.node.trigger_activate()
    r.ready()
    r.send(2)
    r.until(lambda: r.got["panoptic"])
    assert r.stamps("panoptic") == [2]


def test_enable_switches_the_stream_off_and_on(rig):
    r = rig(diagnostics_period=0.1)
    r.listen(panoptic=Image, diagnostics=DiagnosticArray)
    r.ready()
    answer = r.call(SetBool, "/dps/enable", data=False)
    assert (answer.success, answer.message) == (True, "disabled, active")
    r.until(lambda: r.images.get_subscription_count() == 0)
    r.until(lambda: r.status("processing").message == "disabled")
    assert r.call(SetBool, "/dps/enable", data=True).success
    r.ready()
    r.send(7)
    r.until(lambda: r.stamps("panoptic") == [7])


def test_reload_takes_what_needs_a_reload_and_frees_the_old(rig):
    r = rig()
    r.listen(panoptic=Image, panoptic_info=PanopticInfo)
    r.ready()
    r.node.set_parameters([Parameter("input_height", value=64), Parameter("input_width", value=128)])
    assert len(r.loaded) == 1
    answer = r.call(Trigger, "/dps/reload_model")
    assert (answer.success, answer.message) == (True, "loaded fake")
    first, second = r.loaded
    assert second.settings["input_size"] == (64, 128)
    r.until(lambda: first.closed)
    assert not second.closed
    r.until(lambda: len(r.got["panoptic_info"]) == 2)
    r.send(1)
    r.until(lambda: r.stamps("panoptic") == [1])
    assert (len(first.seen), len(second.seen)) == (0, 1)


def test_a_failed_reload_leaves_the_old_model_running(rig):
    r = rig()
    r.listen(panoptic=Image)
    r.ready()
    r.node.set_parameters([Parameter("label_space", value="coco_panoptic")])
    answer = r.call(Trigger, "/dps/reload_model")
    assert not answer.success
    assert "the parameter label_space asks for 'coco_panoptic'" in answer.message
    r.send(1)
    r.until(lambda: r.stamps("panoptic") == [1])
    assert not r.loaded[0].closed
    assert r.loaded[1].closed


def test_reload_needs_a_configured_node(rig):
    answer = rig(autostart=False).call(Trigger, "/dps/reload_model")
    assert (answer.success, answer.message) == (False, "the node is unconfigured; configure it first")

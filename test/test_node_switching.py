"""Switching models in a running node: what is refused at once, what happens beside, between frames, and on failure.

Predictors here are fakes that obey; `test_node_switching_process.py` has real backends.
"""

import re
import threading
from typing import ClassVar

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_fakes import FakePredictor, overrides
from node_rig import rigs
from rcl_interfaces.msg import ParameterEvent
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from dps_msgs.msg import PanopticInfo, PipelineStats
from dps_perception.errors import BackendError
from dps_perception.node import node as node_module
from dps_perception.node.diagnostics import ModelHealth
from dps_perception.node.parameters import Parameters
from dps_perception.node.switching import Switcher


class Slow(FakePredictor):
    """Loads when its gate opens; "openvino" then fails with the device out of memory."""

    gates: ClassVar[dict[str, threading.Event]] = {}

    def __init__(self, weights="", **settings):
        name = settings["backend"]
        self.gates.setdefault(name, threading.Event()).wait(10)
        if name == "openvino":
            raise BackendError("openvino: out of memory")
        super().__init__(weights, **settings)
        self.backend_name = name


@pytest.fixture
def rig(monkeypatch):
    Slow.gates = {"torch": threading.Event()}
    Slow.gates["torch"].set()
    monkeypatch.setattr(node_module, "validate", lambda parameters: None)  # nothing is installed for fakes
    with rigs() as make:
        yield lambda **values: make(load=Slow, diagnostics_period=0.1, **values)
    for gate in Slow.gates.values():
        gate.set()


def gate(name):
    return Slow.gates.setdefault(name, threading.Event())


def set_(r, **values):
    return r.node.set_parameters(overrides(**values))


def value(r, name):
    return r.node.get_parameter(name).value


def test_the_old_one_goes_on_until_the_new_one_is_warm(rig):
    r = rig()
    r.listen(panoptic=Image, stats=PipelineStats, diagnostics=DiagnosticArray, panoptic_info=PanopticInfo)
    r.ready()
    assert set_(r, backend="onnxruntime")[0].successful
    r.until(lambda: "onnxruntime is being built" in r.status("model").message)
    assert r.status("model").level == DiagnosticStatus.OK
    r.send(1)
    r.until(lambda: len(r.got["stats"]) == 1)
    assert (r.got["stats"][0].backend, r.got["stats"][0].switching_to) == ("torch", "onnxruntime")
    gate("onnxruntime").set()
    r.until(lambda: r.loaded[0].closed)
    assert r.loaded[1].warm
    r.until(lambda: not r.node.health.switching_to)
    r.send(2)
    r.until(lambda: len(r.got["stats"]) == 2)
    assert (r.got["stats"][1].backend, r.got["stats"][1].switching_to) == ("onnxruntime", "")
    assert r.stamps("panoptic") == [1, 2]
    r.until(lambda: len(r.got["panoptic_info"]) == 2)


def test_it_never_takes_over_in_the_middle_of_a_frame(rig):
    r = rig()
    r.listen(stats=PipelineStats)
    r.ready()
    old = r.loaded[0]
    old.free.clear()
    r.send(1)
    r.until(lambda: old.seen)
    gate("onnxruntime").set()
    set_(r, backend="onnxruntime")
    r.until(lambda: len(r.loaded) == 2 and r.loaded[1].warm)
    assert not old.closed
    old.free.set()
    r.until(lambda: old.closed and len(r.got["stats"]) == 1)
    assert r.got["stats"][0].frames_processed == 1


def test_a_frame_that_was_prepared_for_the_old_one_is_prepared_again(rig):
    r = rig(overlap="all", qos_output_depth=10)
    r.listen(stats=PipelineStats)
    r.ready()
    old = r.loaded[0]
    old.free.clear()
    r.send(1)
    r.until(lambda: old.seen)
    r.send(2)
    r.until(lambda: r.node._worker._places[1])
    gate("onnxruntime").set()
    set_(r, backend="onnxruntime")
    r.until(lambda: len(r.loaded) == 2 and r.loaded[1].warm and r.node._worker._jobs)
    old.free.set()
    r.until(lambda: len(r.got["stats"]) == 2)
    assert [stats.backend for stats in r.got["stats"]] == ["torch", "onnxruntime"]
    assert (len(old.seen), len(r.loaded[1].seen)) == (1, 1)


def test_a_failure_leaves_the_old_one_and_is_told_everywhere(rig):
    r = rig()
    r.listen(stats=PipelineStats, diagnostics=DiagnosticArray)
    r.ready()
    events = []
    r.other.create_subscription(ParameterEvent, "/parameter_events", events.append, 10)
    r.until(lambda: r.other.count_publishers("/parameter_events") > 0)
    gate("openvino").set()
    set_(r, backend="openvino")
    r.until(lambda: value(r, "backend") == "torch")
    r.until(lambda: r.status("model").level == DiagnosticStatus.WARN)
    assert r.status("model").message == "fake goes on: openvino: openvino: out of memory"
    r.send(1)
    r.until(lambda: r.got["stats"])
    assert (r.got["stats"][0].backend, r.got["stats"][0].switch_error) == ("torch", "openvino: openvino: out of memory")

    def told():
        changes = [p.value.string_value for e in events for p in e.changed_parameters if p.name == "backend"]
        return changes[-2:] == ["openvino", "torch"]

    r.until(told)
    gate("onnxruntime").set()
    set_(r, backend="onnxruntime")  # the next success clears it
    r.until(lambda: r.status("model").level == DiagnosticStatus.OK)


def test_the_newest_change_wins(rig):
    r = rig()
    r.ready()
    set_(r, backend="openvino")
    set_(r, backend="onnxruntime", precision="fp16")
    gate("onnxruntime").set()
    gate("openvino").set()  # it fails, but nobody is interested any more
    r.until(lambda: r.loaded[0].closed and not r.node.health.switching_to)
    assert (value(r, "backend"), value(r, "precision")) == ("onnxruntime", "fp16")
    assert r.loaded[-1].settings["precision"] == "fp16"
    assert sum(not p.closed for p in r.loaded) == 1


def test_back_to_what_runs_while_another_is_built(rig):
    r = rig()
    r.ready()
    set_(r, backend="onnxruntime")
    set_(r, backend="torch")
    gate("onnxruntime").set()
    r.until(lambda: not r.node.health.switching_to)
    assert r.node._pipeline.predictor.backend_name == "torch"
    assert sum(not p.closed for p in r.loaded) == 1


def test_clean_up_while_another_is_built_frees_both(rig):
    r = rig()
    r.ready()
    set_(r, backend="onnxruntime")
    r.until(lambda: r.node.health.switching_to == "onnxruntime")
    r.node.trigger_deactivate()
    r.node.trigger_cleanup()
    gate("onnxruntime").set()
    r.until(lambda: len(r.loaded) == 2 and all(p.closed for p in r.loaded))
    assert value(r, "backend") == "onnxruntime"  # what the next configure takes


def test_what_was_asked_for_before_a_clean_up_does_not_replace_what_runs_after_it(rig):
    r = rig()
    r.ready()
    set_(r, backend="onnxruntime")
    r.until(lambda: "onnxruntime" in Slow.gates)  # it is being built
    r.node.trigger_deactivate()
    r.node.trigger_cleanup()
    set_(r, backend="torch")
    r.node.trigger_configure()
    r.node.trigger_activate()
    gate("onnxruntime").set()
    r.until(lambda: len(r.loaded) == 3 and sum(not p.closed for p in r.loaded) == 1)
    assert r.node._pipeline.predictor.backend_name == "torch"
    assert [p.backend_name for p in r.loaded if not p.closed] == ["torch"]
    assert not r.node.health.switch_error


def test_what_was_not_begun_before_a_clean_up_is_not_begun_after_it(rig):
    r = rig()
    r.ready()
    set_(r, backend="openvino")
    r.until(lambda: "openvino" in Slow.gates)
    set_(r, backend="onnxruntime")  # waits for the one that is being built
    r.node.trigger_deactivate()
    r.node.trigger_cleanup()
    assert not r.node.health.switching_to
    gate("openvino").set()
    r.until(lambda: r.node._switcher._thread is None)
    assert "onnxruntime" not in Slow.gates
    assert all(p.closed for p in r.loaded)


def test_shutdown_waits_for_what_is_built(rig):
    """A process that ends in the middle of it is aborted."""
    r = rig()
    r.ready()
    set_(r, backend="onnxruntime")
    r.until(lambda: r.node.health.switching_to == "onnxruntime")
    threading.Timer(0.2, gate("onnxruntime").set).start()
    r.node.trigger_shutdown()
    assert [p.closed for p in r.loaded] == [True, True]


def test_a_long_build_ends_with_its_next_report_when_the_node_does():
    reports, ended, begun = [], [], threading.Event()

    def build(_, progress):
        while True:
            progress("0 s so far")
            begun.set()

    switcher = Switcher(build, lambda new, _: new, ended.append, reports.append, ModelHealth())
    outcome = switcher.ask(Parameters())
    assert begun.wait(10)
    assert switcher.close(10)
    assert outcome.result(10).failure == "the node ends"
    assert set(reports) == {"0 s so far"}
    assert ended


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"backend": "openvin"}, "choose one of: torch, onnxruntime, openvino, tensorrt, auto"),
        ({"backend": "tensorrt"}, r"tensorrt is not available: .*Available here: torch, onnxruntime, openvino"),
        ({"weights": "nowhere"}, "no weights file .*nowhere"),
        ({"device": "cuda:9"}, "PyTorch sees 0 GPUs"),
        ({"precision": "int8"}, "runs .* here in auto, .*fp32"),
        ({"backend": "openvino", "precision": "fp16"}, "backend openvino runs .* here in auto, .*fp32"),
        (
            {"backend": "openvino", "backend_mode": "compile"},
            "mode 'compile' of backend openvino is not one of latency",
        ),
        ({"backend": "auto", "backend_mode": "compile"}, "needs a named backend"),
        ({"backend": "auto", "precision": "int8"}, "no backend here runs .* in precision 'int8'"),
        ({"backend": "auto", "device": "cuda:9"}, "PyTorch sees 0 GPUs"),
    ],
)
def test_what_can_not_work_is_refused_at_once(values, reason, small_weights):
    with rigs() as make:
        r = make(autostart=False, device="cpu")
        answer = r.node.set_parameters_atomically(overrides(**values))
        assert not answer.successful
        assert re.search(reason, answer.reason), answer.reason
        assert r.node.set_parameters([Parameter("weights", value=str(small_weights))])[0].successful

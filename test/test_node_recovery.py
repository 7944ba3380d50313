"""A model whose runs all fail is loaded again, with growing pauses, and the stream goes on as soon as it works."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_fakes import FakePredictor
from node_rig import rigs
from sensor_msgs.msg import Image

from dps_perception.errors import BackendError
from dps_perception.node.diagnostics import ModelHealth
from dps_perception.node.recovery import FAILED_RUNS, Recovery


class Lost(FakePredictor):
    """Runs fail as they do when the device is gone."""

    def infer(self, prepared):
        super().infer(prepared)
        raise BackendError("backend torch on cuda:0: device lost")


def test_a_lost_device_is_named_and_the_model_loaded_again():
    models = [Lost, FakePredictor]
    with rigs() as make:
        r = make(load=lambda *a, **k: models.pop(0)(*a, **k), diagnostics_period=0.1)
        r.listen(panoptic=Image, diagnostics=DiagnosticArray)
        r.ready()
        for second in range(1, FAILED_RUNS):
            r.send(second)
            r.until(lambda second=second: r.node.health.failed_runs == second)
        r.until(lambda: "fake: 2 runs in a row failed" in r.status("model").message)
        assert r.status("model").level == DiagnosticStatus.ERROR
        assert "device lost" in r.status("processing").message
        assert len(r.loaded) == 1
        r.send(FAILED_RUNS)
        r.until(lambda: len(r.loaded) == 2 and r.loaded[0].closed and not r.node.health.switching_to)
        r.send(9)
        r.until(lambda: r.stamps("panoptic") == [9])
        r.until(lambda: r.status("model").level == DiagnosticStatus.OK)
        assert r.node.health.recoveries == 1


def test_bad_images_are_no_reason_to_load_again():
    with rigs() as make:
        r = make()
        r.ready()
        for second in range(1, FAILED_RUNS + 2):
            r.send(second, encoding="rgb9")
            r.until(lambda second=second: len(r.warnings) == second)
        assert r.node.health.failed_runs == 0
        assert len(r.loaded) == 1


def test_pauses_grow_until_a_run_succeeds():
    now, asked, health = [0.0], [], ModelHealth()
    recovery = Recovery(lambda: asked.append(now[0]), health, lambda: now[0])
    for tenths in range(200):
        now[0] = tenths / 10
        recovery.run_failed()
    assert asked == [0.2, 1.2, 3.2, 7.2, 15.2]  # after 3 failures, then 1, 2, 4, 8 s
    recovery.run_succeeded()
    for _ in range(FAILED_RUNS):
        recovery.run_failed()
    assert len(asked) == 5  # still within the pause after the last
    now[0] += 12
    recovery.run_failed()
    assert len(asked) == 6


def test_nothing_is_asked_while_a_model_is_being_built():
    asked, health = [], ModelHealth(switching_to="openvino")
    recovery = Recovery(lambda: asked.append(1), health)
    for _ in range(10):
        recovery.run_failed()
    assert not asked

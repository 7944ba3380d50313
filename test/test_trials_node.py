"""Faults and a short soak against the real node in its process, with its real weights at a small size."""

import os
import signal
import time

import pytest

from dps_perception.node.encode import OUTPUTS
from dps_perception.trials import endings, faults
from dps_perception.trials.result import Result
from dps_perception.trials.soak import soak
from dps_perception.trials.stand import Setup, Stand

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    environment = {name: value for name, value in os.environ.items() if name.startswith(("ROS_", "FAST"))}
    with Stand(tmp_path_factory.mktemp("stand"), Setup(outputs=tuple(OUTPUTS)), environment) as stand:
        yield stand


@pytest.mark.parametrize("name", ["malformed", "stamps", "parameters", "broken"])
def test_a_fault_does_no_harm(stand, name):
    (fault,) = faults.chosen([name])
    result = Result(fault.name, fault.injected)
    fault.run(stand, result)
    assert not result.failures
    assert result.held
    assert result.happened


def test_a_few_hundred_frames_leave_nothing_behind(stand):
    result = soak(stand, frames=600, warm_up=300)
    assert [sample.frames for sample in result.curve] == list(range(100, 601, 100))
    # Memory has its level after a thousand frames only: the long run looks at that.
    assert [failure for failure in result.check() if "memory grew" not in failure] == []
    assert result.curve[-1].held.resident_mb - result.curve[2].held.resident_mb < 30


def test_signals_end_it_in_order_while_it_runs_and_while_it_starts(stand):
    running = endings.end(stand, "while it waits for frames", signal.SIGTERM)
    assert running.right(at_once=False), f"{running}\n{stand.log}"
    for share, number in ((0.2, signal.SIGINT), (0.7, signal.SIGTERM)):
        stand.launch()
        time.sleep(max(2 * endings.FIRST_LINE_S, share * stand.started_s))
        starting = endings.end(stand, f"after {share:.0%} of the start", number)
        assert starting.right(at_once=False), f"{starting}\n{stand.log}"

"""Faults and a short soak against the real node in its process, with its real weights at a small size."""

import signal
import time

import pytest

from dps_perception.node.encode import OUTPUTS
from dps_perception.trials import endings, faults, models
from dps_perception.trials.process import catches
from dps_perception.trials.result import Result
from dps_perception.trials.soak import soak
from dps_perception.trials.stand import Setup, Stand, TrialError

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with Stand(tmp_path_factory.mktemp("stand"), Setup(outputs=tuple(OUTPUTS))) as stand:
        yield stand


@pytest.mark.parametrize("name", ["malformed", "stamps", "parameters", "broken"])
def test_a_fault_does_no_harm(stand, name, monkeypatch):
    # Other tests run at the same time: how many frames a second must come through is left to the command.
    monkeypatch.setattr(models, "LONGEST_GAP_S", 10.0)
    monkeypatch.setattr(models, "MOST_LOST", 1.0)
    (fault,) = faults.chosen([name])
    result = Result(fault.name, fault.injected)
    fault.run(stand, result)
    assert not result.failures
    assert result.held
    assert result.happened


def test_a_few_hundred_frames_leave_nothing_behind(stand):
    result = soak(stand, frames=600, warm_up=300)
    assert [sample.frames for sample in result.curve] == list(range(100, 601, 100))
    assert result.check() == []
    # Memory has its level after a thousand frames only: the long run looks at that.
    assert result.curve[-1].held.resident_mb - result.curve[2].held.resident_mb < 30


def test_signals_end_it_in_order_while_it_runs_and_while_it_starts(stand):
    running = endings.end(stand, "while it waits for frames", signal.SIGTERM)
    assert running.right, f"{running}\n{stand.log}"
    assert not running.at_once
    with pytest.raises(TrialError, match="no frame comes out"):
        stand.settle()
    for share, number in ((0.2, signal.SIGINT), (0.7, signal.SIGTERM)):
        stand.launch()
        stand.wait(lambda: catches(stand.pid, signal.SIGTERM), "that the node catches signals")
        time.sleep(share * stand.started_s)
        starting = endings.end(stand, f"after {share:.0%} of the start", number)
        assert starting.right, f"{starting}\n{stand.log}"
        assert not starting.at_once

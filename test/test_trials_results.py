"""What the trials make of what they saw: growth, endings, tables, exit status."""

import json
import os
import signal
import subprocess
import sys

import pytest

from dps_perception import cli
from dps_perception.errors import ConfigError
from dps_perception.trials import faults
from dps_perception.trials.endings import Ending
from dps_perception.trials.peer import stamps
from dps_perception.trials.process import Held, catches, held_by, session_of
from dps_perception.trials.result import Result
from dps_perception.trials.soak import Sample, Soak, command
from dps_perception.trials.stand import TrialError, some


def curve(resident=None, threads=None, files=None, shared=None):
    """20 samples of 100 frames; each argument maps the sample's index to a value."""
    return [
        Sample(100 * (i + 1), float(i), Held(
            resident_mb=resident(i) if resident else 500.0, private_mb=300.0, threads=threads(i) if threads else 20,
            files=files(i) if files else 25, shared_mb=shared(i) if shared else 134.0,
        ))
        for i in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "failure"),
    [
        (curve(), None),
        (curve(resident=lambda i: 300 + 20 * min(i, 9)), None),  # all of it within the warm-up
        (curve(resident=lambda i: 500 + (8 if i == 15 else 0)), None),  # one peak is no level
        (curve(resident=lambda i: 500 + i), "resident memory grew by 6.0 MiB, 5 are allowed"),
        (curve(threads=lambda i: 20 + (i == 19)), "threads grew from 20 to 20 (at most 21)"),
        (curve(files=lambda i: 25 + i // 4), "open files grew from 27 to 29 (at most 29)"),
        (curve(shared=lambda i: 134.0 * (1 + (i > 12))), "shared memory [MiB] grew from 134 to 268 (at most 268)"),
    ],
)
def test_growth_after_the_warm_up_is_a_failure(samples, failure):
    assert Soak(2000, 0, 1000, samples).check() == ([failure] if failure else [])


def test_lost_frames_are_a_failure():
    assert Soak(2000, 3, 1000, curve()).check() == ["3 of 2000 frames did not come out whole"]


@pytest.mark.parametrize(
    ("status", "left", "traceback", "at_once", "right"),
    [
        (0, (), False, False, True),
        (-signal.SIGTERM, (), False, False, False),
        (-signal.SIGTERM, (), False, True, True),
        (None, (), False, True, False),  # it goes on
        (0, ("process 7",), False, False, False),
        (0, (), True, False, False),
    ],
)
def test_what_a_right_ending_is(status, left, traceback, at_once, right):
    assert Ending("now", "SIGTERM", status, 1.0, left, traceback, at_once).right is right


def test_a_process_and_its_session_are_seen():
    held = held_by(os.getpid())
    assert held.threads >= 1
    assert held.files >= 3
    assert held.resident_mb > held.private_mb > 1
    program = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); "
        "sys.stdin.read(); child.kill(); child.wait()"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    child = int(leader.stdout.readline())
    found = session_of(leader.pid)
    leader.communicate()
    assert found == [child]
    assert session_of(leader.pid) == []


def test_a_failing_fault_fails_the_command_and_the_table_says_why(tmp_path, monkeypatch, capsys):
    good, bad = Result("pause", "no image", "it waits", sent=10, lost=0, recovered_s=0.04), Result("jpeg", "noise")
    bad.must(False, "2 of 3 frames came through")
    bad.must(True, "the node is alive")
    monkeypatch.setattr(faults, "run", lambda chosen, done: [done(good), done(bad)])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(faults, "stop_requests_as_interrupts", lambda: None)
    table, report = tmp_path / "README.md", tmp_path / "faults.json"
    table.write_text("before\n<!-- faults -->\n<!-- /faults -->\nafter\n")
    assert cli.run(faults.command, ["--json", str(report), "--markdown", str(table)]) == 2
    assert "1 of 2 faults did harm: jpeg" in capsys.readouterr().err
    assert "| no image | it waits | 10 | 0 | 0.0 |" in table.read_text()
    assert "| noise | **failed**: 2 of 3 frames came through | - | - | - |" in table.read_text()
    assert [fault["name"] for fault in json.loads(report.read_text())["faults"]] == ["pause", "jpeg"]


def test_one_fault_takes_its_place_among_those_of_the_same_machine_only(tmp_path, monkeypatch, capsys):
    report = tmp_path / "faults.json"
    others = [Result("flood", "60 Hz", "all counted").to_dict(), Result("pause", "no image", "it waited").to_dict()]
    monkeypatch.setattr(faults, "run", lambda chosen, done: done(Result("pause", "no image", "it waits")))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(faults, "stop_requests_as_interrupts", lambda: None)
    here = faults.hardware()
    report.write_text(json.dumps({"hardware": {**here, "load": "9.0"}, "faults": others}))
    assert cli.run(faults.command, ["--only", "pause", "--json", str(report)]) == 0
    written = json.loads(report.read_text())["faults"]
    assert [(each["name"], each["happened"]) for each in written] == [("pause", "it waits"), ("flood", "all counted")]
    report.write_text(json.dumps({"hardware": {**here, "cpu": "Z80"}, "faults": others}))
    assert cli.run(faults.command, ["--only", "pause", "--json", str(report)]) == 2
    assert f"cpu: Z80 then, {here['cpu']} now" in capsys.readouterr().err
    assert json.loads(report.read_text())["hardware"]["cpu"] == "Z80"


def test_a_soak_is_long_enough_for_two_levels_without_a_common_sample():
    with pytest.raises(ConfigError, match="at least 1900"):
        command(["--frames", "1899"])


def test_figures_of_nothing_are_refused():
    assert some([1], "ages") == [1]
    with pytest.raises(TrialError, match="there are no ages"):
        some([], "ages")


def test_a_process_that_catches_a_signal_is_seen():
    program = (
        "import signal, sys; print(flush=True); sys.stdin.readline(); signal.signal(signal.SIGTERM, print); "
        "print(flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        assert not catches(process.pid, signal.SIGTERM)
        assert catches(process.pid, signal.SIGINT)  # Python's own
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert catches(process.pid, signal.SIGTERM)
        assert not catches(process.pid, signal.SIGQUIT)
        process.stdin.close()
    assert not catches(process.pid, signal.SIGTERM)


def test_the_stamps_of_a_camera_are_read_from_its_log(tmp_path):
    (tmp_path / "camera.log").write_text("a warning of 2 things\n1000000000\n1100000000\n")
    assert stamps(tmp_path / "camera.log") == [1_000_000_000, 1_100_000_000]


def test_an_unknown_fault_names_the_nearest():
    with pytest.raises(ConfigError, match="no such fault, did you mean 'killed'"):
        faults.chosen(["kiled"])

"""Recordings outlive what ends them: a full disk, signals at any moment, SIGKILL and power cuts."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from std_msgs.msg import String

from dps_perception import cli
from dps_perception.data.bag import BagReader
from dps_perception.data.bag_recovery import recover_bag, unfinished
from dps_perception.data.bag_writer import BagWriter
from dps_perception.errors import DatasetError
from dps_perception.node import record

LIMIT = 5 << 20
TEXT = "std_msgs/msg/String"


def numbers(bag: Path) -> list[int]:
    """What the messages of a bag begin with, by the library's own reader."""
    with AnyReader([bag]) as reader:
        return [int(reader.deserialize(raw, c.msgtype).data.split()[0]) for c, _, raw in reader.messages()]


def write(writer: BagWriter, count: int, size: int = 1000, first: int = 0) -> None:
    for i in range(first, first + count):
        writer.write("/text", TEXT, 1000 + i, writer.new(TEXT, data=f"{i} {'x' * size}"))


def writing_child(body: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    program = "import sys\nfrom dps_perception.data.bag_writer import BagWriter\n" + textwrap.dedent(body)
    words = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_full_disk_keeps_all_that_was_written(tmp_path: Path) -> None:
    """No file may grow beyond 5 MB: writing fails as on a full disk, and what came before is a bag of that name."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    child = writing_child(
        """
        from dps_perception.cli import run
        def command(argv):
            with BagWriter(sys.argv[1], keep=True) as writer:
                for i in range(100_000):
                    text = writer.new("std_msgs/msg/String", data=f"{i} {'x' * 1000}")
                    writer.write("/text", "std_msgs/msg/String", 1000 + i, text)
        sys.exit(run(command))
        """,
        tmp_path / "bag",
        preexec_fn=limit,
    )
    _, err = child.communicate(timeout=60)
    found = numbers(tmp_path / "bag")
    assert child.returncode == 2
    assert found == list(range(len(found)))
    assert len(found) * 1000 > LIMIT - (2 << 20)  # all but the last chunk, of a megabyte
    assert err == (
        f"error: bag '{tmp_path / 'bag'}' can't be written: File too large; choose another place for it; "
        f"{len(found)} messages that came before that are in '{tmp_path / 'bag'}'\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_full_file_system_keeps_everything(tmp_path: Path) -> None:
    """The room held in reserve takes the last chunk too, and the summary."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small file system can't be mounted here: not permitted")
    try:
        begun = -1

        def fill() -> None:
            nonlocal begun
            with BagWriter(disk / "bag", keep=True) as writer:
                while True:
                    begun += 1
                    write(writer, 1, first=begun)

        with pytest.raises(DatasetError, match="No space left on device") as told:
            fill()
        assert f"{begun + 1} messages that came before" in str(told.value)
        assert numbers(disk / "bag") == list(range(begun + 1))
        with pytest.raises(DatasetError, match="No space left"), BagWriter(disk / "next", keep=True):
            pass  # not even room for what is held in reserve: told at once, and nothing is left behind
        assert [p.name for p in disk.iterdir()] == ["bag"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("compress", [False, True])
def test_killed_writer_loses_a_second_at_most(tmp_path: Path, compress: bool) -> None:
    child = writing_child(
        """
        import time
        with BagWriter(sys.argv[1], keep=True, compress=sys.argv[2] == "True") as writer:
            for i in range(100_000):
                text = writer.new("std_msgs/msg/String", data=f"{i} {time.monotonic()}")
                writer.write("/text", "std_msgs/msg/String", 1000 + i, text)
                print(i, time.monotonic(), flush=True)
                time.sleep(0.003)
        """,
        *(tmp_path / "bag", compress),
    )
    assert child.stdout is not None
    written = {}
    while len(written) < 700:  # two seconds and more
        number, moment = child.stdout.readline().split()
        written[int(number)] = float(moment)
    child.kill()
    for line in child.communicate()[0].splitlines():
        number, moment = line.split()
        written[int(number)] = float(moment)
    assert not (tmp_path / "bag").exists()
    assert len(unfinished(tmp_path / "bag")) == 1
    place, messages = recover_bag(tmp_path / "bag")
    found = numbers(place)
    assert (place, messages) == (tmp_path / "bag", len(found))
    assert found == list(range(len(found)))
    last = max(written.values())
    assert all(last - moment < 1.5 for number, moment in written.items() if number >= len(found))
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]
    with pytest.raises(DatasetError, match="nothing to recover"):
        recover_bag(tmp_path / "bag")


def whole_bag(tmp_path: Path, compress: bool = False) -> bytes:
    """A file of three chunks: messages 0..9, 10..19, 20..29."""
    with BagWriter(tmp_path / "whole", compress=compress) as writer:
        for first in (0, 10, 20):
            write(writer, 10, first=first)
            writer._file.flush()
    return (tmp_path / "whole" / "whole.mcap").read_bytes()


@pytest.mark.parametrize("compress", [False, True])
def test_cut_anywhere(tmp_path: Path, compress: bool) -> None:
    """Every length that a file can be cut to gives whole chunks and nothing else."""
    data = whole_bag(tmp_path, compress)
    rng = random.Random(3)
    kept = set()
    for length in [*sorted(rng.sample(range(60, len(data)), 60)), len(data)]:
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "cut.mcap").write_bytes(data[:length])
        place, messages = recover_bag(folder)
        assert messages in (0, 10, 20, 30)
        assert (numbers(place) if messages else []) == list(range(messages))
        with BagReader(place / "cut.mcap") as reader:  # the file alone too
            assert len(list(reader.raw_messages())) == messages
        kept.add(messages)
    assert kept == {0, 10, 20, 30}
    assert (folder / "cut.mcap").read_bytes() == data  # what is whole is left alone


def test_what_can_not_be_recovered_is_told_and_left_alone(tmp_path: Path) -> None:
    data = bytearray(whole_bag(tmp_path))
    data[len(data) // 6] ^= 255
    (tmp_path / "damaged.mcap").write_bytes(data)
    with pytest.raises(DatasetError, match="the chunk at byte 43 is damaged: its checksum differs"):
        recover_bag(tmp_path / "damaged.mcap")
    assert (tmp_path / "damaged.mcap").read_bytes() == data
    (tmp_path / "no.mcap").write_bytes(b"something else")
    with pytest.raises(DatasetError, match="it is no MCAP file"):
        recover_bag(tmp_path / "no.mcap")
    with BagWriter(tmp_path / "bag", keep=True) as writer:
        write(writer, 1)
        with pytest.raises(DatasetError, match="is still being written"):
            recover_bag(tmp_path / "bag")
    assert numbers(tmp_path / "bag") == [0]


def test_failure_keeps_the_messages_only_where_asked_for(tmp_path: Path) -> None:
    for keep in (True, False):
        with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / str(keep), keep=keep) as writer:  # noqa: PT012
            write(writer, 3)
            raise KeyboardInterrupt
    assert numbers(tmp_path / "True") == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["True"]


def test_an_impatient_second_ctrl_c_leaves_a_rest_that_can_be_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / "bag", keep=True) as writer:  # noqa: PT012
        write(writer, 3)
        monkeypatch.setattr("dps_perception.data.bag_writer.write_metadata", interrupted)
    assert not (tmp_path / "bag").exists()
    assert recover_bag(tmp_path / "bag") == (tmp_path / "bag", 3)
    assert numbers(tmp_path / "bag") == [0, 1, 2]


def structure_errors(path: Path) -> str:
    """What another implementation of MCAP has against a file; "" for nothing."""
    words = [sys.executable, "-m", "rerun", "mcap", "check", str(path)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return "" if checked.returncode == 0 and "ok " in checked.stdout else checked.stdout + checked.stderr


def test_another_implementation_finds_files_and_recovered_ones_in_order(tmp_path: Path) -> None:
    for compress in (False, True):
        folder = tmp_path / str(compress)
        folder.mkdir()
        data = whole_bag(folder, compress)
        assert structure_errors(folder / "whole" / "whole.mcap") == ""
        cut = folder / "cut.mcap"
        cut.write_bytes(data[: len(data) * 2 // 3])
        assert "MCAP" in structure_errors(cut)
        recover_bag(cut)
        assert structure_errors(cut) == ""


def test_signals_at_any_moment(tmp_path: Path, source: Node, recorder: Any) -> None:
    """SIGINT, SIGTERM and SIGKILL while messages pour in; all of a node's topics, found by its name."""
    publishers = [source.create_publisher(String, topic, 1000) for topic in ("/text", "/more")]
    rng = random.Random(5)
    cases = [(number, rng.uniform(0.0, 0.6)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)]
    recorders = [recorder(tmp_path / f"bag{i}", "--node", "/source", "-x", "more") for i in range(len(cases))]
    end = time.monotonic() + 60
    while publishers[0].get_subscription_count() < len(cases):
        assert time.monotonic() < end
        time.sleep(0.01)
    began, sent = time.monotonic(), 0
    waiting = dict(enumerate(cases))
    while waiting:
        for publisher in publishers:
            publisher.publish(String(data=f"{sent} {'x' * 20000}"))
        sent += 1
        time.sleep(0.002)  # 500 Hz: what is faster, a subscriber in Python loses
        for i, (number, after_s) in list(waiting.items()):
            if time.monotonic() - began > after_s:
                recorders[i].send_signal(number)
                del waiting[i]
    for i, (number, _) in enumerate(cases):
        out, err = recorders[i].communicate(timeout=60)
        if number == signal.SIGKILL:
            assert unfinished(tmp_path / f"bag{i}")
            assert cli.run(record.command, [str(tmp_path / f"bag{i}"), "--recover"]) == 0
        else:
            assert (recorders[i].returncode, err) == (0, "")
            assert f"/text x{len(numbers(tmp_path / f'bag{i}'))}" in out
        found = numbers(tmp_path / f"bag{i}")
        assert found == list(range(len(found)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag0", "bag1", "bag2"]
    with BagReader(tmp_path / "bag0") as reader:
        assert set(reader.topics()) == {"/text"}


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in {
        (): "nothing to record: name topics, or give --node /dps or --all",
        ("--node", "dps"): "--node 'dps': give the full name, e.g. /dps",
        ("--all", "-x", "("): "--exclude-regex '(' is no regular expression",
        ("--recover",): "nothing to recover",
    }.items():
        assert cli.run(record.command, [str(tmp_path / "out"), *words]) == 2
        assert told in capsys.readouterr().err

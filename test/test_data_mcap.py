"""MCAP files that a power cut left behind: what of them is cut off, and what is refused and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dps_perception.data.mcap import Channel, McapWriter, _channel_record
from dps_perception.data.mcap_recovery import recover
from dps_perception.errors import DatasetError


def started(path: Path, compress: bool = False) -> McapWriter:
    """A file of three chunks with ten messages each, and no end yet."""
    writer = McapWriter(path, compress=compress)
    channel_id = writer.add_channel("/text", "std_msgs/msg/String", "string data", {})
    for chunk in range(3):
        for i in range(10):
            writer.write(channel_id, 1000 + 10 * chunk + i, f"{i} of {chunk}: ".encode() * 50)
        writer.flush()
    return writer


def refused(path: Path, told: str) -> None:
    before = path.read_bytes()
    with pytest.raises(DatasetError, match=told):
        recover(path, str)
    assert path.read_bytes() == before


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_half_a_chunk_of_zeros(tmp_path: Path, compress: bool, finished: bool, number: int) -> None:
    """The length of a file may be on the disk before its content is: the last chunk with its indexes is given up."""
    path = tmp_path / "x.mcap"
    writer = started(path, compress)
    if finished:
        writer.close(str)
    writer.abort()
    chunk = writer.contents.chunks[number]
    with path.open("r+b") as file:
        file.seek(chunk.start + chunk.length // 2)
        file.write(bytes(chunk.length - chunk.length // 2))
    if number == 2 and not finished:
        assert recover(path, str).counts() == {1: 20}
        assert recover(path, str).counts() == {1: 20}  # it is whole now
    else:
        why = "its compressed data is damaged" if compress else "its checksum differs"
        refused(path, f"the chunk at byte {chunk.start} is damaged: {why}")


def test_messages_of_a_topic_that_nobody_declared(tmp_path: Path) -> None:
    writer = started(tmp_path / "x.mcap")
    for channel_id in (99, 1):  # the second chunk makes the first one the middle of the file
        writer.write(channel_id, 2000, b"")
        writer.flush()
    writer.abort()
    refused(tmp_path / "x.mcap", "message of unknown channel 99")


def test_a_topic_of_a_type_that_nobody_declared(tmp_path: Path) -> None:
    writer = started(tmp_path / "x.mcap")
    writer._write(_channel_record(Channel(2, 7, "/other", {})))
    writer.abort()
    refused(tmp_path / "x.mcap", "topic '/other' has the unknown schema 7")

"""The MCAP file format as far as bags need it, and a writer that leaves readable files whatever becomes of it.

Chunks with their message indexes, then a summary (https://mcap.dev/spec). A file that lacks its end, because the disk
was full or the process was killed, is finished by `mcap_recovery`. The writer of `rosbags` doesn't do: it writes chunks
by their size alone, without checksum or lock, and one that fails can be neither tried again nor taken back.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import importlib
import struct
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DatasetError

MAGIC = b"\x89MCAP0\r\n"
CHUNK_S = 1.0
"""Longest time from a message to its being in the file [s]; more than that is never lost."""
_CHUNK_BYTES = 1 << 20


class Kind(enum.IntEnum):
    """First byte of a record."""

    HEADER = 1
    FOOTER = 2
    SCHEMA = 3
    CHANNEL = 4
    MESSAGE = 5
    CHUNK = 6
    MESSAGE_INDEX = 7
    CHUNK_INDEX = 8
    STATISTICS = 11
    METADATA = 12
    METADATA_INDEX = 13
    SUMMARY_OFFSET = 14
    DATA_END = 15


@dataclass(frozen=True)
class Channel:
    """A topic in a file; `metadata` has the `offered_qos_profiles` that rosbag2 asks for, as YAML."""

    id: int
    schema_id: int
    topic: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Chunk:
    """A chunk record and the message indexes behind it.

    Attributes:
        start, length: of the record [bytes].
        times_ns: recording times of the first and the last message; 0, 0 without messages.
        counts: messages by channel id.
        offsets: where each channel's message index begins.
        index_length: of all message indexes [bytes].
        compression, packed_size, size: name, and sizes with and without it [bytes].
    """

    start: int
    length: int
    times_ns: tuple[int, int]
    counts: Mapping[int, int]
    offsets: Mapping[int, int]
    index_length: int
    compression: str
    packed_size: int
    size: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.start + self.length + self.index_length


@dataclass
class Contents:
    """What a file holds; `schemas` has (type name, encoding, definition) by id."""

    schemas: dict[int, tuple[str, str, bytes]] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)

    def counts(self) -> dict[int, int]:
        """Messages by channel id."""
        total = dict.fromkeys(self.channels, 0)
        for chunk in self.chunks:
            for channel_id, count in chunk.counts.items():
                total[channel_id] += count
        return total

    def times_ns(self) -> tuple[int, int]:
        """Recording times of the first and the last message; 0, 0 without messages."""
        times = [chunk.times_ns for chunk in self.chunks if chunk.counts]
        return (min(first for first, _ in times), max(last for _, last in times)) if times else (0, 0)


Index = dict[int, list[tuple[int, int]]]
"""Channel id -> [(recording time, offset within the chunk)]."""


def _text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def _pairs(values: Mapping[str, str]) -> bytes:
    return _text(b"".join(_text(key) + _text(value) for key, value in values.items()))


def _record(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack("<BQ", kind, len(content)) + content


def _schema_record(schema_id: int, schema: tuple[str, str, bytes]) -> bytes:
    return _record(Kind.SCHEMA, struct.pack("<H", schema_id), *(_text(part) for part in schema))


def _channel_record(channel: Channel) -> bytes:
    ids = struct.pack("<HH", channel.id, channel.schema_id)
    return _record(Kind.CHANNEL, ids, _text(channel.topic), _text("cdr"), _pairs(channel.metadata))


class McapWriter:
    """Writes messages in chunks; each message is in the file about a second after it came.

    Args:
        path: file to make.
        compress: chunks by zstd.

    Raises:
        OSError: here and everywhere else, when the file can't be written. What is in it by then can be recovered.
    """

    def __init__(self, path: Path, *, compress: bool = False) -> None:
        self.contents = Contents()
        self._compress = compress
        # Unbuffered: what was written is the system's, whatever becomes of this process.
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115
        fcntl.flock(self._file, fcntl.LOCK_EX)  # until it is closed, so that nobody recovers what is being written
        self._offset = 0
        self._messages = 0
        self._clear()
        self._write(MAGIC + _record(Kind.HEADER, _text("ros2"), _text("dps_perception")))

    @property
    def messages(self) -> int:
        """Messages so far."""
        return self._messages

    def _clear(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._index: Index = {}
        self._due_s = float("inf")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0
            self._offset += written
            view = view[written:]

    def _append(self, *parts: bytes) -> None:
        self._parts += parts
        self._size += sum(map(len, parts))

    def add_channel(self, topic: str, type_name: str, definition: str, metadata: Mapping[str, str]) -> int:
        """Announce a topic; its id. A type is written once."""
        contents = self.contents
        schema_id = next((i for i, schema in contents.schemas.items() if schema[0] == type_name), 0)
        if not schema_id:
            schema_id = len(contents.schemas) + 1
            contents.schemas[schema_id] = (type_name, "ros2msg", definition.encode())
            self._append(_schema_record(schema_id, contents.schemas[schema_id]))
        channel = Channel(len(contents.channels) + 1, schema_id, topic, dict(metadata))
        contents.channels[channel.id] = channel
        self._append(_channel_record(channel))
        return channel.id

    def write(self, channel_id: int, stamp_ns: int, data: bytes | memoryview) -> None:
        """Append a message."""
        self._index.setdefault(channel_id, []).append((stamp_ns, self._size))
        self._messages += 1
        self._append(
            struct.pack("<BQHIQQ", Kind.MESSAGE, 22 + len(data), channel_id, 0, stamp_ns, stamp_ns), bytes(data)
        )
        if self._due_s == float("inf"):
            self._due_s = time.monotonic() + CHUNK_S
        if self._size > _CHUNK_BYTES:
            self.flush()
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what waits for longer than a second; for times when no message comes."""
        if time.monotonic() > self._due_s:
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last chunk."""
        if not self._size:
            return
        plain = b"".join(self._parts)
        packed, compression = (_zstd().compress(plain), "zstd") if self._compress else (plain, "")
        start = self._offset
        times_ns = index_times_ns(self._index)
        head = struct.pack("<QQQI", *times_ns, len(plain), zlib.crc32(plain)) + _text(compression)
        head += struct.pack("<Q", len(packed))
        # Apart from what follows it, so that images are not copied once more.
        begin = struct.pack("<BQ", Kind.CHUNK, len(head) + len(packed)) + head
        length = len(begin) + len(packed)
        records, offsets = index_records(self._index, start + length)
        try:
            for piece in (begin, packed, records):
                self._write(piece)
        except BaseException:  # nothing of it stays, and it can be tried again
            with contextlib.suppress(OSError):
                self._file.seek(start)
                self._file.truncate()
            self._offset = start
            raise
        counts = {channel_id: len(entries) for channel_id, entries in self._index.items()}
        self.contents.chunks.append(
            Chunk(start, length, times_ns, counts, offsets, len(records), compression, len(packed), len(plain))
        )
        self._clear()

    def close(self, describe: Callable[[Contents], str]) -> None:
        """Write the rest and the summary; `describe` gives the text of rosbag2's metadata record."""
        self.flush()
        self._write(ending(self.contents, self._offset, describe(self.contents)))
        self.abort()

    def abort(self) -> None:
        """Close the file as it is; `mcap_recovery` can finish it."""
        self._file.close()


def _zstd() -> Any:
    """The zstd module: in Python from 3.14 on, before from the package of its backport."""
    return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def decompress(data: bytes, compression: str) -> bytes:
    """Content of a chunk.

    Raises:
        DatasetError: a compression that neither we nor `ros2 bag` write, or the data is damaged.
    """
    if compression not in ("", "zstd"):
        raise DatasetError(f"chunks are compressed by '{compression}', which only `mcap recover` reads")
    if not compression:
        return data
    zstd = _zstd()
    try:
        return bytes(zstd.decompress(data))
    except zstd.ZstdError as error:
        raise DatasetError("its compressed data is damaged") from error


def index_times_ns(index: Index) -> tuple[int, int]:
    """Recording times of the first and the last message of a chunk; 0, 0 without messages."""
    stamps = [stamp_ns for entries in index.values() for stamp_ns, _ in entries]
    return (min(stamps), max(stamps)) if stamps else (0, 0)


def index_records(index: Index, offset: int) -> tuple[bytes, dict[int, int]]:
    """The message indexes to write at byte `offset`, behind their chunk, and where each channel's begins."""
    records, offsets = b"", {}
    for channel_id, entries in index.items():
        offsets[channel_id] = offset + len(records)
        packed = b"".join(struct.pack("<QQ", *entry) for entry in entries)
        records += _record(Kind.MESSAGE_INDEX, struct.pack("<H", channel_id), _text(packed))
    return records, offsets


def _chunk_index(chunk: Chunk) -> bytes:
    return _record(
        Kind.CHUNK_INDEX,
        struct.pack("<QQQQ", *chunk.times_ns, chunk.start, chunk.length),
        _text(b"".join(struct.pack("<HQ", *item) for item in chunk.offsets.items())),
        struct.pack("<Q", chunk.index_length),
        _text(chunk.compression),
        struct.pack("<QQ", chunk.packed_size, chunk.size),
    )


def ending(contents: Contents, offset: int, description: str) -> bytes:
    """All that follows the last chunk of a file that is `offset` bytes long."""
    note = _record(Kind.METADATA, _text("rosbag2"), _pairs({"serialized_metadata": description}))
    data_end = _record(Kind.DATA_END, struct.pack("<I", 0))
    counts = contents.counts()
    totals = (sum(counts.values()), len(contents.schemas), len(counts), 0, 1, len(contents.chunks))
    groups = {
        Kind.SCHEMA: b"".join(_schema_record(*item) for item in contents.schemas.items()),
        Kind.CHANNEL: b"".join(map(_channel_record, contents.channels.values())),
        Kind.CHUNK_INDEX: b"".join(map(_chunk_index, contents.chunks)),
        Kind.METADATA_INDEX: _record(Kind.METADATA_INDEX, struct.pack("<QQ", offset, len(note)), _text("rosbag2")),
        Kind.STATISTICS: _record(
            Kind.STATISTICS,
            struct.pack("<QHIIIIQQ", *totals, *contents.times_ns()),
            _text(b"".join(struct.pack("<HQ", *item) for item in counts.items())),
        ),
    }
    start = position = offset + len(note) + len(data_end)
    places = []
    for kind, group in groups.items():
        if group:
            places.append(_record(Kind.SUMMARY_OFFSET, struct.pack("<BQQ", kind, position, len(group))))
        position += len(group)
    summary = b"".join(groups.values()) + b"".join(places)
    footer = struct.pack("<BQQQ", Kind.FOOTER, 20, start, position)
    return note + data_end + summary + footer + struct.pack("<I", zlib.crc32(summary + footer)) + MAGIC

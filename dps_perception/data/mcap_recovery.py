"""Finishes MCAP files that lack their end: cut back to the last whole chunk, then indexed and closed, in place."""

from __future__ import annotations

import errno
import fcntl
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..errors import DatasetError
from .mcap import MAGIC, Channel, Chunk, Contents, Index, Kind, decompress, ending, index_records, index_times_ns

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_HEAD = struct.Struct("<BQ")


class _Fields:
    """Reads the fields of a record one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def numbers(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values

    def block(self) -> bytes:
        (size,) = self.numbers("I")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        return self.block().decode()

    def pairs(self) -> dict[str, str]:
        inner = _Fields(self.block())
        found = {}
        while inner.left:
            key = inner.text()
            found[key] = inner.text()
        return found

    def rest(self) -> bytes:
        return self._data[self._at :]

    @property
    def left(self) -> int:
        return len(self._data) - self._at


def recover(path: Path, describe: Callable[[Contents], str]) -> Contents:
    """Finish a file, where it isn't finished already, and say what it holds.

    Where there is no room for the summary either, the last chunks give way to it.

    Args:
        path: file to finish, in place.
        describe: gives the text of rosbag2's metadata record.

    Raises:
        DatasetError: the file is no MCAP, is still being written, is damaged elsewhere than in the last chunk of a file
            without its end, or has messages outside of chunks (as `ros2 bag record` writes with the preset fastwrite).
        OSError: it can't be read or written.
    """
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatasetError(f"'{path}' is still being written; end its recording first") from error
        try:
            contents, index, whole = _scan(file)
        except (struct.error, UnicodeDecodeError, DatasetError) as error:
            raise DatasetError(f"'{path}' can't be recovered: {error}") from error
        while not whole:
            try:
                _finish(file, contents, index, describe)
                whole = True
            except OSError as error:
                if error.errno not in _NO_ROOM or not contents.chunks:
                    raise
                contents.chunks.pop()
                index = {}
        return contents


def _finish(file: BinaryIO, contents: Contents, index: Index, describe: Callable[[Contents], str]) -> None:
    end = contents.chunks[-1].end if contents.chunks else _first_record(file)
    records = b""
    if index:  # of the last chunk, cut off
        last = contents.chunks[-1]
        records, _ = index_records(index, last.start + last.length)
        end -= len(records)
    file.seek(end)
    file.truncate()
    file.write(records + ending(contents, end + len(records), describe(contents)))
    file.flush()


def _first_record(file: BinaryIO) -> int:
    """Where the record behind the header begins."""
    file.seek(len(MAGIC))
    return len(MAGIC) + _HEAD.size + int(_HEAD.unpack(file.read(_HEAD.size))[1])


def _records(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """(kind, start, length with head) of every whole record."""
    size = file.seek(0, 2)
    start = len(MAGIC)
    while start + _HEAD.size <= size:
        file.seek(start)
        kind, length = _HEAD.unpack(file.read(_HEAD.size))
        if kind == 0 or start + _HEAD.size + length > size:
            return
        yield kind, start, _HEAD.size + length
        start += _HEAD.size + length


def _scan(file: BinaryIO) -> tuple[Contents, Index, bool]:
    """(what the file holds, index of the last chunk where it is to be written, whether the file is finished)."""
    if file.read(len(MAGIC)) != MAGIC:
        raise DatasetError("it is no MCAP file")
    contents = Contents()
    missing: Index = {}
    whole = _is_finished(file)
    records = list(_records(file))
    for number, (kind, start, length) in enumerate(records):
        if kind == Kind.MESSAGE:
            raise DatasetError("it has messages outside of chunks, which only `mcap recover` reads")
        if kind in (Kind.SCHEMA, Kind.CHANNEL):
            _declare(contents, kind, _content(file, start, length))
        elif kind == Kind.CHUNK:
            data = _content(file, start, length)
            following = (records[i] for i in range(number + 1, len(records)))
            try:
                chunk, index = _chunk(contents, data, start)
            except (struct.error, ValueError, DatasetError) as error:
                if whole or any(kind == Kind.CHUNK for kind, _, _ in following):
                    raise DatasetError(f"the chunk at byte {start} is damaged: {error}") from error
                break  # the last one, which the system had not written yet when the power went
            indexes = list(itertools.takewhile(lambda record: record[0] == Kind.MESSAGE_INDEX, following))
            offsets = {struct.unpack("<H", _content(file, at, 2 + _HEAD.size))[0]: at for _, at, _ in indexes}
            index_length = sum(size for _, _, size in indexes)
            if set(offsets) != set(index):
                if number + 1 + len(indexes) < len(records):
                    raise DatasetError(f"the chunk at byte {start} lacks its message indexes")
                missing = index
                lacking, offsets = index_records(index, start + length)
                index_length = len(lacking)
            contents.chunks.append(replace(chunk, offsets=offsets, index_length=index_length))
        elif kind in (Kind.FOOTER, Kind.DATA_END):
            break
    return contents, missing, whole


def _content(file: BinaryIO, start: int, length: int) -> bytes:
    """What a record holds behind its head; `length` is with the head."""
    file.seek(start + _HEAD.size)
    return file.read(length - _HEAD.size)


def _chunk(contents: Contents, data: bytes, start: int) -> tuple[Chunk, Index]:
    """A chunk record (its offsets are filled in later) and the index of its messages; topics go to `contents`."""
    fields = _Fields(data)
    _, _, size, checksum = fields.numbers("QQQI")
    compression = fields.text()
    (packed_size,) = fields.numbers("Q")
    plain = decompress(fields.rest()[:packed_size], compression)
    if len(plain) != size or (checksum and zlib.crc32(plain) != checksum):
        raise DatasetError("its checksum differs")
    index: Index = {}
    at = 0
    while at < size:
        kind, length = _HEAD.unpack_from(plain, at)
        if kind == Kind.MESSAGE:
            channel_id, _, stamp_ns = struct.unpack_from("<HIQ", plain, at + _HEAD.size)
            if channel_id not in contents.channels:
                raise DatasetError(f"message of unknown channel {channel_id}")
            index.setdefault(channel_id, []).append((stamp_ns, at))
        elif kind in (Kind.SCHEMA, Kind.CHANNEL):
            _declare(contents, kind, plain[at + _HEAD.size : at + _HEAD.size + length])
        at += _HEAD.size + length
    counts = {channel_id: len(entries) for channel_id, entries in index.items()}
    length = _HEAD.size + len(data)
    return Chunk(start, length, index_times_ns(index), counts, {}, 0, compression, packed_size, size), index


def _is_finished(file: BinaryIO) -> bool:
    end = file.seek(0, 2)
    file.seek(max(0, end - 37))
    tail = file.read()
    return tail.startswith(_HEAD.pack(Kind.FOOTER, 20)) and tail.endswith(MAGIC)


def _declare(contents: Contents, kind: int, data: bytes) -> None:
    fields = _Fields(data)
    if kind == Kind.SCHEMA:
        (schema_id,) = fields.numbers("H")
        contents.schemas[schema_id] = (fields.text(), fields.text(), fields.block())
    else:
        channel_id, schema_id = fields.numbers("HH")
        topic, _ = fields.text(), fields.text()
        if schema_id not in contents.schemas:
            raise DatasetError(f"topic '{topic}' has the unknown schema {schema_id}")
        contents.channels[channel_id] = Channel(channel_id, schema_id, topic, fields.pairs())

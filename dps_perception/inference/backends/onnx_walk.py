"""Walking an ONNX file's protobuf without any runtime, tensors' numbers left unread."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_LENGTH_DELIMITED = 2
MAX_FIELDS = 500_000
"""In all. The largest network here has some 40000; a file made of millions would keep the node busy for minutes."""

_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_EXTERNAL_DATA = 13
# Message -> field number -> message, of all ways from a model to its tensors (onnx.proto).
_WAYS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {_EXTERNAL_DATA: "entry"},
}


class Walk:
    """Reads fields of one file, and no more than `MAX_FIELDS` of them.

    Args:
        data: the whole file.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = MAX_FIELDS

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(field number, start, end) of the length-delimited fields of the message in at..end.

        Raises:
            ValueError, IndexError: this is no protobuf message, or there are too many fields.
        """
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {MAX_FIELDS} fields")
            tag, at = self._varint(at)
            field, kind = tag >> 3, tag & 7
            if field == 0:
                raise ValueError(f"byte {at} is no protobuf field")
            if kind == _LENGTH_DELIMITED:
                size, at = self._varint(at)
                if at + size > end:
                    raise ValueError(f"a field reaches {at + size - end} bytes beyond the end")
                yield field, at, at + size
                at += size
            elif kind == 0:
                _, at = self._varint(at)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise ValueError(f"byte {at} is no protobuf field")

    def entry(self, at: int, end: int, most: int) -> tuple[str, str]:
        """(key, value) of a StringStringEntryProto of at most `most` bytes.

        Raises:
            ValueError, IndexError: it is longer, or damaged.
        """
        if end - at > most:
            raise ValueError(f"{end - at} bytes of metadata; at most {most} are read")
        parts = {field: self._data[start:stop].decode() for field, start, stop in self.fields(at, end)}
        return parts.get(_ENTRY_KEY, ""), parts.get(_ENTRY_VALUE, "")

    def outside(self) -> str | None:
        """The first place outside of the file where a tensor's numbers are said to lie; None where all are inside.

        Raises:
            ValueError, IndexError: the file is damaged.
        """
        todo = [("model", 0, len(self._data))]
        while todo:
            message, at, end = todo.pop()
            for field, start, stop in self.fields(at, end):
                inner = _WAYS[message].get(field)
                if inner == "entry":
                    key, value = self.entry(start, stop, 1 << 16)
                    if key == "location":
                        return value
                elif inner is not None:
                    todo.append((inner, start, stop))
        return None

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while shift < 70:
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at
        raise ValueError(f"byte {at} is no protobuf number")

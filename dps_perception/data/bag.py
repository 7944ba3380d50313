"""rosbag2 folders and files (MCAP, SQLite) without ROS; the only file that knows the `rosbags` library.

Reading gives raw CDR bytes, message objects, or groups of messages with one header stamp. Writing goes to a folder
beside the wanted one, which takes its name only when everything is written. What a drive holds is in `drive_bag`.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from ..errors import DatasetError, nearest

_FOREVER = QosTime(9223372036, 854775807)


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag; `latched` means offered as transient local (late subscribers get the last message)."""

    name: str
    type_name: str
    message_count: int
    latched: bool


@dataclass(frozen=True)
class RawMessage:
    """One recorded message: `stamp_ns` is the time of recording, `data` its CDR bytes."""

    topic: str
    type_name: str
    stamp_ns: int
    data: bytes


def header_stamp_ns(data: bytes) -> int:
    """Header stamp in nanoseconds, straight from the CDR bytes of a message whose first field is a Header."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


@functools.lru_cache(maxsize=32)
def _types_of(path: Path, modified_ns: int) -> Any:
    """Types that a bag describes, standard ones where it describes none; kept, as making them takes half a second."""
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_KILTED)) as described:
        return described.typestore


class BagReader:
    """An open rosbag2 folder, or a single `.mcap` or `.db3` file.

    Raises:
        DatasetError: the path is missing, not a bag, truncated or damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DatasetError(f"bag '{self.path}' does not exist; give a rosbag2 folder, or a .mcap or .db3 file")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            files = sorted(p.name for p in self.path.iterdir() if p.suffix in (".mcap", ".db3"))
            cure = (
                f"its recording was not finished; try the file itself: {self.path / files[0]}"
                if files
                else "give a folder that `ros2 bag record` or dps_synthesize wrote"
            )
            raise DatasetError(f"folder '{self.path}' is not a rosbag2: no metadata.yaml; {cure}")
        if not self.path.is_dir() and self.path.suffix not in (".mcap", ".db3"):
            raise DatasetError(f"'{self.path}' is not a bag; give a rosbag2 folder, or a .mcap or .db3 file")
        self._typestore: Any = None
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except Exception as error:  # damaged bytes raise whatever they happen to break: struct, SQLite, zstd, ...
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> DatasetError:
        return DatasetError(
            f"bag '{self.path}' is truncated or damaged ({str(error) or type(error).__name__}); "
            "copy it again, or repair it (`mcap recover`, `ros2 bag reindex`)"
        )

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._reader.is_open:
            self._reader.close()

    @property
    def start_ns(self) -> int:
        """Recording time of the first message (0 in an empty bag)."""
        return int(self._reader.start_time) if self._reader.message_count else 0

    @property
    def end_ns(self) -> int:
        """Recording time of the last message (0 in an empty bag)."""
        return int(self._reader.end_time) - 1 if self._reader.message_count else 0

    def topics(self) -> dict[str, BagTopic]:
        """Topics by name, sorted."""
        found: dict[str, BagTopic] = {}
        for connection in sorted(self._reader.connections, key=lambda c: c.topic):
            profiles = getattr(connection.ext, "offered_qos_profiles", [])
            latched = any(q.durability == QosDurability.TRANSIENT_LOCAL for q in profiles)
            count = connection.msgcount + (found[connection.topic].message_count if connection.topic in found else 0)
            found[connection.topic] = BagTopic(connection.topic, connection.msgtype, count, latched)
        return found

    def require(self, names: Collection[str]) -> None:
        """Check that the bag has these topics.

        Raises:
            DatasetError: naming the first that is missing and listing those there are, with types.
        """
        topics = self.topics()
        for name in names:
            if name not in topics:
                raise DatasetError(
                    f"bag '{self.path}' has no topic '{name}'{nearest(name, topics)}; "
                    f"its topics are: {self.described()}"
                )

    def described(self) -> str:
        """All topics with types and message counts, for error messages."""
        return "; ".join(f"{t.name} [{t.type_name}] x{t.message_count}" for t in self.topics().values()) or "none"

    def raw_messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """Messages of these topics (all by default) in order of recording, from `start_ns` on and before `stop_ns`.

        Raises:
            DatasetError: a topic is missing, or the bag turns out to be damaged.
        """
        if topics is not None:
            self.require(topics)
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        messages = self._reader.messages(wanted, start=start_ns, stop=stop_ns)
        while True:
            try:
                connection, stamp_ns, data = next(messages)
            except StopIteration:
                return
            except Exception as error:
                raise self._damaged(error) from error
            yield RawMessage(connection.topic, connection.msgtype, int(stamp_ns), bytes(data))

    def message_at(self, topic: str, recorded_ns: int, stamp_ns: int) -> Any:
        """The message object of a topic that was recorded at `recorded_ns` and has the header stamp `stamp_ns`.

        Raises:
            DatasetError: there is none, or the bag is damaged.
        """
        for raw in self.raw_messages([topic], recorded_ns, recorded_ns + 1):
            if header_stamp_ns(raw.data) == stamp_ns:
                return self.deserialize(raw)
        raise DatasetError(
            f"bag '{self.path}': the message of '{topic}' with stamp {stamp_ns / 1e9:.9f} s is gone; "
            "was the bag replaced while it was in use?"
        )

    def deserialize(self, message: RawMessage) -> Any:
        """The message object, with the fields of its ROS type (arrays as NumPy); types come from the bag itself."""
        try:
            if self._typestore is None:
                self._typestore = _types_of(self.path, self.path.stat().st_mtime_ns)
            return self._typestore.deserialize_cdr(message.data, message.type_name)
        except Exception as error:
            raise DatasetError(
                f"a message of '{message.topic}' [{message.type_name}] in '{self.path}' can't be read: {error}"
            ) from error

    def common_stamps(self, topics: Collection[str]) -> list[int]:
        """Header stamps (nanoseconds, sorted) that every one of these topics has."""
        stamps: dict[str, set[int]] = {topic: set() for topic in topics}
        for message in self.raw_messages(topics):
            stamps[message.topic].add(header_stamp_ns(message.data))
        return sorted(set.intersection(*stamps.values())) if stamps else []

    def synchronised(
        self, topics: Collection[str], only: Collection[int] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(header stamp, message by topic) for each stamp that all topics have; holds only incomplete groups.

        Args:
            topics: whose messages begin with a Header.
            only: of these stamps; None takes all.

        Raises:
            DatasetError: a topic is missing, or the bag is damaged.
        """
        common = set(self.common_stamps(topics))
        if only is not None:
            common &= set(only)
        pending: dict[int, dict[str, Any]] = {}
        for raw in self.raw_messages(topics):
            stamp_ns = header_stamp_ns(raw.data)
            if stamp_ns not in common:
                continue
            group = pending.setdefault(stamp_ns, {})
            group[raw.topic] = self.deserialize(raw)
            if len(group) == len(set(topics)):
                common.discard(stamp_ns)
                yield stamp_ns, pending.pop(stamp_ns)


class BagWriter:
    """Writes a rosbag2 folder with MCAP storage, as a context manager.

    It is written under a hidden name beside `path` and renamed when the block ends without an exception, so that
    nothing half-written is ever seen. An existing `path` is replaced only if `overwrite`. `compress` makes the file
    smaller (zstd, which every rosbag2 reads).

    Raises:
        DatasetError: `path` exists and `overwrite` is off.
    """

    def __init__(self, path: Path | str, *, overwrite: bool = False, compress: bool = False) -> None:
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise DatasetError(f"'{self.path}' exists already; remove it or choose another name for the bag")
        self._types = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Any] = {}
        # The bag gets its final name inside a hidden folder, because rosbag2 names the storage file after the bag.
        self._hidden = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._writer = Writer(self._hidden / self.path.name, version=9, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)

    def __enter__(self) -> BagWriter:
        shutil.rmtree(self._hidden, ignore_errors=True)
        try:
            self._writer.open()
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._writer.__exit__(kind, error, None)
            if kind is None:
                if self.path.exists():
                    self.path.rename(self._hidden / "replaced")
                (self._hidden / self.path.name).rename(self.path)
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            shutil.rmtree(self._hidden, ignore_errors=True)

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(f"bag '{self.path}' can't be written: {error.strerror}; choose another place for it")

    def register_types(self, definitions: Mapping[str, str]) -> None:
        """Make types known by the text of their .msg files, e.g. {"dps_msgs/msg/DepthStats": "uint32 valid_pixels"}.

        Raises:
            DatasetError: a text can't be parsed, or another definition of the type is known already.
        """
        parsed: dict[str, Any] = {}
        try:
            for name, text in definitions.items():
                parsed.update(get_types_from_msg(text, name))
            self._types.register(parsed)
        except (TypesysError, ValueError, LookupError, AssertionError) as error:
            raise DatasetError(f"message definition of {', '.join(definitions)} is not usable: {error}") from error

    def knows(self, type_name: str) -> bool:
        """Whether the type is standard or was registered."""
        return type_name in self._types.fielddefs

    def add_topic(self, topic: str, type_name: str, *, latched: bool = False) -> None:
        """Announce a topic. Adding it again is harmless.

        Raises:
            DatasetError: the type is unknown, or the topic has another type already.
        """
        known = self._connections.get(topic)
        if known is not None:
            if known.msgtype != type_name:
                raise DatasetError(f"topic '{topic}' holds {known.msgtype}; {type_name} can't go there too")
            return
        qos = Qos(
            QosHistory.KEEP_LAST,
            1 if latched else 10,
            QosReliability.RELIABLE,
            QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
            _FOREVER,
            _FOREVER,
            QosLiveliness.AUTOMATIC,
            _FOREVER,
            False,
        )
        try:
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=self._types, offered_qos_profiles=[qos]
            )
        except (TypesysError, LookupError, WriterError) as error:
            raise DatasetError(f"topic '{topic}': type {type_name} is unknown ({error}); register its .msg") from error

    def write_raw(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """Append CDR bytes to a topic announced by `add_topic`.

        Raises:
            DatasetError: the file can't be written (a full disk, for example).
        """
        try:
            self._writer.write(self._connections[topic], stamp_ns, data)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, topic: str, type_name: str, stamp_ns: int, message: Any, *, latched: bool = False) -> None:
        """Append a message object made by `new`."""
        self.add_topic(topic, type_name, latched=latched)
        self.write_raw(topic, stamp_ns, self._types.serialize_cdr(message, type_name))

    def new(self, type_name: str, **fields: Any) -> Any:
        """A message object of a standard or registered type; all fields must be given."""
        return self._types.types[type_name](**fields)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self.new("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self.new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

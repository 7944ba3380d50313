"""rosbag2 folders and files (MCAP, SQLite) without ROS; only this and `bag_writer` know the `rosbags` library.

Reading gives raw CDR bytes, message objects, or groups of messages with one header stamp. What a drive holds is in
`drive_bag`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from ..errors import DatasetError, nearest


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag.

    `latched` means offered as transient local (late subscribers get the last message), `reliable` that a publisher
    was reliable or nothing is known, `depth` is the longest queue of its publishers (0: not known).
    """

    name: str
    type_name: str
    message_count: int
    latched: bool
    reliable: bool = True
    depth: int = 0


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
                f"its recording was not finished; `dps_record --recover {self.path}` does it"
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
            "copy it again; where its recording was cut off, `dps_record --recover` finishes it"
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
            before = found.get(connection.topic)
            found[connection.topic] = BagTopic(
                connection.topic,
                connection.msgtype,
                connection.msgcount + (before.message_count if before else 0),
                any(q.durability == QosDurability.TRANSIENT_LOCAL for q in profiles),
                not profiles or any(q.reliability != QosReliability.BEST_EFFORT for q in profiles),
                max((q.depth for q in profiles), default=0),
            )
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

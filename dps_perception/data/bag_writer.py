"""Writes rosbag2 folders (MCAP) without ROS, so that what has come once is not lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from ..errors import DatasetError, DpsError
from .bag_metadata import OFFERED_QOS, TYPE_HASH, information, qos_text, write_metadata
from .mcap import McapWriter
from .mcap_recovery import recover

PARTIAL = ".partial"
"""How the hidden folder of a bag that is being written ends."""
# Room that is kept free for the last chunk, the summary and metadata.yaml, should the disk become full.
_RESERVE, _RESERVE_BYTES = "reserve", 4 << 20


class BagWriter:
    """Writes a rosbag2 folder with MCAP storage, as a context manager.

    It is written under a hidden name beside `path` and renamed when the block ends, so that nothing half-written is
    ever seen. An existing `path` is replaced only if `overwrite`. `compress` makes the file smaller (zstd, which every
    rosbag2 reads). When the block ends with an exception nothing is left, or with `keep` all messages until then are,
    also where the disk was full; the exception says so where it is a DpsError. What a killed process leaves behind is
    for `bag_recovery`.

    Raises:
        DatasetError: `path` exists and `overwrite` is off.
    """

    def __init__(
        self, path: Path | str, *, overwrite: bool = False, compress: bool = False, keep: bool = False
    ) -> None:
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise DatasetError(f"'{self.path}' exists already; remove it or choose another name for the bag")
        self._types = get_typestore(Stores.ROS2_KILTED)
        self._topics: dict[str, tuple[str, int]] = {}
        self._compress, self._keep = compress, keep
        self._named = False

    def __enter__(self) -> BagWriter:
        with contextlib.ExitStack() as undo:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                hidden = tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=PARTIAL, dir=self.path.parent)
                undo.callback(shutil.rmtree, hidden, ignore_errors=True)
                # The bag gets its final name inside a hidden folder: rosbag2 names the storage file after the bag.
                self._hidden = Path(hidden)
                self._folder = self._hidden / self.path.name
                self._folder.mkdir()
                self._file = McapWriter(self._folder / f"{self.path.name}.mcap", compress=self._compress)
                if self._keep:
                    with (self._hidden / _RESERVE).open("wb") as reserve:
                        os.posix_fallocate(reserve.fileno(), 0, _RESERVE_BYTES)
            except OSError as error:
                raise self._unwritable(error) from error
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        kept = kind is None or (self._keep and self._file.messages > 0)
        try:
            if kept:
                failure = self._finish()
                if failure is not None:
                    raise DatasetError(f"{self._unwritable(failure)}; {self._saved}") from failure
                if isinstance(error, DpsError):
                    raise type(error)(f"{error}; {self._saved}") from error
        except OSError as failure:
            rest = f"; `dps_record --recover {self.path}` may save what came" if self._keep else ""
            raise DatasetError(f"{self._unwritable(failure)}{rest}") from failure
        finally:
            self._file.abort()
            # What is to be kept and has not got its name yet, as after an impatient second Ctrl-C, can be recovered.
            if self._named or not (kept and self._keep):
                shutil.rmtree(self._hidden, ignore_errors=True)

    def _finish(self) -> OSError | None:
        """Close the file and give the bag its name; what went wrong in that, if most could be saved all the same."""
        failure = None
        (self._hidden / _RESERVE).unlink(missing_ok=True)  # room for the rest and the summary, should the disk be full
        name = f"{self.path.name}.mcap"
        try:
            self._file.close(lambda contents: information(contents, name))
            contents = self._file.contents
        except OSError as error:
            if not self._keep:
                raise
            failure = error
            self._file.abort()
            contents = recover(self._folder / name, lambda contents: information(contents, name))
        write_metadata(self._folder, contents, name)
        self._saved = f"{sum(contents.counts().values())} messages that came before that are in '{self.path}'"
        replaced = self._hidden / "replaced"
        try:
            if self.path.exists():
                self.path.rename(replaced)
            self._folder.rename(self.path)
            self._named = True
        except BaseException:  # the old bag must not go with the hidden folder
            if replaced.exists() and not self.path.exists():
                replaced.rename(self.path)
            raise
        return failure

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

    def add_topic(
        self, topic: str, type_name: str, *, latched: bool = False, reliable: bool = True, depth: int = 10
    ) -> None:
        """Announce a topic, with the QoS that its publishers offer. Adding it again is harmless.

        Raises:
            DatasetError: the type is unknown, or the topic has another type already.
        """
        known = self._topics.get(topic)
        if known is not None:
            if known[0] != type_name:
                raise DatasetError(f"topic '{topic}' holds {known[0]}; {type_name} can't go there too")
            return
        try:
            definition, _ = self._types.generate_msgdef(type_name, ros_version=2)
            type_hash = self._types.hash_rihs01(type_name)
        except (TypesysError, LookupError) as error:
            raise DatasetError(f"topic '{topic}': type {type_name} is unknown ({error}); register its .msg") from error
        qos = qos_text(reliable=reliable, latched=latched, depth=1 if latched else depth)
        metadata = {OFFERED_QOS: qos, TYPE_HASH: type_hash}
        self._topics[topic] = (type_name, self._file.add_channel(topic, type_name, definition, metadata))

    def write_raw(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """Append CDR bytes to a topic announced by `add_topic`.

        Raises:
            DatasetError: the file can't be written (a full disk, for example).
        """
        try:
            self._file.write(self._topics[topic][1], stamp_ns, data)
        except OSError as error:
            raise self._unwritable(error) from error

    def flush_if_due(self) -> None:
        """Write what has waited in memory for a second; call it now and then where messages may stay away.

        Raises:
            DatasetError: the file can't be written.
        """
        try:
            self._file.flush_if_due()
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

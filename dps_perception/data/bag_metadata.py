"""metadata.yaml of a rosbag2 folder, made from what its MCAP file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..files import replacing
from .mcap import Contents

OFFERED_QOS, TYPE_HASH = "offered_qos_profiles", "topic_type_hash"
"""Keys of a channel's metadata, as rosbag2 writes them."""
_VERSION = 9
_FOREVER = {"sec": 9223372036, "nsec": 854775807}


def qos_text(*, reliable: bool, latched: bool, depth: int) -> str:
    """The list of one offered QoS profile as YAML."""
    profile: dict[str, Any] = {
        "history": "keep_last",
        "depth": depth,
        "reliability": "reliable" if reliable else "best_effort",
        "durability": "transient_local" if latched else "volatile",
        "deadline": _FOREVER,
        "lifespan": _FOREVER,
        "liveliness": "automatic",
        "liveliness_lease_duration": _FOREVER,
        "avoid_ros_namespace_conventions": False,
    }
    return _dump([profile])


def information(contents: Contents, file_name: str) -> str:
    """What `rosbag2_bagfile_information` holds, as YAML; the file has it inside too."""
    return _dump(_information(contents, file_name))


def write_metadata(folder: Path, contents: Contents, file_name: str) -> None:
    """Write metadata.yaml.

    Raises:
        OSError: it can't be written.
    """
    with replacing(folder / "metadata.yaml") as beside:
        beside.write_text(_dump({"rosbag2_bagfile_information": _information(contents, file_name)}), encoding="utf-8")


def _information(contents: Contents, file_name: str) -> dict[str, Any]:
    counts = contents.counts()
    start_ns, end_ns = contents.times_ns()
    extent = {
        "starting_time": {"nanoseconds_since_epoch": start_ns},
        "duration": {"nanoseconds": end_ns - start_ns},
        "message_count": sum(counts.values()),
    }
    topics = [
        {
            "topic_metadata": {
                "name": channel.topic,
                "type": contents.schemas[channel.schema_id][0],
                "serialization_format": "cdr",
                "offered_qos_profiles": yaml.safe_load(channel.metadata.get(OFFERED_QOS, "")) or [],
                "type_description_hash": channel.metadata.get(TYPE_HASH, ""),
            },
            "message_count": counts[channel.id],
        }
        for channel in contents.channels.values()
    ]
    return {
        "version": _VERSION,
        "storage_identifier": "mcap",
        "relative_file_paths": [file_name],
        **extent,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "files": [{"path": file_name, **extent}],
        "custom_data": None,
        "ros_distro": "",
    }


def _dump(value: Any) -> str:
    class Plain(yaml.SafeDumper):
        """Without aliases, which rosbag2's reader need not know."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return str(yaml.dump(value, Dumper=Plain, sort_keys=False))

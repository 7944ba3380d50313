"""Exported files: metadata inside an ONNX file, and the container around an engine. Read without any runtime."""

from __future__ import annotations

import hashlib
import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelLoadError
from ...files import replacing
from ...models.model_files import MAX_METADATA_BYTES, metadata_from_json
from ...models.weights import METADATA_KEY
from .onnx_walk import Walk

MAGIC = b"DPS ENGINE 1\n"
_METADATA_PROPS = 14  # field of onnx.ModelProto; each entry is {1: key, 2: value}


def onnx_metadata(path: Path) -> dict[str, Any]:
    """What `dps_export` wrote into an ONNX file, found by walking the protobuf; tensors are not read.

    Raises:
        ModelLoadError: not an ONNX file, truncated, not ours, or with tensors in other files.
    """
    entries: dict[str, str] = {}
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = Walk(data)
            for field, start, end in walk.fields(0, len(data)):
                if field == _METADATA_PROPS:
                    key, value = walk.entry(start, end, MAX_METADATA_BYTES)
                    entries[key] = value
            outside = walk.outside()
    except (OSError, ValueError, IndexError) as error:
        raise ModelLoadError(
            f"{path} is not a whole ONNX file ({error}); it may be truncated: export or copy it again"
        ) from error
    if outside is not None:
        raise ModelLoadError(
            f"{path} takes tensors from another file ('{outside[:100]}'), which is not read; dps_export writes all "
            "into one file: export it again"
        )
    if METADATA_KEY not in entries:
        raise ModelLoadError(
            f"{path} has no '{METADATA_KEY}' metadata: it was not written by dps_export (or it is truncated), so its "
            "classes and depth range are unknown; export the weights with dps_export"
        )
    return metadata_from_json(path, entries[METADATA_KEY])


@dataclass(frozen=True)
class EngineFile:
    """An engine: its plan (bytes of the runtime) and metadata, that of its ONNX file with the key "engine" added."""

    metadata: dict[str, Any]
    plan: bytes


def write_engine(path: Path, engine: EngineFile) -> None:
    """Write an engine file; whoever reads meanwhile sees the old one."""
    about = {**engine.metadata, "plan_bytes": len(engine.plan), "plan_sha256": hashlib.sha256(engine.plan).hexdigest()}
    head = json.dumps(about).encode()
    with replacing(path) as beside:
        beside.write_bytes(MAGIC + len(head).to_bytes(8, "little") + head + engine.plan)


def engine_metadata(path: Path) -> dict[str, Any]:
    """Metadata of an engine file; its plan is not read, only its length is checked.

    Raises:
        ModelLoadError: not an engine file of ours, or truncated.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise ModelLoadError(f"{path} is not an engine file of dps_export; build one: dps_export --engine")
            size = int.from_bytes(stream.read(8), "little")
            metadata = metadata_from_json(path, stream.read(min(size, MAX_METADATA_BYTES + 1)).decode(errors="replace"))
            if path.stat().st_size != len(MAGIC) + 8 + size + int(metadata["plan_bytes"]):
                raise ModelLoadError(f"{path} is truncated; build it again: dps_export --engine")
    except (OSError, KeyError, ValueError) as error:
        raise ModelLoadError(f"{path} can't be read ({error}); build it again: dps_export --engine") from error
    return metadata


def read_engine(path: Path) -> EngineFile:
    """An engine file with its plan, the plan's hash checked.

    Raises:
        ModelLoadError: not ours, truncated or damaged.
    """
    metadata = engine_metadata(path)
    data = path.read_bytes()
    plan = data[len(data) - int(metadata["plan_bytes"]) :]
    if hashlib.sha256(plan).hexdigest() != metadata["plan_sha256"]:
        raise ModelLoadError(f"{path} is damaged (its hash does not fit); build it again: dps_export --engine")
    return EngineFile(metadata, plan)

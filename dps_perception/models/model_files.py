"""What is checked of a model file before anything of it is read into memory: it may come from anywhere."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ModelLoadError

SUFFIXES = (".safetensors", ".onnx", ".engine")
MAX_FILE_BYTES = 4 << 30
"""The largest network here has 400 MB of weights."""
MAX_METADATA_BYTES = 4 << 20
"""Of metadata and the list of tensors; ours have 33 kB."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_model_file(path: Path, suffixes: Iterable[str] = SUFFIXES) -> None:
    """Refuse what can't be a model by its name, kind and size, without opening it.

    Raises:
        ModelLoadError: it can't be reached, is no regular file, has another suffix or is too large; says which.
    """
    if path.suffix not in suffixes:
        raise ModelLoadError(
            f"{path} has suffix '{path.suffix}'; only {', '.join(suffixes)} are read. Checkpoints (.ckpt, .pt, .pth) "
            "are never unpickled at run time: dps_train writes weights beside them"
        )
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path} can't be opened: {error}") from error
    if not stat.S_ISREG(about.st_mode):
        raise ModelLoadError(f"{path} is {_KINDS.get(stat.S_IFMT(about.st_mode), 'no file')}; give a regular file")
    if about.st_size > MAX_FILE_BYTES:
        raise ModelLoadError(
            f"{path} has {about.st_size} bytes; models of at most {MAX_FILE_BYTES >> 30} GiB are read. It is not one "
            "of dps_train or dps_export, or it is damaged"
        )


def check_tensor_list(path: Path) -> None:
    """Refuse a safetensors file whose list of tensors and metadata is longer than the file or than any of ours.

    Raises:
        ModelLoadError: that, or it can't be opened.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
    except OSError as error:
        raise ModelLoadError(f"{path} can't be opened: {error}") from error
    if 8 + length > path.stat().st_size or length > MAX_METADATA_BYTES:
        raise ModelLoadError(
            f"{path} is not a whole safetensors file (it claims {length} bytes of metadata; the file has "
            f"{path.stat().st_size}, and at most {MAX_METADATA_BYTES} are read); it may be truncated: copy or download "
            "it again"
        )


def metadata_from_json(path: Path, text: str) -> dict[str, Any]:
    """The object that a file's metadata holds.

    Raises:
        ModelLoadError: it is too long, nested beyond reason, or no JSON object.
    """
    try:
        if len(text) > MAX_METADATA_BYTES:
            raise ValueError(f"{len(text)} bytes, at most {MAX_METADATA_BYTES} are read")
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} where an object should be")
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} has damaged metadata: {error}; copy or export it again") from error
    return found

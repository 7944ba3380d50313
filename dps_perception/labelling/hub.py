"""Teachers from `transformers`, by a hub name or from a local folder, and what can go wrong with that."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import ConfigError, ModelLoadError


@dataclass(frozen=True)
class Identity:
    """Which teacher it was, for the record.

    Attributes:
        name: hub name or folder, as asked for.
        architecture: class of the network.
        commit: of the hub's repository; "" for a local folder.
        config_sha256: of the network's config.
    """

    name: str
    architecture: str
    commit: str
    config_sha256: str


def library() -> Any:
    """The `transformers` package, imported only where a teacher is asked for.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"networks of the hub need the package transformers ({error}): pip install transformers "
            "(or this package with its extra: pip install 'dps_perception[teachers]')"
        ) from error
    transformers.utils.logging.set_verbosity_error()  # what matters of its warnings is an error here
    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_config(name: str, role: str, known: Collection[str]) -> Any:
    """A teacher's config.

    Args:
        name: hub name or folder.
        role: "panoptic" or "depth", for messages.
        known: families (`model_type`) that can have this role.

    Raises:
        ModelLoadError: it can't be found or is of another family.
    """
    looks_local = name.startswith((".", "/", "~", os.sep)) or name.count("/") != 1
    if looks_local and not Path(name).is_dir():
        raise ModelLoadError(f"{role} teacher '{name}': no such folder; give a folder with config.json or a hub name")
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise ModelLoadError(
            f"{role} teacher '{name}': the folder has no config.json; give one that save_pretrained wrote"
        )
    config = guarded(name, role, library().AutoConfig.from_pretrained, name)
    if config.model_type not in known:
        raise ModelLoadError(
            f"{role} teacher '{name}' is a '{config.model_type}'; a {role} teacher is one of {', '.join(sorted(known))}"
        )
    return config


def load_network(auto_class: Any, name: str, role: str, config: Any) -> tuple[Any, Identity]:
    """A trained network in evaluation mode, and which one it is.

    Raises:
        ModelLoadError: weights are missing, damaged, or leave parts of the network untrained.
    """
    network, report = guarded(name, role, auto_class.from_pretrained, name, config=config, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelLoadError(
            f"{role} teacher '{name}': its weights lack {len(missing)} tensors of {type(network).__name__} "
            f"(first: {missing[0]}), so parts of it would be random; give one that was trained for this"
        )
    digest = hashlib.sha256(config.to_json_string(use_diff=False).encode()).hexdigest()
    commit = str(getattr(config, "_commit_hash", None) or "")
    return network.eval(), Identity(name, type(network).__name__, commit, digest)


def guarded(name: str, role: str, load: Any, *args: Any, **kwargs: Any) -> Any:
    """`load(...)`, its failures in one line with the cures.

    Raises:
        ModelLoadError: whatever went wrong.
    """
    try:
        return load(*args, **kwargs)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        if Path(name).is_dir():
            cure = "is the folder whole? Save it again with save_pretrained, network and processor"
        else:
            cure = (
                "check the name and the network; without network: `hf download NAME --local-dir FOLDER` elsewhere, "
                "then give the folder"
            )
        raise ModelLoadError(f"{role} teacher '{name}' can't be loaded ({reason}); {cure}") from error

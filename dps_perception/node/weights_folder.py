"""Where weights may lie: whoever may set the parameter `weights` must not be able to have any file opened."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError
from ..models.families import FAMILIES
from ..models.weights import shipped_weights


def check_folder(weights: str, folder: str) -> None:
    """Compare the parameters `weights` and `weights_folder`, before anything is said of the file itself.

    Args:
        weights: a path, or the name of shipped weights or of a family, which are always welcome.
        folder: links in both are followed; "" allows all.

    Raises:
        ConfigError: the file would lie outside of the folder.
    """
    if not folder or not weights or weights in (*shipped_weights(), *FAMILIES):
        return
    try:
        inside = Path(weights).expanduser().resolve().is_relative_to(Path(folder).expanduser().resolve())
    except (OSError, RuntimeError, ValueError):  # a name too long, no such user, a loop of links, a null byte
        inside = False
    if not inside:
        raise ConfigError(
            f"parameter weights='{weights[:200]}' is not below weights_folder={folder}; put the file there, or start "
            "the node with another weights_folder"
        )

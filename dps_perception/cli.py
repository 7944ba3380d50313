"""What every command shares: errors without a traceback for a user's mistake, and a clean Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from .errors import ConfigError, DpsError


def run(command: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status.

    0 is success, 2 a user's mistake (one line on stderr), 130 Ctrl-C, 141 a closed pipe.
    """
    try:
        command(argv)
    except DpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "HEIGHTxWIDTH".

    Raises:
        ConfigError: another form, or not positive.
    """
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise ConfigError(f"size '{text}' is not HEIGHTxWIDTH in pixels, e.g. 512x1024") from error
    if height <= 0 or width <= 0:
        raise ConfigError(f"size '{text}': height and width must be positive")
    return height, width

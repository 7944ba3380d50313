"""What every command shares: errors without a traceback for a user's mistake, and a clean Ctrl-C."""

from __future__ import annotations

import os
import re
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


def parse_size(text: str, smallest: int = 1, largest: int = 1 << 16) -> tuple[int, int]:
    """(height, width) of "HEIGHTxWIDTH".

    Raises:
        ConfigError: another form, or a side outside `smallest` .. `largest`.
    """
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if match is None or not all(smallest <= int(side) <= largest for side in match.groups()):
        raise ConfigError(f"size '{text}': give HEIGHTxWIDTH in pixels, {smallest} to {largest} each, e.g. 512x1024")
    return int(match[1]), int(match[2])

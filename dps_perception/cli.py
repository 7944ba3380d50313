"""What every command shares: errors without a traceback for a user's mistake, and a clean Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from .errors import DpsError


def run(command: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 2 for a user's mistake (one line on stderr), 130 for Ctrl-C."""
    try:
        command(argv)
    except DpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0

"""Pausing, stepping and changing the rate of a replay, by keys and by services."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Protocol

from rclpy.node import Node
from std_srvs.srv import Trigger

_READ_S = 0.05
_STEP = 1.1


class Playing(Protocol):
    """What can be controlled."""

    rate: float

    @property
    def paused(self) -> bool: ...

    def pause(self, paused: bool) -> None: ...

    def play_next(self) -> bool: ...


class Controls:
    """What keys and services do; the services are ~/pause, ~/resume, ~/toggle_paused and ~/play_next of the node."""

    def __init__(self, node: Node, player: Playing) -> None:
        self._player = player
        for name in ("pause", "resume", "toggle_paused", "play_next"):
            node.create_service(Trigger, f"~/{name}", functools.partial(self._answer, name))

    def _answer(self, name: str, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        answer.success = True
        if name == "play_next":
            answer.success = self._player.play_next()
            answer.message = "" if answer.success else "not paused: call ~/pause first"
            return answer
        self._player.pause({"pause": True, "resume": False}.get(name, not self._player.paused))
        answer.message = "paused" if self._player.paused else "playing"
        return answer

    def key(self, key: bytes) -> str:
        """Do what a key asks for; what to tell the user, "" for keys without meaning."""
        player = self._player
        if key == b" ":
            player.pause(not player.paused)
            return "paused" if player.paused else "playing"
        if key == b"\x1b[C":
            return "next message" if player.play_next() else "the right arrow works while paused: press space first"
        if key in (b"\x1b[A", b"\x1b[B"):
            player.rate *= _STEP if key == b"\x1b[A" else 1 / _STEP
            return f"rate {player.rate:.2f}"
        return ""


@contextlib.contextmanager
def keyboard(node: Node, controls: Controls) -> Iterator[None]:
    """Let keys control the replay while the block runs, where there is a terminal and we are in its foreground."""
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def read() -> None:
        if select.select([number], [], [], 0)[0]:
            text = controls.key(os.read(number, 8))
            if text:
                print(f"\r\x1b[K{text}", file=sys.stderr)

    timer = node.create_timer(_READ_S, read)
    tty.setcbreak(number)  # Ctrl-C goes on being a signal
    try:
        yield
    finally:
        node.destroy_timer(timer)
        termios.tcsetattr(number, termios.TCSADRAIN, before)

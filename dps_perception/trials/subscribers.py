"""Faults of those who receive: one that has stopped, and none at all."""

from __future__ import annotations

import signal
import statistics

from . import peer
from .peer import NODE
from .result import Result
from .stand import Stand

FRAMES = 60


def stopped_subscriber(stand: Stand, result: Result) -> None:
    """A process with reliable subscriptions to labels and depth is stopped (SIGSTOP) and takes nothing any more."""
    name = "subscriber"

    def subscribers() -> int:
        return stand.node.count_subscribers(f"{NODE}/panoptic")

    before = subscribers()
    stand.children.start(name, peer.__name__, peer.SUBSCRIBER)
    stand.wait(lambda: subscribers() > before, "the subscriber's subscription", 60.0)
    result.sent, result.lost = 2 * FRAMES, stand.through(FRAMES)
    calm = _publish_ms(stand)
    stand.children.send(name, signal.SIGSTOP)
    result.lost += stand.through(FRAMES)
    stopped = _publish_ms(stand)
    stand.children.send(name, signal.SIGKILL)
    stand.children.stop(name)
    stand.wait(lambda: subscribers() == before, "that the killed subscriber is forgotten", 60.0)
    result.must(result.lost == 0, "the other subscriber gets every frame")
    result.must(
        stopped < 2 * calm + 5.0, f"publishing takes {calm:.1f} ms before, {stopped:.1f} ms while it is stopped"
    )
    result.happened = (
        f"nothing changes for the others: publishing takes {calm:.1f} ms before, {stopped:.1f} ms then (medians)"
    )


def no_subscriber(stand: Stand, result: Result) -> None:
    """Everybody but the subscriber to ~/stats goes away, and comes back."""
    result.sent, result.lost = 2 * FRAMES, stand.through(FRAMES)
    wanted = _publish_ms(stand)
    stand.listen(())
    stand.wait(lambda: stand.node.count_subscribers(f"{NODE}/panoptic") == 0, "that nobody subscribes")
    stand.settle()
    result.lost += stand.through(FRAMES)
    alone = _publish_ms(stand)
    stand.listen(stand.setup.outputs)
    result.recovered_s = stand.settle()
    result.must(result.lost == 0, "every frame has its stats")
    result.must(alone < 1.0, f"with nobody there publishing takes {alone:.2f} ms")
    result.happened = f"nothing is encoded: publishing takes {alone:.2f} ms instead of {wanted:.2f} ms (medians)"


def _publish_ms(stand: Stand) -> float:
    return float(statistics.median(row["publish_ms"] for row in stand.arrivals.stats[-FRAMES:]))

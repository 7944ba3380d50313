"""Faults of those who receive: one that has stopped, and none at all."""

from __future__ import annotations

import signal
import statistics

from . import peer
from .peer import NODE
from .result import Result
from .stand import Stand, some

FRAMES = 60
MARGIN_MS = 1.0


def stopped_subscriber(stand: Stand, result: Result) -> None:
    """A process with reliable subscriptions to labels and depth is stopped (SIGSTOP) and takes nothing any more."""
    name = "subscriber"

    def subscribers() -> int:
        return stand.node.count_subscribers(f"{NODE}/panoptic")

    before = subscribers()
    stand.children.start(name, peer.__name__, peer.SUBSCRIBER)
    stand.wait(lambda: subscribers() > before, "the subscriber's subscription", 60.0)
    result.sent, result.lost = 2 * FRAMES, stand.through(FRAMES)
    calm = {figure: _median_ms(stand, figure) for figure in ("publish", "latency")}
    stand.children.send(name, signal.SIGSTOP)
    result.lost += stand.through(FRAMES)
    stopped = {figure: _median_ms(stand, figure) for figure in calm}
    stand.children.send(name, signal.SIGKILL)
    stand.children.stop(name)
    stand.wait(lambda: subscribers() == before, "that the killed subscriber is forgotten", 60.0)
    result.must(result.lost == 0, "the other subscriber gets every frame")
    for figure, before_ms in calm.items():
        result.must(
            stopped[figure] < 2 * before_ms + MARGIN_MS,
            f"{figure}: {before_ms:.1f} ms before, {stopped[figure]:.1f} ms while it is stopped",
        )
    result.happened = (
        f"nothing changes for the others for {FRAMES} frames: publishing takes {calm['publish']:.1f} ms before and "
        f"{stopped['publish']:.1f} ms then, the age is {calm['latency']:.0f} and {stopped['latency']:.0f} ms (medians)"
    )


def no_subscriber(stand: Stand, result: Result) -> None:
    """Everybody but the subscriber to ~/stats goes away, and comes back."""
    result.sent, result.lost = 2 * FRAMES, stand.through(FRAMES)
    wanted = _median_ms(stand, "publish")
    stand.listen(())
    stand.wait(lambda: stand.node.count_subscribers(f"{NODE}/panoptic") == 0, "that nobody subscribes")
    stand.settle()
    result.lost += stand.through(FRAMES)
    alone = _median_ms(stand, "publish")
    stand.listen(stand.setup.outputs)
    stand.settle()
    result.must(result.lost == 0, "every frame has its stats")
    result.must(alone < 0.5 * wanted, f"publishing takes {alone:.2f} ms with nobody there, else {wanted:.2f} ms")
    result.happened = f"nothing is encoded: publishing takes {alone:.2f} ms instead of {wanted:.2f} ms (medians)"


def _median_ms(stand: Stand, figure: str) -> float:
    return float(statistics.median(some([row[f"{figure}_ms"] for row in stand.arrivals.stats[-FRAMES:]], "stats")))

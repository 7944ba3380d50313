"""Faults of the stream: it stops, comes from another process, is too fast, or its clock jumps."""

from __future__ import annotations

import itertools
import signal
import statistics
import time

from diagnostic_msgs.msg import DiagnosticStatus
from rosgraph_msgs.msg import Clock

from ..node.diagnostics import STALE_S
from . import peer
from .result import Result
from .stand import Stand, some

PAUSE_S, WARNING_MARGIN_S = 5.0, 1.0
MINUTES_NS = 5 * 60 * 10**9
MARGIN_S = 0.15
MOST_AGE_MS = 1000.0


def pause(stand: Stand, result: Result) -> None:
    """No image for seconds; then they go on."""
    result.sent, result.lost = 20, stand.through(10)
    began = time.monotonic()
    stand.wait(lambda: stand.status("input").level == DiagnosticStatus.OK, "that diagnostics are well before")
    said = stand.until(lambda: "no image was processed" in stand.status("input").message, PAUSE_S)
    warned_s = time.monotonic() - began
    result.must(
        said and abs(warned_s - STALE_S) < WARNING_MARGIN_S,
        f"diagnostics warn {warned_s:.1f} s after the last image that none comes, {STALE_S:g} s are meant",
    )
    stand.until(lambda: False, began + PAUSE_S - time.monotonic())
    result.lost += stand.through(10)
    result.must(result.lost == 0, "no frame is lost")
    result.must(
        stand.until(lambda: stand.status("input").level == DiagnosticStatus.OK, 10.0), "diagnostics are well again"
    )
    result.happened = (
        f"a warning in diagnostics after {warned_s:.1f} s; the first frame after the pause came out like any other"
    )


def camera_restart(stand: Stand, result: Result) -> None:
    """The camera's process is killed and another one takes its place; its publisher is another one for DDS."""
    stand.node.destroy_publisher(stand.images)
    stand.images = None
    began_ns = time.time_ns()
    stand.children.start("camera1", peer.__name__, peer.CAMERA)
    stand.wait(lambda: len(stand.outputs_since(began_ns)) >= 10, "labels of the first camera's images", 60.0)
    stand.children.send("camera1", signal.SIGKILL)
    stand.children.wait("camera1", 10.0)
    began_ns = time.time_ns()
    stand.children.start("camera2", peer.__name__, peer.CAMERA)
    stand.wait(lambda: bool(stand.outputs_since(began_ns)), "labels of the second camera's images", 60.0)
    came_ns = time.time_ns()
    first_ns = some(peer.stamps(stand.children.log("camera2")), "stamps of the second camera")[0]
    result.recovered_s = (came_ns - first_ns) / 1e9
    result.must(result.recovered_s < 5.0, f"labels {result.recovered_s:.1f} s after the second camera's first image")
    more = len(stand.outputs_since(began_ns)) + 10
    stand.wait(lambda: len(stand.outputs_since(began_ns)) >= more, "a steady stream from the second camera")
    stand.children.stop("camera2")
    stand.connect_camera()
    stand.meet()
    stand.settle()
    result.sent, result.lost = 10, stand.through(10)
    result.must(result.lost == 0, "afterwards no frame of a third publisher is lost")
    result.happened = "the node takes the images of the new process without being told"


def flood(stand: Stand, result: Result) -> None:
    """60 images per second into a network that takes a few."""
    stand.through(3)
    base = some(stand.arrivals.stats, "stats before the flood")[-1]
    before = len(stand.arrivals.stats)
    stamps = stand.stream(12.0, 60.0)
    stand.until(lambda: stand.arrivals.stats[-1]["stamp_ns"] == stamps[-1], 10.0)
    rows = some([row for row in stand.arrivals.stats[before:] if row["stamp_ns"] >= stamps[0]], "stats of the flood")
    last = rows[-1]
    received, done, dropped = (int(last[k] - base[k]) for k in ("frames_in", "frames_processed", "frames_dropped"))
    waiting = received - done - dropped
    ages = [row["latency_ms"] / 1e3 for row in rows]
    arrivals = sorted(at / 1e9 for stamp, at in stand.arrivals.outputs[stand.setup.outputs[0]] if stamp >= stamps[0])
    period = statistics.median(some([b - a for a, b in itertools.pairwise(arrivals)], "labels of the flood"))
    result.sent, result.lost = len(stamps), dropped
    result.must(done == len(rows), f"{done} frames counted as processed, {len(rows)} came out")
    result.must(waiting == 0, f"received {received} = processed {done} + dropped {dropped} + {waiting} on their way")
    result.must(received == len(stamps), f"{len(stamps)} images were sent, {received} received")
    middle = statistics.median(ages)
    result.must(middle <= 2 * period + MARGIN_S, f"median age {middle:.2f} s within 2 periods of {period:.2f} s")
    result.must(max(ages) <= 4 * period + MARGIN_S, f"age at most {max(ages):.2f} s, within 4 periods")
    third = (len(ages) + 2) // 3
    first, later = statistics.median(ages[:third]), statistics.median(ages[-third:])
    result.must(
        later <= first + period, f"age does not grow: {first:.2f} s in the first third, {later:.2f} s in the last"
    )
    result.happened = (
        f"a frame every {period:.2f} s, {done} processed and {dropped} dropped, all {received} counted; median age "
        f"{middle:.2f} s, at most {max(ages):.2f} s"
    )


def stamps_jump(stand: Stand, result: Result) -> None:
    """Stamps jump back by minutes, as a bag that starts again, and far ahead, and back again."""
    jumps = int(stand.value("input", "stamps jumped back") or 0)
    now = time.time_ns()
    for start in (now, now - MINUTES_NS, now + 365 * 24 * 3600 * 10**9, now):
        stamps = [start + index * 10**8 for index in range(8)]
        result.sent, result.lost = (result.sent or 0) + 8, result.lost + stand.through(8, stamps=stamps)
    result.must(result.lost == 0, f"all {result.sent} frames came out, with their own stamps")
    counted = stand.until(lambda: stand.value("input", "stamps jumped back") == str(jumps + 2), 10.0)
    result.must(
        counted, f"diagnostics count the jumps back ({stand.value('input', 'stamps jumped back')} of {jumps + 2})"
    )
    result.happened = "both jumps back are counted in diagnostics; every frame came out with its stamp"


def clock_jumps(stand: Stand, result: Result) -> None:
    """With use_sim_time, /clock jumps back and stands still."""
    clock = stand.node.create_publisher(Clock, "/clock", 10)
    stand.wait(lambda: clock.get_subscription_count() > 0, "the node listens to /clock")

    def tick(stamp_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp_ns, 10**9)
        clock.publish(message)

    ages: list[float] = []
    for start_s in (1000, 2000, 500):
        for index in range(8):
            stamp = start_s * 10**9 + index * 10**8
            tick(stamp)
            result.lost += stand.through(1, stamps=[stamp])
            if index:  # the first after a jump may overtake its tick
                ages.append(some(stand.arrivals.stats, "stats")[-1]["latency_ms"])
    result.sent = 24
    oldest = max(ages, key=abs)
    result.must(
        all(abs(age) < MOST_AGE_MS for age in ages), f"ages follow the clock, at most {oldest:.0f} ms off stamps"
    )
    diagnostics = len(stand.diagnostics)
    result.must(stand.until(lambda: len(stand.diagnostics) > diagnostics + 3, 5.0), "diagnostics go on while it stands")
    result.lost += stand.through(8, stamps=[501 * 10**9 + index for index in range(8)])
    result.sent += 8
    result.must(result.lost == 0, f"all {result.sent} frames came out")
    result.happened = "every frame came out, at the jump and while the clock stands; diagnostics go on meanwhile"
    stand.node.destroy_publisher(clock)

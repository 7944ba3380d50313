"""Faults of the model: its file is replaced, broken or deleted, and its backend fails."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from std_srvs.srv import Trigger

from ..files import replacing
from ..models.weights import METADATA_KEY
from ..node.camera_messages import camera_messages
from .failing_node import ERROR, LOSE, PICTURES, SURPRISE
from .peer import INTRINSICS, NODE, SIZE
from .result import Result
from .stand import Stand, some

RATE_HZ = 10.0
RECOVERY_S, LONGEST_GAP_S = 60.0, 1.0
MOST_LOST = 0.05


def replaced_weights(stand: Stand, result: Result) -> None:
    """The weights file is replaced by another good one while the node runs (renamed over it), then ~/reload_model."""
    name = f"renamed_{len(stand.sent)}"
    with replacing(stand.weights) as beside:
        rename_model(stand.weights, beside, name)
    _reload(stand, result, f"loaded {name}", True)
    told = stand.until(lambda: stand.value("model", "model") == name, 10.0)
    result.must(told, f"diagnostics name the new model '{stand.value('model', 'model')}'")
    result.happened = f"the new model takes over between two frames, costs {result.lost} frames, {result.happened}"


def broken_weights(stand: Stand, result: Result) -> None:
    """The weights file is replaced by its first half, then ~/reload_model."""
    whole = stand.weights.read_bytes()
    with replacing(stand.weights) as beside:
        beside.write_bytes(whole[: len(whole) // 2])
    _refused(stand, result, "may be truncated")
    result.must("goes on" in stand.status("model").message, "diagnostics say that the old model goes on, and why")
    with replacing(stand.weights) as beside:
        beside.write_bytes(whole)
    result.happened = f"refused with the reason; the old model goes on, {result.happened}"


def deleted_weights(stand: Stand, result: Result) -> None:
    """The weights file is deleted while the node runs, then ~/reload_model."""
    whole = stand.weights.read_bytes()
    stand.weights.unlink()
    _refused(stand, result, "no weights file")
    stand.weights.write_bytes(whole)
    answer = stand.ask(Trigger, "reload_model")
    result.must(answer.success, f"with the file back it loads ({answer.message})")
    result.happened = f"refused with the reason; the old model goes on, {result.happened}"


def failing_backend(stand: Stand, result: Result) -> None:
    """The network raises in the middle of the stream: as runtimes do, and with an exception that nobody foresaw."""
    result.sent = 0
    failing: list[int] = []
    for picture, said in ((ERROR, "out of memory (injected"), (SURPRISE, "a surprise (injected")):
        for _ in range(3):
            result.lost += stand.through(5)
            result.sent += 5
            before = stand.value("processing", "last error")
            failing.append(_show(stand, picture))
            stand.until(lambda before=before: stand.value("processing", "last error") != before, 10.0)  # type: ignore[misc]
            told = stand.value("processing", "last error")
            result.must(said in told and told != before, f"diagnostics end with '{told.rpartition(chr(10))[2]}'")
    result.lost += stand.through(5)
    result.sent += 5
    came = set(failing) & set(stand.outputs_since(failing[0]))
    result.must(not came, f"{len(came)} of the {len(failing)} failing frames came out")
    result.must(
        result.lost == 0, f"{result.sent - result.lost} of {result.sent} frames around the failing ones came out"
    )
    result.happened = "only the failing frames are missing; diagnostics have the reason of each"


def lost_device(stand: Stand, result: Result) -> None:
    """From one frame on every run of the network raises, as with a GPU that is gone; a model loaded anew works."""
    result.sent, result.lost = 10, stand.through(10)
    seen, logged = len(stand.diagnostics), len(stand.log)
    _show(stand, LOSE)
    # Nothing else is sent until then: a newer frame would take its place. The log is throttled, diagnostics are not.
    stand.wait(lambda: "the device is gone" in stand.value("processing", "last error"), "the first failed run")
    began = time.monotonic()
    stamps: list[int] = []
    while not (stamps and stand.outputs_since(stamps[0])) and time.monotonic() - began < RECOVERY_S:
        stamps += stand.stream(0.2, RATE_HZ)
    result.recovered_s = time.monotonic() - began
    stand.until(lambda: stand.came(stamps[-1]), 5.0)
    came = stand.outputs_since(stamps[0])
    result.sent, result.lost = 10 + len(stamps), result.lost + len(set(stamps) - set(came))
    result.must(bool(came), f"frames come out again within {RECOVERY_S:g} s, without help")
    failing = [s for array in stand.diagnostics[seen:] for s in array.status if s.level == DiagnosticStatus.ERROR]
    named = any("the device is gone" in status.message for status in failing)
    result.must(named, f"diagnostics: ERROR '{failing[0].message if failing else 'never'}'")
    well = stand.until(lambda: stand.status("processing").level == DiagnosticStatus.OK, 10.0)
    result.must(well, "diagnostics are well again")
    result.must("Traceback" not in stand.log[logged:], "no traceback in the log")
    answer = stand.ask(Trigger, "reload_model")
    result.must(answer.success and stand.through(10) == 0, f"~/reload_model works too ({answer.message})")
    result.happened = "diagnostics ERROR with the reason; after 3 failed runs the model is loaded again by itself"


def rename_model(weights: Path, to: Path, name: str) -> None:
    """Write the same weights under another model_id."""
    with safe_open(weights, framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    save_file(load_file(weights), to, {METADATA_KEY: json.dumps({**metadata, "model_id": name})})


def _refused(stand: Stand, result: Result, message: str) -> None:
    """As `_reload` of a file that can't be loaded: the old model has next to nothing to lose by it."""
    _reload(stand, result, message, False)
    result.must(result.lost <= MOST_LOST * (result.sent or 0), f"{result.lost} of {result.sent} frames were lost")


def _reload(stand: Stand, result: Result, message: str, success: bool) -> None:
    """Ask for a reload in the middle of a stream; count what the stream lost meanwhile."""
    client: Any = stand.node.create_client(Trigger, f"{NODE}/reload_model")
    stand.wait(client.service_is_ready, "~/reload_model")
    asked: list[Any] = []

    def meanwhile() -> None:
        if not asked and len(stand.sent) - before >= RATE_HZ:
            asked.append(client.call_async(Trigger.Request()))

    before = len(stand.sent)
    stamps = stand.stream(5.0, RATE_HZ, meanwhile)
    stand.wait(lambda: bool(asked) and asked[0].done(), "an answer of ~/reload_model", 60.0)
    stand.until(lambda: stand.came(stamps[-1]), 5.0)
    answer = asked[0].result()
    stand.node.destroy_client(client)
    came = stand.outputs_since(stamps[0])
    gap_s = max(some([(b - a) / 1e9 for a, b in itertools.pairwise(came)], "labels of the stream"))
    result.sent, result.lost = len(stamps), len(set(stamps) - set(came))
    result.must(answer.success == success and message in answer.message, f"~/reload_model answers '{answer.message}'")
    result.must(gap_s < LONGEST_GAP_S, f"the stream never stops for more than {gap_s:.2f} s")
    result.happened = f"longest gap of a 10 Hz stream {gap_s:.2f} s"


def _show(stand: Stand, picture: str) -> int:
    """Send a picture that `failing_node` obeys; it does not count as a good frame. Its stamp."""
    _, info = stand.frame()
    rgb = np.full((*SIZE, 3), PICTURES[picture], np.uint8)
    image, _ = camera_messages(rgb, INTRINSICS)
    stamp_ns = time.time_ns()
    stand.publish(image, info, stamp_ns)
    return stamp_ns

"""Faults of the model: its file is replaced, broken or deleted, and its backend fails."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from std_srvs.srv import Trigger

from ..camera import Intrinsics
from ..files import replacing
from ..models.weights import METADATA_KEY
from ..node.camera_messages import camera_messages
from .failing_node import ERROR, LOSE, PICTURES, SURPRISE
from .peer import NODE, SIZE
from .result import Result
from .stand import Stand

RATE_HZ = 10.0


def replaced_weights(stand: Stand, result: Result) -> None:
    """The weights file is replaced by another good one while the node runs (renamed over it), then ~/reload_model."""
    name = f"renamed_{len(stand.sent)}"
    with replacing(stand.weights) as beside:
        rename_model(stand.weights, beside, name)
    _reload(stand, result, f"loaded {name}", True)
    told = stand.until(lambda: stand.value("model", "model") == name, 10.0)
    result.must(told, f"diagnostics name the new model '{stand.value('model', 'model')}'")
    result.happened = f"the new model takes over between two frames, {result.happened}"


def broken_weights(stand: Stand, result: Result) -> None:
    """The weights file is replaced by its first half, then ~/reload_model."""
    whole = stand.weights.read_bytes()
    with replacing(stand.weights) as beside:
        beside.write_bytes(whole[: len(whole) // 2])
    _reload(stand, result, "may be truncated", False)
    result.must("goes on" in stand.status("model").message, "diagnostics say that the old model goes on, and why")
    with replacing(stand.weights) as beside:
        beside.write_bytes(whole)
    result.happened = f"refused with the reason; the old model goes on, {result.happened}"


def deleted_weights(stand: Stand, result: Result) -> None:
    """The weights file is deleted while the node runs, then ~/reload_model."""
    whole = stand.weights.read_bytes()
    stand.weights.unlink()
    _reload(stand, result, "no weights file", False)
    stand.weights.write_bytes(whole)
    answer = stand.ask(Trigger, "reload_model")
    result.must(answer.success, f"with the file back it loads ({answer.message})")
    result.happened = f"refused with the reason; the old model goes on, {result.happened}"


def failing_backend(stand: Stand, result: Result) -> None:
    """The network raises in the middle of the stream: as runtimes do, and with an exception that nobody foresaw."""
    result.sent = 0
    for picture, said in ((ERROR, "out of memory (injected)"), (SURPRISE, "a surprise (injected)")):
        for _ in range(3):
            result.lost += stand.through(5)
            result.sent += 5
            _show(stand, picture)
            named = stand.until(lambda said=said: said in stand.value("processing", "last error"), 10.0)  # type: ignore[misc]
            result.must(named, f"diagnostics say '{said}'")
    result.lost += stand.through(5)
    result.sent += 5
    result.must(
        result.lost == 0, f"{result.sent - result.lost} of {result.sent} frames around the failing ones came out"
    )
    result.happened = "only the failing frames are missing; diagnostics and log have the reason"


def lost_device(stand: Stand, result: Result) -> None:
    """From one frame on every run of the network raises, as with a GPU that is gone."""
    result.sent, result.lost = 10, stand.through(10)
    _show(stand, LOSE)
    stamps = stand.stream(2.0, RATE_HZ)
    result.must(not stand.outputs_since(stamps[0]), "nothing is published, rather than something wrong")
    result.sent, result.lost = result.sent + len(stamps), result.lost + len(stamps)
    failing = stand.until(lambda: stand.status("processing").level == b"\x02", 10.0)
    result.must(failing, f"diagnostics: ERROR '{stand.status('processing').message}'")
    result.must("the device is gone" in stand.log, "the log names the reason")
    began = time.monotonic()
    answer = stand.ask(Trigger, "reload_model")
    result.must(answer.success, f"~/reload_model works ({answer.message})")
    lost = stand.through(10)
    result.recovered_s = time.monotonic() - began
    result.must(lost == 0, "after ~/reload_model frames come out again")
    well = stand.until(lambda: stand.status("processing").level == b"\x00", 10.0)
    result.must(well, "diagnostics are well again")
    result.happened = "no output, diagnostics ERROR with the reason; ~/reload_model brings it back"


def rename_model(weights: Path, to: Path, name: str) -> None:
    """Write the same weights under another model_id."""
    with safe_open(weights, framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    save_file(load_file(weights), to, {METADATA_KEY: json.dumps({**metadata, "model_id": name})})


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
    stand.wait(asked[0].done, "an answer of ~/reload_model", 60.0)
    stand.until(lambda: stand.came(stamps[-1]), 5.0)
    answer = asked[0].result()
    stand.node.destroy_client(client)
    came = stand.outputs_since(stamps[0])
    gaps = [(b - a) / 1e9 for a, b in itertools.pairwise(came)]
    result.sent, result.lost = len(stamps), len(set(stamps) - set(came))
    result.must(
        answer.success == success and message in answer.message, f"~/reload_model answers '{answer.message:.120}'"
    )
    result.must(max(gaps) < 1.0, f"the stream never stops for more than {max(gaps):.2f} s")
    result.happened = f"longest gap of a 10 Hz stream {max(gaps):.2f} s"


def _show(stand: Stand, picture: str) -> None:
    """Send a picture that `failing_node` obeys; it does not count as a good frame."""
    _, info = stand.frame()
    rgb = np.full((*SIZE, 3), PICTURES[picture], np.uint8)
    image, _ = camera_messages(rgb, Intrinsics(100.0, 100.0, 64.0, 32.0, *SIZE))
    stand.publish(image, info, time.time_ns())

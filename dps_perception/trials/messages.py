"""Faults in what the camera sends: malformed images and calibrations between good ones."""

from __future__ import annotations

import array
import copy
import math
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image

from .result import Result
from .stand import Stand, TrialError

GOOD_BETWEEN = 5


def _unknown_encoding(image: Image) -> None:
    image.encoding = "rgb7"


def _short_data(image: Image) -> None:
    image.data = array.array("B", image.data[: len(image.data) // 2])


def _zero_size(image: Image) -> None:
    image.height = image.width = image.step = 0
    image.data = array.array("B")


def _absurd_size(image: Image) -> None:
    image.height = image.width = 100_000
    image.step = 300_000


def _small_step(image: Image) -> None:
    image.step = image.width


def _nothing(image: Image) -> None:
    for name in ("height", "width", "step"):
        setattr(image, name, 0)
    image.encoding, image.data = "", array.array("B")


IMAGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "an unknown encoding": (_unknown_encoding, "encoding 'rgb7' is unknown"),
    "half of the data": (_short_data, "truncated"),
    "0x0 pixels": (_zero_size, "sent no pixels"),
    "100000x100000 pixels claimed": (_absurd_size, "100000"),
    "a step below the width": (_small_step, "step 128"),
    "no field set": (_nothing, "sent no pixels"),
}
"""Name -> (what makes a good image malformed, what diagnostics must say)."""


def malformed_images(stand: Stand, result: Result) -> None:
    """Each kind of malformed image between good ones, and a calibration that is not a number."""
    result.sent = 0
    for name, (spoil, said) in IMAGES.items():
        _good(stand, result)
        image, info = copy.deepcopy(stand.frame())
        spoil(image)
        stand.publish(image, info, stand.sent[-1] + 1)
        told = stand.until(lambda said=said: said in stand.value("processing", "last error"), 10.0)  # type: ignore[misc]
        result.must(told, f"diagnostics name {name} ('{stand.value('processing', 'last error')}')")
    _good(stand, result)
    image, info = copy.deepcopy(stand.frame())
    info.k = array.array("d", [math.nan] * 9)
    info.p = array.array("d", [math.nan] * 12)
    stand.publish(image, info, stand.sent[-1] + 1)
    stand.until(lambda: bool(stand.outputs_since(stand.sent[-1] + 1)), 5.0)
    result.must(bool(stand.outputs_since(stand.sent[-1] + 1)), "labels go on with a calibration of NaN")
    result.must(
        stand.until(lambda: stand.status("input").level == DiagnosticStatus.ERROR, 10.0),
        f"diagnostics call it an error ('{stand.status('input').message}')",
    )
    _good(stand, result)
    result.must(result.lost == 0, f"{result.sent - result.lost} of {result.sent} good frames came through")
    result.must("Traceback" not in stand.log, "no traceback in the log")
    result.happened = f"each is refused and named in diagnostics ({len(IMAGES) + 1} kinds); labels of good frames go on"


def undecodable_jpegs(stand: Stand, result: Result) -> None:
    """JPEGs cut in half, of noise, and empty, between good ones."""
    result.sent = 0
    whole = stand.frame()[0].data
    half = array.array("B", whole[: len(whole) // 2])
    for data in (array.array("B", b"\xff\xd8" + bytes(range(256))), array.array("B"), half):
        _good(stand, result)
        image, info = copy.deepcopy(stand.frame())
        image.data = data
        stand.publish(image, info, stand.sent[-1] + 1)
        said = f"{len(data)} bytes of format"
        told = stand.until(lambda said=said: said in stand.value("processing", "last error"), 10.0)  # type: ignore[misc]
        result.must(
            told, f"diagnostics name {len(data)} undecodable bytes ('{stand.value('processing', 'last error')}')"
        )
    _good(stand, result)
    result.must(result.lost == 0, f"{result.sent - result.lost} of {result.sent} good frames came through")
    result.must("Traceback" not in stand.log, "no traceback in the log")
    result.happened = "refused, with size and format in diagnostics; good frames go on"


def _good(stand: Stand, result: Result) -> None:
    lost = stand.through(GOOD_BETWEEN)
    result.sent, result.lost = (result.sent or 0) + GOOD_BETWEEN, result.lost + lost
    if not stand.alive:
        raise TrialError(f"the node has ended: {stand.children.last_words(stand.name)}")

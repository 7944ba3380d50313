"""Faults of a recording: it may not grow any more."""

from __future__ import annotations

import resource
import time

from ..data.bag import BagReader
from .peer import NODE
from .result import Result
from .stand import Stand, some

RECORDER = "dps_perception.node.record"
LIMIT_MIB = 5
RATE_HZ, MOST_S = 10.0, 60.0
TOPICS = ("/image", f"{NODE}/points")


def full_disk(stand: Stand, result: Result) -> None:
    """`dps_record` of images and clouds may write no file beyond 5 MiB, which fails as a full disk does."""
    name, bag = "recorder", stand.folder / "recording"
    before = stand.node.count_subscribers("/image")
    stand.children.start(name, RECORDER, str(bag), *TOPICS)
    resource.prlimit(stand.children.pid(name), resource.RLIMIT_FSIZE, (LIMIT_MIB * 2**20,) * 2)
    stand.wait(lambda: stand.node.count_subscribers("/image") > before, "the recorder subscribes", 60.0)
    stamps: list[int] = []
    began = time.monotonic()
    while stand.children.running(name) and time.monotonic() - began < MOST_S:
        stamps += stand.stream(0.5, RATE_HZ)
    status = stand.children.wait(name, 10.0)
    said = stand.children.last_words(name)
    last = some(stamps, "frames sent before the recorder ended")[-1]
    stand.until(lambda: stand.came(last), 5.0)
    result.sent, result.lost = len(stamps), len(set(stamps) - set(stand.outputs_since(stamps[0])))
    told = status == 2 and "can't be written" in said
    result.must(told, f"the recorder ends with status {status} and says '{said}'")
    result.must(result.lost == 0, f"the node goes on: {result.lost} of {len(stamps)} frames were lost")
    with BagReader(bag) as reader:
        found = {topic: reader.topics()[topic].message_count for topic in TOPICS if topic in reader.topics()}
    kept = ", ".join(f"{count} of {topic}" for topic, count in found.items())
    result.must(len(found) == len(TOPICS) and all(found.values()), f"the bag can be read: {kept or 'nothing'}")
    result.happened = f"the recorder ends with status {status} and the reason; its bag can be read: {kept}"

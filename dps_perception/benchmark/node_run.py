"""The whole node, measured from outside: frames are sent to it, and another process receives all that it publishes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from ..errors import ConfigError, nearest
from ..inference.sources import open_source
from ..inference.timing import statistics
from ..node import qos
from ..node.camera_messages import camera_messages
from ..node.demo_processes import ChildError, Children, ros_environment
from ..node.encode import OUTPUTS
from ..node.spin import spin_until

NODE, LISTENER = "dps_node", "listener"
ALL = tuple(OUTPUTS)
STAGES = ("decode", "preprocess", "inference", "fusion", "publish", "waiting", "processing")
START_TIMEOUT_S = 180.0
WARM_UP = 5
IMAGES = 4


def measure_node(
    weights: str,
    *,
    backend: str = "torch",
    precision: str = "auto",
    size_hw: tuple[int, int] = (512, 1024),
    network_hw: tuple[int, int] | None = None,
    outputs: Collection[str] = ALL,
    frames: int = 50,
    rate_hz: float = 2.0,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Start the real node and a subscriber in processes of their own, send frames, and say how long they took.

    Below the node's throughput, end to end is what one frame takes; above, frames are dropped, and it includes
    their waiting. The subscriber takes messages as bytes, as one in C++ does, and uses the same cores.

    Args:
        weights, backend, precision: see `Predictor.load`.
        size_hw: of the images, multiples of 32.
        network_hw: of the network's input; None takes the weights' own.
        outputs: that the subscriber asks for (see `OUTPUTS`); the node computes nothing else.
        frames: to send, after a few to warm up.
        rate_hz: frames sent per second.
        parameters: others of the node, as on its command line.

    Returns:
        `end_to_end_ms`: {min, median, p95} from just before the image is published here to the arrival of the frame's
        last output at the subscriber; `arrival_ms`: median of each output; `in_node_ms`: message in to last message
        out, by ~/stats; `stages_ms`: of each stage; `network_ms`; `ratio`, `ratio_in_node`: medians over the network's
        own time, frame by frame; `cpu_ms_per_frame`: user and system time of the node's process, `cpu_cores`: the
        same over wall time; `frames`: {sent, processed, dropped}; `received`: of each output; and what was run.

    Raises:
        ConfigError: an output that does not exist, or no frames.
        ChildError: a process ended, or the node did not take up work.
    """
    for name in outputs:
        if name not in OUTPUTS:
            raise ConfigError(f"output '{name}' does not exist{nearest(name, OUTPUTS)} There are: {', '.join(OUTPUTS)}")
    if frames < 1 or not rate_hz > 0:
        raise ConfigError(f"{frames} frames at {rate_hz:g} Hz: both must be above 0")
    asked = {"backend": backend, "precision": precision, **({"weights": json.dumps(weights)} if weights else {})}
    if network_hw is not None:
        asked |= {"input_height": str(network_hw[0]), "input_width": str(network_hw[1])}
    asked |= parameters or {}
    source = open_source("street:test", split="", size=size_hw, limit=IMAGES)
    messages = [camera_messages(each.image, each.intrinsics) for each in source if each.intrinsics is not None]
    os.environ.update(environment := ros_environment())
    with tempfile.TemporaryDirectory() as folder, Children(Path(folder), environment) as children:
        arrivals = Path(folder) / "arrivals.json"
        words = [word for name, value in asked.items() for word in ("-p", f"{name}:={value}")]
        children.start(NODE, "dps_perception.node.main", "--ros-args", *words)
        children.start(LISTENER, "dps_perception.benchmark.node_listen", str(arrivals), *outputs)
        sent_ns, cpu_s, wall_s = _send(children, messages, len(outputs) + 1, frames, rate_hz)
        children.stop(NODE)
        children.stop(LISTENER)
        if not arrivals.exists():
            raise ChildError(f"the subscriber wrote nothing: {children.last_words(LISTENER)}")
        got = json.loads(arrivals.read_text())
    about = {"size_hw": list(size_hw), "rate_hz": rate_hz, "parameters": asked}
    return about | summary(sent_ns, got["outputs"], got["stats"], cpu_s, wall_s)


def _send(
    children: Children, messages: Sequence[tuple[Image, CameraInfo]], topics: int, frames: int, rate_hz: float
) -> tuple[dict[int, int], float, float]:
    """Send frames; (stamp -> when it was sent on the monotonic clock [ns], the node's CPU time [s], wall time [s])."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("dps_feeder", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        images = node.create_publisher(Image, "image", qos.profile("reliable", 1))
        infos = node.create_publisher(CameraInfo, "camera_info", qos.profile("reliable", 1))

        def met() -> bool:
            children.check(NODE, LISTENER)
            known = [name for name, _ in node.get_publisher_names_and_types_by_node("dps", "/")] if there() else []
            matched = sum(node.count_subscribers(name) > 0 for name in known if name.startswith("/dps/"))
            return images.get_subscription_count() > 0 and infos.get_subscription_count() > 0 and matched >= topics

        def there() -> bool:
            return "dps" in node.get_node_names()

        if not spin_until(executor, met, START_TIMEOUT_S):
            raise ChildError(f"the node takes no frames after {START_TIMEOUT_S:g} s: {children.last_words(NODE)}")
        sent_ns: dict[int, int] = {}
        cpu_s = wall_s = 0.0
        due = time.monotonic()
        for index in range(WARM_UP + frames):
            if index == WARM_UP:
                cpu_s, wall_s = children.cpu_s(NODE), time.monotonic()
            image, info = messages[index % len(messages)]
            stamp = node.get_clock().now()
            image.header.stamp = info.header.stamp = stamp.to_msg()
            infos.publish(info)
            began_ns = time.monotonic_ns()
            images.publish(image)
            if index >= WARM_UP:
                sent_ns[stamp.nanoseconds] = began_ns
            due = max(due + 1 / rate_hz, time.monotonic())
            spin_until(executor, lambda: False, due - time.monotonic())
        spin_until(executor, lambda: False, 1.0)  # the last frame's way through the node and to the subscriber
        children.check(NODE, LISTENER)
        return sent_ns, children.cpu_s(NODE) - cpu_s, time.monotonic() - wall_s
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def summary(
    sent_ns: Mapping[int, int],
    outputs: Mapping[str, Sequence[Sequence[int]]],
    stats: Sequence[Mapping[str, Any]],
    cpu_s: float,
    wall_s: float,
) -> dict[str, Any]:
    """What `measure_node` returns, from when frames were sent and what came of them (see `Arrivals`).

    A frame counts where its stats and every output came.

    Raises:
        ChildError: no frame came back whole.
    """
    arrived = {name: {stamp: at for stamp, at in pairs if stamp in sent_ns} for name, pairs in outputs.items()}
    told = {int(row["stamp_ns"]): row for row in stats if int(row["stamp_ns"]) in sent_ns}
    whole = sorted(told.keys() & set.intersection(*(set(found) for found in arrived.values())))
    if not whole:
        counts = {name: len(found) for name, found in arrived.items()} | {"stats": len(told)}
        raise ChildError(f"none of {len(sent_ns)} frames came back with all outputs; received: {counts}")
    ends = {stamp: max(found[stamp] for found in arrived.values()) for stamp in whole}
    end_to_end = np.array([(ends[stamp] - sent_ns[stamp]) * 1e-6 for stamp in whole])
    stages = {stage: np.array([told[stamp][f"{stage}_ms"] for stamp in whole]) for stage in STAGES}
    network, processing = stages["inference"], stages["processing"]
    first, last = told[min(told)], told[max(told)]
    return {
        "backend": last["backend"],
        "precision": last["precision"],
        "end_to_end_ms": _statistics(end_to_end),
        "in_node_ms": _statistics(processing),
        "network_ms": _statistics(network),
        "ratio": float(np.median(end_to_end / network)),
        "ratio_in_node": float(np.median(processing / network)),
        "stages_ms": {stage: _statistics(values) for stage, values in stages.items()},
        "arrival_ms": {
            name: float(np.median([(found[stamp] - sent_ns[stamp]) * 1e-6 for stamp in whole]))
            for name, found in arrived.items()
        },
        "frames": {
            "sent": len(sent_ns),
            "processed": len(told),
            "dropped": int(last["frames_dropped"] - first["frames_dropped"]),
        },
        "received": {name: len(found) for name, found in arrived.items()},
        "processed_hz": (len(told) - 1) / max((max(told) - min(told)) * 1e-9, 1e-9),
        "cpu_ms_per_frame": 1e3 * cpu_s / len(told),
        "cpu_cores": cpu_s / wall_s,
    }


def _statistics(values: Any) -> dict[str, float]:
    return {name.removesuffix("_ms"): value for name, value in statistics(values).items()}

"""What the demo reads from its recordings, on recordings made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import PointField

from dps_perception.data.bag_messages import cloud_colors, decode_cloud
from dps_perception.data.bag_writer import BagWriter
from dps_perception.errors import ImageError
from dps_perception.node.demo_measure import END_TO_END, depth_errors, latencies_ms
from dps_perception.node.demo_report import _depth_range
from dps_perception.node.demo_session import PER_FRAME, Recording
from dps_perception.node.graph import message_class, message_definitions


def test_depth_errors_with_and_without_scale() -> None:
    truth = np.array([[2.0, 4.0, 6.0, np.nan]], np.float32)
    errors = depth_errors(np.array([[4.0, 8.0, 12.0, 1.0]], np.float32), truth)
    # Everything is twice too far: 100 % off, and right after scaling by 4 / 8.
    assert errors == pytest.approx({"abs_rel": 1.0, "abs_rel_scaled": 0.0, "ratio": 0.5, "coverage": 1.0})
    bent = depth_errors(np.array([[1.0, 6.0, np.inf, 1.0]], np.float32), truth)
    # Medians of what both have: 3 and 3.5. Errors -1/2 and +1/2; scaled by 6/7: -4/7 and +2/7.
    assert bent == pytest.approx({"abs_rel": 0.5, "abs_rel_scaled": 3 / 7, "ratio": 6 / 7, "coverage": 2 / 3})


def test_latencies_from_image_to_last_output(tmp_path: Path) -> None:
    """Two frames; the outputs of the first arrive 5 and 9 ms after the image, those of the second after 7 ms."""
    with BagWriter(tmp_path / "bag") as writer:
        stats = message_class("dps_msgs/msg/PipelineStats")
        writer.register_types(message_definitions(stats))
        pixel = np.zeros(1, np.uint8)
        for frame, (image_ms, other_ms, stats_ms, inference_ms) in enumerate(
            [(100, 105, 109, 3.5), (200, 207, 206, 4)]
        ):
            stamp_ns = 10**9 + frame
            images = {"/camera/image_raw": image_ms} | {f"/dps/{n}": other_ms for n in PER_FRAME if n != "stats"}
            for topic, arrival_ms in images.items():
                message = writer.new(
                    "sensor_msgs/msg/Image",
                    header=writer.header(stamp_ns, "camera"),
                    height=1,
                    width=1,
                    encoding="mono8",
                    is_bigendian=0,
                    step=1,
                    data=pixel,
                )
                writer.write(topic, "sensor_msgs/msg/Image", arrival_ms * 10**6, message)
            stages = ("decode", "preprocess", "fusion", "publish", "waiting", "processing", "latency")
            zero = {f"{stage}_ms": 0.0 for stage in stages}
            counts = dict.fromkeys(("frames_in", "frames_processed", "frames_dropped", "device_bytes"), 0)
            message = writer.new(
                "dps_msgs/msg/PipelineStats",
                header=writer.header(stamp_ns, "camera"),
                backend="torch",
                precision="fp32",
                switching_to="",
                switch_error="",
                **(zero | counts | {"inference_ms": inference_ms, "rate_hz": 0.0}),
            )
            writer.write("/dps/stats", "dps_msgs/msg/PipelineStats", stats_ms * 10**6, message)
    timings = latencies_ms(Recording(tmp_path / "bag", 2, {}))
    assert timings["inference"] == [3.5, 4.0]
    assert timings[END_TO_END] == [pytest.approx(9.0), pytest.approx(7.0)]


def test_recording_is_complete_only_with_every_stamp_and_no_other() -> None:
    assert Recording(Path("x"), 2, {"/a": 2, "/b": 2}, {"/a": 0, "/b": 0}).complete
    assert not Recording(Path("x"), 2, {"/a": 2, "/b": 1}, {"/a": 0, "/b": 0}).complete
    assert not Recording(Path("x"), 2, {"/a": 2, "/b": 2}, {"/a": 0, "/b": 1}).complete


class Cloud:
    """A PointCloud2 of two points in a row: x float32 at 0, rgb float32 at 4, label uint16 at 8, padding of two."""

    height, width, point_step, row_step, is_bigendian = 1, 2, 12, 24, False
    fields = (
        PointField(name="x", offset=0, datatype=7, count=1),
        PointField(name="rgb", offset=4, datatype=7, count=1),
        PointField(name="label", offset=8, datatype=4, count=1),
    )
    data = b"".join(
        np.float32(x).tobytes() + np.uint32(rgb).tobytes() + np.uint16(label).tobytes() + b"\0\0"
        for x, rgb, label in [(1.5, 0x0A141E, 13), (np.nan, 0xFFFEFD, 255)]
    )


def test_cloud_by_hand() -> None:
    cloud = decode_cloud(Cloud())
    assert cloud["x"][0, 0] == 1.5
    assert np.isnan(cloud["x"][0, 1])
    assert cloud["label"].tolist() == [[13, 255]]
    assert cloud_colors(cloud).tolist() == [[[10, 20, 30], [255, 254, 253]]]


def test_short_cloud_is_told() -> None:
    short = Cloud()
    short.data = short.data[:-5]  # type: ignore[misc]
    with pytest.raises(ImageError, match="2x1 points, 12 bytes each, with 19 bytes"):
        decode_cloud(short)


def test_depth_colours_span_round_numbers() -> None:
    assert _depth_range([np.array([[2.2, 4.9]], np.float32)]) == (2.0, 5.0)
    assert _depth_range([np.array([[2.2, 4.9]], np.float32), np.array([[13.0]], np.float32)]) == (2.0, 15.0)
    assert _depth_range([np.full((2, 2), np.nan, np.float32)]) == (2.0, 80.0)

"""dps_msgs are built as designed, and every field says what it means."""

import importlib
import itertools
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent / "dps_msgs" / "msg"
DESIGN = {
    "InstanceMask": {"encoding": "uint8", "counts": "sequence<uint32>"},
    "DepthStats": {"valid_pixels": "uint32"}
    | dict.fromkeys(("min", "p05", "median", "p95", "max", "mean", "stddev"), "float"),
    "Instance": {
        "panoptic_id": "uint16",
        "class_id": "uint16",
        "class_name": "string",
        "is_thing": "boolean",
        "instance_id": "uint16",
        "track_id": "uint32",
        "score": "float",
        "roi": "sensor_msgs/RegionOfInterest",
        "pixel_count": "uint32",
        "mask": "dps_msgs/InstanceMask",
        "depth": "dps_msgs/DepthStats",
        "has_position": "boolean",
        "centroid": "geometry_msgs/Point",
        "has_box": "boolean",
        "box_center": "geometry_msgs/Pose",
        "box_size": "geometry_msgs/Vector3",
    },
    "InstanceArray": {
        "header": "std_msgs/Header",
        "height": "uint32",
        "width": "uint32",
        "label_divisor": "uint16",
        "model_id": "string",
        "instances": "sequence<dps_msgs/Instance>",
    },
    "ClassInfo": {"class_id": "uint16", "name": "string", "is_thing": "boolean", "color": "std_msgs/ColorRGBA"},
    "PanopticInfo": {
        "header": "std_msgs/Header",
        "model_id": "string",
        "weights_sha256": "string",
        "dataset": "string",
        "label_divisor": "uint16",
        "void_class_id": "uint16",
        "void_panoptic_id": "uint16",
        "score_threshold": "float",
        "min_depth": "float",
        "max_depth": "float",
        "classes": "sequence<dps_msgs/ClassInfo>",
    },
    "PipelineStats": {"header": "std_msgs/Header", "backend": "string", "precision": "string"}
    | dict.fromkeys(("decode_ms", "preprocess_ms", "inference_ms", "fusion_ms", "publish_ms", "waiting_ms"), "float")
    | {"processing_ms": "float", "latency_ms": "float", "rate_hz": "float"}
    | dict.fromkeys(("frames_in", "frames_processed", "frames_dropped", "device_bytes"), "uint64")
    | {"switching_to": "string", "switch_error": "string"},
}


def test_all_messages_are_covered():
    assert {path.stem for path in SOURCES.glob("*.msg")} == set(DESIGN)


@pytest.mark.parametrize("name", DESIGN)
def test_fields_and_types(name):
    message = getattr(importlib.import_module("dps_msgs.msg"), name)
    assert message.get_fields_and_field_types() == DESIGN[name]
    assert list(message.get_fields_and_field_types()) == list(DESIGN[name])  # the order is part of the wire format


def test_constants():
    mask = importlib.import_module("dps_msgs.msg").InstanceMask
    assert (mask.ENCODING_NONE, mask.ENCODING_RLE) == (0, 1)


@pytest.mark.parametrize("name", DESIGN)
def test_every_field_and_constant_has_a_comment_right_above(name):
    lines = (SOURCES / f"{name}.msg").read_text().splitlines()
    assert lines[0].startswith("# ")
    bare = [line for above, line in itertools.pairwise(lines) if line and line[0] != "#" and above[:2] != "# "]
    assert bare == []


@pytest.mark.parametrize("name", DESIGN)
def test_every_float_names_its_unit_or_range_and_its_invalid_value(name):
    """A comment block above a float32 holds a unit in brackets or a range, and NaN unless it is always valid."""
    blocks = (SOURCES / f"{name}.msg").read_text().split("\n\n")
    floats = [block for block in blocks if "\nfloat32 " in block]
    assert len(floats) == list(DESIGN[name].values()).count("float")
    always_valid = {"score", "score_threshold"} | {f for f in DESIGN["PipelineStats"] if f.endswith("_ms")} - {
        "latency_ms"
    }
    for block in floats:
        field = block.split()[-1]
        assert any(unit in block for unit in ("[m]", "[ms]", "[Hz]", "0..1")), field
        assert field in always_valid or "NaN" in block, field

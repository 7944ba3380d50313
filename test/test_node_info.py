"""What the numbers mean: classes, colours and thresholds as messages; memory that is kept between frames."""

import math
import sys
from dataclasses import replace

import pytest
from builtin_interfaces.msg import Time
from node_fakes import CAR, ROAD, model_info
from vision_msgs.msg import LabelInfo, VisionClass

from dps_perception.labels import CITYSCAPES
from dps_perception.node import info
from dps_perception.node.memory import keep_freed_memory
from dps_perception.node.parameters import Parameters


def test_panoptic_info_lists_every_class_with_its_color():
    parameters = Parameters(score_threshold_things=0.4, score_threshold_stuff=0.25)
    message = info.panoptic_info(model_info(), parameters, Time(sec=3))
    assert [c.class_id for c in message.classes] == list(range(19))
    assert [c.name for c in message.classes] == list(CITYSCAPES.names)
    road, car = message.classes[ROAD], message.classes[CAR]
    assert (road.is_thing, car.is_thing) == (False, True)
    assert (road.color.r, road.color.g, road.color.b, road.color.a) == pytest.approx(
        (128 / 255, 64 / 255, 128 / 255, 1)
    )
    assert (message.header.stamp.sec, message.header.frame_id) == (3, "")
    assert (message.score_threshold, message.min_depth, message.max_depth) == pytest.approx((0.25, 0.5, 80))


def test_a_model_without_depth_has_no_range_of_it():
    model = model_info()
    without = replace(model, config=model.config.without_depth())
    message = info.panoptic_info(without, Parameters(), Time())
    assert math.isnan(message.min_depth)
    assert math.isnan(message.max_depth)


@pytest.mark.parametrize(
    ("training", "name"),
    [
        ({"dataset": "cityscapes-dvps"}, "cityscapes-dvps"),
        ({"config": {"data": {"root": "a/street"}}}, "street"),
        ({}, ""),
    ],
)
def test_name_of_the_training_data(training, name):
    assert info.dataset_of(replace(model_info(), training=training)) == name


def test_label_info_has_the_same_classes_and_ids_as_the_semantic_image():
    parameters = Parameters(score_threshold_things=0.3, score_threshold_stuff=0.4)
    message = info.label_info(info.panoptic_info(model_info(), parameters, Time(sec=3)))
    assert [(c.class_id, c.class_name) for c in message.class_map] == list(enumerate(CITYSCAPES.names))
    assert message.threshold == pytest.approx(0.3)
    assert message.header.stamp.sec == 3


def test_fields_of_label_info():
    """In the order of the real package: together with the names they make the type's hash, by which topics match."""
    kinds = LabelInfo.get_fields_and_field_types()
    assert list(kinds.items()) == [
        ("header", "std_msgs/Header"), ("class_map", "sequence<vision_msgs/VisionClass>"), ("threshold", "float"),
    ]  # fmt: skip
    assert list(VisionClass.get_fields_and_field_types().items()) == [("class_id", "uint16"), ("class_name", "string")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_glibc_keeps_freed_memory():
    """After it, a block as large as a freed one needs no new pages."""
    import resource

    import numpy as np

    assert keep_freed_memory()
    for _ in range(3):
        np.ones(12_000_000)  # 96 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(12_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5 * 96e6 / 4096 / 10

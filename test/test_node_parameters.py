"""Parameters: the YAML file and the table say the same, wrong ones are refused with what is valid, changes apply."""

import re
from pathlib import Path

import pytest
import yaml
from node_fakes import FakePredictor, overrides, ros
from rclpy.parameter import Parameter

from dps_perception.errors import ConfigError
from dps_perception.labels import CITYSCAPES
from dps_perception.models.segments import FusionThresholds
from dps_perception.node.node import DpsNode
from dps_perception.node.parameters import Parameters, changed, specs

YAML = Path(__file__).resolve().parent.parent / "config" / "dps.yaml"


def test_yaml_and_table_hold_the_same_names_and_defaults():
    values = yaml.safe_load(YAML.read_text())["/**"]["ros__parameters"]
    assert values.pop("use_sim_time") is False  # rclpy's own
    assert list(values) == list(specs())
    for name, (default, _) in specs().items():
        assert values[name] == default, name
        assert type(values[name]) is type(default), name


def test_yaml_says_when_a_change_takes_effect_and_what_is_allowed():
    lines = {m[1]: m[2] for m in re.finditer(r"^    (\w+):.*?# (.*)$", YAML.read_text(), re.MULTILINE)}
    for name, (default, spec) in specs().items():
        assert lines[name].startswith(f"[{spec.when}] "), name
        if spec.low is not None:
            number = str if isinstance(default, float) else lambda value: str(int(value))
            assert f"{number(spec.low)}..{number(spec.high)}" in lines[name], name
        for choice in spec.choices:
            assert choice in lines[name], name


def test_defaults_are_those_of_the_fusion():
    assert Parameters().thresholds == FusionThresholds()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"precision": "fp8"}, "precision='fp8' is not valid; choose one of: auto, fp32, bf16, fp16, int8"),
        (
            {"backend": "tensorflow"},
            "backend='tensorflow' is not valid; choose one of: torch, onnxruntime, openvino, tensorrt, auto",
        ),
        ({"backend_mode": "fast"}, "backend_mode='fast' is not valid; choose one of: '', eager, compile, cuda_graphs"),
        ({"device": "gpu"}, "device='gpu' is not valid; one of: auto, cpu, cuda, cuda:<number>"),
        ({"score_threshold_things": 1.5}, r"score_threshold_things=1.5 is out of range; allowed: 0.0 to 1.0"),
        ({"score_threshold_things": 1}, r"=1 is int; it must be float \(write 1.0\)"),
        ({"max_depth": float("nan")}, "max_depth=nan must be finite"),
        ({"point_stride": 0}, "point_stride=0 is out of range; allowed: 1 to 64"),
        ({"publish_masks": 1}, "publish_masks=1 is int; it must be bool"),
        ({"min_depth": 5.0, "max_depth": 5.0}, "min_depth=5.0 must be below max_depth=5.0"),
        ({"qos_input": "reliable"}, "qos_input is read-only"),
        (
            {"score_treshold_things": 0.5},
            "unknown parameter 'score_treshold_things', did you mean 'score_threshold_things'",
        ),
    ],
)
def test_wrong_values_are_refused_with_what_is_valid(values, expected):
    with pytest.raises(ConfigError, match=expected):
        changed(Parameters(), values)


def test_classes_left_out_of_the_cloud_must_exist():
    assert Parameters(no_point_classes=" road,traffic light ,").no_point_names == {"road", "traffic light"}
    Parameters(no_point_classes="road, traffic light").check_classes(CITYSCAPES)
    with pytest.raises(ConfigError, match=r"'cityscapes' has no class 'rod', did you mean 'road'.*Valid: road, "):
        Parameters(no_point_classes="car, rod").check_classes(CITYSCAPES)


def test_input_size_needs_both_numbers():
    assert Parameters().input_hw is None
    assert Parameters(input_height=64, input_width=128).input_hw == (64, 128)
    with pytest.raises(ConfigError, match="input_height=64, input_width=0: set both"):
        _ = Parameters(input_height=64).input_hw


@pytest.fixture
def context():
    with ros() as (context, _):
        yield context


def start(context, **values):
    return DpsNode(FakePredictor, context=context, parameter_overrides=overrides(autostart=False, **values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"max_deph": 3.0}, "unknown parameter 'max_deph', did you mean 'max_depth'.*Valid: weights"),
        ({"max_depth": 3}, "parameter max_depth.*must be float.*1.0, not 1"),
        ({"point_stride": 100}, "point_stride.*64"),
        ({"image_transport": "theora"}, "image_transport='theora' is not valid; choose one of: auto, raw, compressed"),
        ({"min_depth": 9.0, "max_depth": 3.0}, "min_depth=9.0 must be below max_depth=3.0"),
    ],
)
def test_the_node_does_not_start_with_wrong_parameters(context, values, expected):
    with pytest.raises(ConfigError, match=expected):
        start(context, **values)


def test_ros_own_parameters_are_welcome(context):
    node = start(context, use_sim_time=False)
    assert node.get_parameter("use_sim_time").value is False
    node.destroy_node()


def test_descriptors_say_meaning_range_and_effect(context):
    node = start(context)
    stride = node.describe_parameter("point_stride")
    assert "every n-th row" in stride.description
    assert "takes effect on the next frame" in stride.description
    assert (stride.integer_range[0].from_value, stride.integer_range[0].to_value) == (1, 64)
    assert node.describe_parameter("qos_output").read_only
    assert not stride.read_only
    assert node.describe_parameter("max_depth").floating_point_range[0].to_value == 10_000
    assert node.describe_parameter("precision").additional_constraints == "one of: auto, fp32, bf16, fp16, int8"
    node.destroy_node()


def test_set_parameters_at_run_time(context):
    node = start(context)

    def set_(name, value):
        return node.set_parameters([Parameter(name, value=value)])[0]

    assert set_("score_threshold_stuff", 0.7).successful
    assert node._values.thresholds.score_stuff == 0.7
    refused = set_("precision", "fp8")
    assert not refused.successful
    assert "choose one of: auto, fp32, bf16, fp16, int8" in refused.reason
    assert not set_("score_threshold_stuff", 2.0).successful
    assert not set_("qos_input", "reliable").successful
    assert node._values == Parameters(autostart=False, score_threshold_stuff=0.7)
    both = node.set_parameters_atomically([Parameter("min_depth", value=2.0), Parameter("max_depth", value=1.0)])
    assert "must be below" in both.reason
    assert node.get_parameter("min_depth").value == 0.0
    node.destroy_node()

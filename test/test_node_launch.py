"""The launch file declares what it uses, the RViz config shows every picture and cloud; both agree with the node."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import yaml

from dps_perception.node.encode import OUTPUTS
from dps_perception.node.parameters import KINDS

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch" / "dps.launch.py"
REPLAY = ROOT / "launch" / "replay.launch.py"
RVIZ = ROOT / "config" / "dps.rviz"
NOT_TO_LOOK_AT = {"camera_info", "instances"}


def constants(path=LAUNCH):
    """Module-level literals of a launch file."""
    found = {}
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = statement.value
    return found


def declared(path=LAUNCH):
    """Name -> (default, description, choices) nodes of every argument."""
    calls = constants(path)["ARGUMENTS"].elts
    return {call.args[0].value: call.args[1:] for call in calls}


def test_every_argument_used_is_declared_with_a_description_and_none_is_left_over():
    source = LAUNCH.read_text()
    overrides = {key.value for key in constants()["OVERRIDES"].keys}
    used = set(re.findall(r'LaunchConfiguration\("(\w+)"\)', source)) | overrides
    assert used == set(declared())
    for name, (_, description, *_) in declared().items():
        assert len(ast.unparse(description)) > 12, name


@pytest.mark.parametrize("path", [LAUNCH, REPLAY], ids=lambda p: p.name)
def test_defaults_are_among_the_choices(path):
    lists = {k: ast.literal_eval(v) for k, v in constants(path).items() if k == "YES_NO"}
    for name, (default, _, *choices) in declared(path).items():
        if choices:
            allowed = eval(compile(ast.Expression(choices[0]), "choices", "eval"), lists)
            assert default.value in allowed, name


def test_overrides_are_parameters_of_the_node_with_their_types():
    literal = constants()["OVERRIDES"]
    for key, value in zip(literal.keys, literal.values, strict=True):
        assert key.value == "use_sim_time" or KINDS[key.value].__name__ == value.id


def function(name):
    """A function of the launch file that needs nothing of launch, compiled alone."""
    (found,) = (s for s in ast.parse(LAUNCH.read_text()).body if isinstance(s, ast.FunctionDef) and s.name == name)
    scope = {}
    exec(compile(ast.Module([found], []), str(LAUNCH), "exec"), scope)
    return scope[name]


def test_a_number_that_is_none_is_named():
    value_of = function("value_of")
    assert (value_of("qos_input_depth", "10", int), value_of("device", "cpu", str)) == (10, "cpu")
    assert value_of("autostart", "true", bool) is True
    with pytest.raises(RuntimeError, match="qos_input_depth:=ten must be a whole number"):
        value_of("qos_input_depth", "ten", int)


def test_a_list_of_cameras_gives_each_its_topics():
    topics = function("camera_topics")
    assert topics("") == {}
    assert topics(" front=/front/image_raw, rear,side=cams/side/image/compressed, top=image ") == {
        "front": ("/front/image_raw", "/front/camera_info"),
        "rear": ("rear/image", "rear/camera_info"),
        "side": ("cams/side/image/compressed", "cams/side/camera_info"),
        "top": ("image", "camera_info"),
    }


def displays():
    found = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    return [d for d in found if "Topic" in d]


def test_rviz_shows_every_output_with_the_nodes_qos():
    topics = {d["Topic"]["Value"]: d for d in displays()}
    assert set(topics) == {f"/dps/{name}" for name in OUTPUTS if name not in NOT_TO_LOOK_AT}
    wanted = {"Image": "Image", "PointCloud2": "PointCloud2", "MarkerArray": "MarkerArray"}
    for topic, display in topics.items():
        kind = OUTPUTS[topic.removeprefix("/dps/")][0].__name__
        assert display["Class"] == f"rviz_default_plugins/{wanted[kind]}", topic
        qos = display["Topic"]
        assert (qos["Reliability Policy"], qos["Durability Policy"], qos["Depth"]) == ("Reliable", "Volatile", 1), topic


def test_the_depth_cloud_takes_outputs_of_the_node_with_their_qos():
    found = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    (cloud,) = [d for d in found if d["Class"] == "rviz_default_plugins/DepthCloud"]
    assert {cloud["Depth Map Topic"], cloud["Color Image Topic"]} <= {f"/dps/{name}" for name in OUTPUTS}
    assert cloud["Reliability Policy"] == "Reliable"


def test_rviz_asks_for_what_the_node_offers_by_default():
    from dps_perception.node.parameters import Parameters

    assert (Parameters().qos_output, Parameters().qos_output_depth) == ("reliable", 1)


def test_rviz_topics_follow_the_nodes_name_in_the_launch_file():
    shown = ast.literal_eval(constants()["SHOWN_IN_RVIZ"])
    assert {f"/dps/{name}" for name in shown} == {d["Topic"]["Value"] for d in displays()}


@pytest.mark.skipif(importlib.util.find_spec("launch_ros") is None, reason="launch_ros has no wheel; ROS has it")
def test_launch_description_loads():
    spec = importlib.util.spec_from_file_location("dps_launch", LAUNCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["dps_launch"] = module
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    assert {a.name for a in description.get_launch_arguments()} == set(declared())

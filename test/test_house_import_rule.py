"""Arrows go one way: which room may import what, found by reading every module, lazy imports included."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dps_perception"
CORE = {"labels", "camera", "types", "errors", "files", "cli", "ranks", "__version__"}
ROOMS = {
    "core": set(),
    "kernels": {"core"},
    "models": {"core", "kernels"},
    "data": {"core"},
    "evaluation": {"core", "kernels"},
    "training": {"core", "models", "data", "evaluation"},
    "inference": {"core", "kernels", "models", "data", "evaluation"},
    "labelling": {"core", "data", "evaluation", "inference"},
    "viewing": {"core", "data"},
    "node": {"core", "kernels", "models", "data", "evaluation", "training", "inference", "viewing"},
    "benchmark": {"core", "kernels", "models", "data", "evaluation", "training", "inference", "labelling", "node"},
    "trials": {"core", "kernels", "models", "data", "evaluation", "training", "inference", "labelling", "node"},
}
WITH_ROS = {"node", "trials", "benchmark"}
# Rooms with a closed list of other people's packages; the rest may use anything but ROS.
LIBRARIES = {
    "core": {"numpy"},
    "kernels": {"numpy", "numba", "torch", "triton"},
    "models": {"numpy", "torch", "torchvision", "safetensors"},
    "data": {"numpy", "cv2", "rosbags", "scipy", "torch", "torchvision", "tqdm", "yaml"},
    "evaluation": {"numpy", "cv2", "matplotlib", "jinja2", "scipy"},
    "viewing": {"numpy", "rerun"},
}
ROS = {"rclpy", "ament_index_python", "message_filters", "cv_bridge", "builtin_interfaces", "rcl_interfaces"}
ROS |= {"launch", "launch_ros", "tf2_ros", "rosidl_runtime_py", "sensor_msgs_py"}


def imported_by(source, package):
    """Dotted names of all modules that a module's source imports, wherever in it; `package` is its dotted folder."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            names |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return names


def modules():
    """(path below the package, room, dotted names it imports) of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        room = relative.parts[0] if len(relative.parts) > 1 else "core"
        folder = ".".join(["dps_perception", *relative.parts[:-1]])
        yield relative.as_posix(), room, imported_by(path.read_text(), folder)


def room_of(name):
    """Room that a dotted name inside the package belongs to."""
    part = [*name.split("."), "__version__"][1]
    return "core" if part in CORE else part


def breaches(room, names):
    """What a module of a room imports against the rule, in words."""
    for name in sorted(names):
        top = name.split(".")[0]
        if top == "dps_perception":
            if room_of(name) not in ROOMS[room] | {room}:
                yield f"{room} imports {name}"
        elif top not in sys.stdlib_module_names:
            if room not in WITH_ROS and (top in ROS or top.endswith(("_msgs", "_srvs"))):
                yield f"{room} imports ROS: {name}"
            elif room in LIBRARIES and top not in LIBRARIES[room]:
                yield f"{room} imports {name}"


def test_no_module_breaks_the_rule():
    found = [f"{path}: {breach}" for path, room, names in modules() for breach in breaches(room, names)]
    assert not found, "\n".join(found)


def test_every_room_is_seen():
    assert {room for _, room, _ in modules()} == set(ROOMS)
    core = {path.removesuffix(".py") for path, room, _ in modules() if room == "core"} - {"__init__"}
    assert core == CORE - {"__version__"}


def test_only_the_viewing_room_knows_rerun():
    users = {path for path, _, names in modules() if any(name.split(".")[0] == "rerun" for name in names)}
    assert users == {"viewing/rerun_log.py"}


def test_only_bag_reader_and_writer_know_rosbags():
    users = {path for path, _, names in modules() if any(name.split(".")[0] == "rosbags" for name in names)}
    assert users == {"data/bag.py", "data/bag_writer.py"}


@pytest.mark.parametrize(
    ("room", "source", "breach"),
    [
        ("models", "from ..training.losses import dice", "models imports dps_perception.training.losses.dice"),
        ("core", "def f():\n    import torch", "core imports torch"),
        ("inference", "from .. import node", "inference imports dps_perception.node"),
        ("inference", "from sensor_msgs.msg import Image", "inference imports ROS: sensor_msgs.msg.Image"),
        ("evaluation", "import importlib\nimportlib.import_module('rclpy')", "evaluation imports ROS: rclpy"),
        ("training", "from ..models import fusion\nfrom ..labels import LabelSpace\nimport lightning", None),
        ("node", "from ..benchmark import cli", "node imports dps_perception.benchmark.cli"),
        ("node", "from ..trials import stand", "node imports dps_perception.trials.stand"),
        ("trials", "from ..benchmark import timing", "trials imports dps_perception.benchmark.timing"),
        ("benchmark", "import rclpy\nfrom ..node import encode", None),
        ("node", "import rclpy\nfrom ..inference.predictor import Predictor", None),
    ],
)
def test_the_rule_itself(room, source, breach):
    package = "dps_perception" if room == "core" else f"dps_perception.{room}"
    assert list(breaches(room, imported_by(source, package))) == ([breach] if breach else [])

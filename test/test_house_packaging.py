"""package.xml, setup.py, the lock file and the environment say the same thing."""

import importlib.metadata
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from ament_index_python import get_package_share_directory
from test_house_import_rule import ROS, modules

import dps_perception

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
COMMANDS = {"node", "replay", "record", "view", "evaluate_live", "demo"}
COMMANDS |= {"train", "evaluate", "evaluate_tracking", "benchmark", "label", "synthesize", "export"}
# Import name -> rosdep key, or None for what only pip has (docs/install.md names those).
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "jinja2": "python3-jinja2",
    "jsonargparse": None,
    "lightning": None,
    "matplotlib": "python3-matplotlib",
    "numba": None,
    "numpy": "python3-numpy",
    "onnx": None,
    "onnxruntime": None,
    "onnxscript": None,
    "openvino": None,
    "rerun": None,
    "rosbags": None,
    "safetensors": None,
    "scipy": "python3-scipy",
    "skimage": "python3-skimage",
    "torch": None,
    "torchvision": None,
    "tqdm": "python3-tqdm",
    "transformers": None,
    "triton": None,
    "yaml": "python3-yaml",
}


def tracked():
    """Files that git knows, or would offer to add, and that exist."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def depends():
    return {element.text for element in MANIFEST if element.tag.endswith("depend")}


def test_versions_agree():
    messages = ElementTree.parse(ROOT / "dps_msgs" / "package.xml").getroot()
    versions = {MANIFEST.findtext("version"), messages.findtext("version"), dps_perception.__version__}
    versions.add(importlib.metadata.version("dps_perception"))
    assert len(versions) == 1


def test_every_import_is_declared_for_rosdep_or_named_in_the_install_notes():
    used = {name.split(".")[0] for _, _, names in modules() for name in names}
    used -= {"dps_perception"} | set(sys.stdlib_module_names)
    ros = {name for name in used if name in ROS or name.endswith(("_msgs", "_srvs"))}
    assert ros <= depends(), f"package.xml lacks {ros - depends()}"
    assert used - ros <= set(ROSDEP_KEYS), f"give {used - ros - set(ROSDEP_KEYS)} a rosdep key here and in package.xml"
    notes = (ROOT / "docs" / "install.md").read_text()
    for name in used - ros:
        key = ROSDEP_KEYS[name]
        assert key in depends() if key else re.search(rf"pip install.*\b{name}\b", notes), name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_are_installed_and_importable(name):
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=f"dps_{name}")
    assert callable(entry.load())
    assert (Path(sys.executable).parent / f"dps_{name}").exists()


def test_no_other_commands_are_declared():
    entries = importlib.metadata.distribution("dps_perception").entry_points
    assert {entry.name for entry in entries} == {f"dps_{name}" for name in COMMANDS}


def test_shared_files_are_found_through_the_ament_index():
    share = Path(get_package_share_directory("dps_perception"))
    for folder in ("launch", "config"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (share / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert (share / "package.xml").read_bytes() == (ROOT / "package.xml").read_bytes()
    assert (Path(get_package_share_directory("dps_msgs")) / "msg" / "Instance.msg").exists()


def test_the_lock_pins_all_requirements_with_hashes_and_names_no_place():
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links| @ |^[./]", lock, re.MULTILINE)
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)[1:]
    assert all(re.match(r"[a-z0-9-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)
    pinned = {re.match(r"[a-z0-9-]+", entry)[0] for entry in entries}
    wanted = re.findall(r"^([A-Za-z][\w-]*)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert {name.lower() for name in wanted} <= pinned


def test_no_file_names_a_package_index():
    hosts = ["py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "regis" + "try.npmjs.org"]
    found = []
    for path in tracked():
        data = path.read_bytes()
        found += [f"{path.relative_to(ROOT)}: {host}" for host in hosts if host.encode() in data]
    assert found == []

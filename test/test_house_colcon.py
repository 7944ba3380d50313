"""colcon builds both packages of a clone and of a workspace; with colcon itself from wheels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_house_packaging import COMMANDS, ROOT, tracked

pytestmark = pytest.mark.timeout(900)  # most of it is the C++ compiler, on a machine that may be busy

COLCON = [Path(sys.executable).with_name("colcon"), "--log-base", "log"]
HOOK = ROOT / "tools" / "cmake" / "drop_missing_includes.cmake"


def copy_to(folder):
    """A clone as it would be with everything committed."""
    for path in tracked():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def colcon(workspace, *arguments):
    """Run colcon in a workspace on top of the wheels, without what this environment has of ours."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COLCON_PREFIX_PATH")}
    environment |= {"AMENT_PREFIX_PATH": sys.prefix, "CMAKE_PREFIX_PATH": sys.prefix}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [*map(str, COLCON), *arguments]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def found(workspace, *base_paths):
    """Names of the packages that colcon finds."""
    return set(colcon(workspace, "list", "--names-only", "--base-paths", *base_paths).split())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with the clone in src/dps_perception, built."""
    folder = tmp_path_factory.mktemp("workspace")
    copy_to(folder / "src" / "dps_perception")
    paths = ["--base-paths", "src", "src/dps_perception/dps_msgs"]
    unoptimised = ["-DCMAKE_C_FLAGS=-O0", "-DCMAKE_CXX_FLAGS=-O0"]  # only whether it builds is asked
    cmake = [
        *unoptimised,
        f"-DPython3_EXECUTABLE={sys.executable}",
        f"-DCMAKE_PROJECT_INCLUDE={HOOK}",
        "-DBUILD_TESTING=OFF",
    ]
    colcon(folder, "build", *paths, "--cmake-args", *cmake)
    return folder


def test_colcon_finds_both_packages_only_where_the_nested_one_is_named(workspace):
    """colcon doesn't look for packages inside a package, so a plain `colcon build` misses dps_msgs."""
    both = {"dps_perception", "dps_msgs"}
    assert found(workspace, "src", "src/dps_perception/dps_msgs") == both
    assert found(workspace / "src" / "dps_perception", ".", "dps_msgs") == both
    assert found(workspace, "src") == {"dps_perception"}


@pytest.mark.slow
def test_everything_is_installed(workspace):
    """Every file of the package, its shared files and commands; a stale or forgotten package_data shows here."""
    prefix = workspace / "install" / "dps_perception"
    (installed,) = prefix.glob("lib/python3*/site-packages/dps_perception")
    source = workspace / "src" / "dps_perception"  # the copy that was built: the checkout may have been edited since
    for path in source.rglob("*"):
        relative = path.relative_to(source)
        if path.is_dir() or "__pycache__" in relative.parts:
            continue
        if relative.parts[0] == "dps_perception":
            assert (installed / relative.relative_to("dps_perception")).read_bytes() == path.read_bytes()
        if relative.parts[0] in ("launch", "config") or relative.as_posix() == "package.xml":
            assert (prefix / "share" / "dps_perception" / relative).read_bytes() == path.read_bytes()
    assert (prefix / "share/ament_index/resource_index/packages/dps_perception").exists()
    commands = {path.name: path.read_text().splitlines()[0] for path in (prefix / "lib/dps_perception").iterdir()}
    assert set(commands) == {f"dps_{name}" for name in COMMANDS}
    assert set(commands.values()) == {"#!/usr/bin/env python3"}


@pytest.mark.slow
def test_the_built_workspace_works_when_sourced(workspace):
    """In a shell that sourced the workspace both packages come from it, and a command starts."""
    code = (
        "import dps_perception; from dps_msgs.msg import InstanceArray as A; import inspect, ament_index_python as a; "
        "print(dps_perception.__file__, inspect.getfile(A), a.get_package_share_directory('dps_perception'))"
    )
    script = (
        f'source install/setup.bash && python3 -c "{code}" && install/dps_perception/lib/dps_perception/dps_node -h'
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=workspace, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    paths, usage = done.stdout.split("\n", 1)
    assert all(path.startswith(str(workspace / "install")) for path in paths.split())
    assert usage.startswith("usage: dps_node")

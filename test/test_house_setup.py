"""Set-up says in one line what is wrong, leaves nothing half-made, and does nothing twice."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from environment import machine, stamps  # noqa: E402


@pytest.fixture
def clone(tmp_path):
    """What set-up reads, apart from this checkout and its environment."""
    for name in ("tools", "dps_msgs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def commands(tmp_path_factory):
    """A PATH folder with nothing but what is put there."""
    folder = tmp_path_factory.mktemp("bin")

    def add(*names, **scripts):
        for name in names:
            (folder / name).symlink_to(shutil.which(name))
        for name, text in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        return folder

    return add


def set_up(clone, path, python=sys.executable, **variables):
    """Exit status and lines on stderr of a set-up run that must not succeed."""
    environment = {"HOME": os.environ["HOME"], "PATH": str(path), **variables}
    command = [python, str(clone / "tools" / "setup_env.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_missing_compiler(clone, commands):
    (line,) = set_up(clone, commands("cmake"))
    assert line == "set-up: no C++ compiler found; apt install g++"
    (line,) = set_up(clone, commands(), CXX="icpx")
    assert line == "set-up: no C++ compiler found (CXX=icpx); apt install g++"


@pytest.mark.parametrize(
    ("script", "words"),
    [({}, "it is missing"), ({"cmake": "echo cmake version 3.16.3"}, "this is 3.16")],
)
def test_cmake_missing_or_too_old(clone, commands, script, words):
    (line,) = set_up(clone, commands("g++", **script))
    assert line == f"set-up: cmake 3.19 or newer is needed, {words}; apt install cmake"


@pytest.mark.parametrize("version", ["3.10.12", "3.14.0"])
def test_wrong_python(clone, version, tmp_path):
    """The check reads sys.version_info, so a changed one stands for another Python."""
    numbers = tuple(map(int, version.split(".")))
    code = f"import sys, runpy; sys.version_info = {numbers}; sys.argv = ['x']; runpy.run_path({str(clone)!r} + "
    code += "'/tools/setup_env.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.match(rf"set-up: Python 3.11, 3.12 or 3.13 is needed, \S+ is {version.rsplit('.', 1)[0]}; install", line)


def test_no_python_at_all(clone, commands):
    make = shutil.which("make")
    environment = {"PATH": str(commands("sh", "true"))}
    done = subprocess.run([make, "setup"], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "set-up: no Python found; apt install python3.11 python3.11-dev"


def test_a_failed_download_is_one_line_and_is_tried_again(clone, commands):
    path = commands("g++", "cmake")
    (path / "uv").symlink_to(Path(sys.executable).with_name("uv"))
    offline = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}
    for _ in range(2):  # the second run must not trust what the first one left
        (line,) = set_up(clone, path, **offline)
        assert line.startswith("set-up: installing packages failed: ")
        assert "127.0.0.1:9" in line
        assert line.endswith("check the network and the disk, then run it again")
        assert not (clone / ".venv" / "dps_setup.json").exists()


def test_a_failed_build_names_its_log(clone, commands, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "build.log"
    broken = "echo 'CMake Error at CMakeLists.txt:4 (find_package):'; echo 'no ament_cmake'; echo 'stopped'; exit 3"
    with pytest.raises(machine.SetupError) as caught:
        machine.run("building x", commands(cmake=broken) / "cmake", log=log)
    reason = "CMake Error at CMakeLists.txt:4 (find_package): no ament_cmake"
    assert str(caught.value) == f"building x failed: {reason}; all it said is in {log}"
    assert log.read_text().endswith("no ament_cmake\nstopped\n")


def test_digest_changes_with_content_name_and_settings_only(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x").write_text("1")

    def digest(*more):
        return stamps.digest(tmp_path, [folder], *more)

    first = digest()
    assert digest() == first
    assert digest("3.11") != first
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("y")
    (folder / "x").touch()
    assert digest() == first
    (folder / "x").rename(folder / "y")
    assert digest() != first
    (folder / "y").rename(folder / "x")
    (folder / "x").write_text("2")
    assert digest() != first


def test_a_damaged_stamp_file_counts_as_nothing_done(tmp_path):
    made = stamps.Stamps(tmp_path / "stamps.json")
    made.put("wheels", "abc")
    made.put("package", "def")
    assert made.all() == {"wheels": "abc", "package": "def"}
    made.path.write_text('{"wheels": "a')
    assert made.all() == {}
    assert made.get("wheels") == ""

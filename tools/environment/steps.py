"""The steps of set-up: wheels, message packages, stand-ins, the package itself.

Each step leaves a stamp of what it was made from, written when the step is complete; a step whose stamp still fits is
skipped. Wheels are only ever installed into an empty environment: some ROS wheels register one package under two
names, and an installer that tidies up an existing environment takes `rclpy` itself for a leftover (`uv pip sync` does).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .machine import SHORT_PYTHON, SetupError, check_machine, run, version_of, works
from .stamps import Stamps, digest

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
SITE_PACKAGES = VENV / "lib" / SHORT_PYTHON / "site-packages"
LOCK = ROOT / "requirements.lock"
STANDINS = ROOT / "tools" / "ros_standins"
HOOK = ROOT / "tools" / "cmake" / "drop_missing_includes.cmake"
STAMPS = Stamps(VENV / "dps_setup.json")
UV_AT_LEAST = (0, 5)
AGAIN = "check the network and the disk, then run it again"
PACKAGE = "dps_perception"
# What an editable install leaves out: resource index entry and shared files, as links so that they are never stale.
LINKS = {
    f"share/ament_index/resource_index/packages/{PACKAGE}": f"resource/{PACKAGE}",
    f"share/{PACKAGE}/package.xml": "package.xml",
    f"share/{PACKAGE}/launch": "launch",
    f"share/{PACKAGE}/config": "config",
}


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"set-up: {text}", flush=True)


@contextlib.contextmanager
def installer() -> Iterator[Path]:
    """A uv that outlives `.venv`: the machine's, a copy of the environment's, or one fetched as locked."""
    machines, own = shutil.which("uv"), VENV / "bin" / "uv"
    if machines and version_of(machines) >= UV_AT_LEAST:
        yield Path(machines)
        return
    with tempfile.TemporaryDirectory(prefix="dps-uv-") as folder:
        if version_of(own) >= UV_AT_LEAST:
            yield Path(shutil.copy2(own, folder))
        else:
            yield _fetch_uv(Path(folder))


def _fetch_uv(folder: Path) -> Path:
    entry = re.search(r"^uv==.*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    if entry is None:
        raise SetupError(f"{LOCK.name} has no entry for uv; add it to requirements.in and run: make lock")
    say("fetching uv, the installer")
    python = Path(sys.executable)
    if not works(python, "-m", "pip", "--version"):
        if not works(python, "-m", "venv", folder / "venv"):
            raise SetupError(f"{python} has neither pip nor venv, and there is no uv; apt install {SHORT_PYTHON}-venv")
        python = folder / "venv" / "bin" / "python"
    wanted, target = folder / "uv.txt", folder / "uv"
    wanted.write_text(entry[0])
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run("fetching uv", *pip, "--require-hashes", "--target", target, "-r", wanted, cure=AGAIN)
    return target / "bin" / "uv"


def install_wheels() -> None:
    """Install the lock file into a fresh environment, unless that is done."""
    wanted = digest(ROOT, [LOCK], platform.python_version(), sys.base_prefix)
    aside = ROOT / ".venv.partial"
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    if STAMPS.get("wheels") == wanted and version_of(PYTHON):
        return
    say(f"installing ROS 2, PyTorch and the rest of {LOCK.name} (6 GB; a minute or more the first time)")

    def install(uv: Path, venv: Path) -> None:
        run("making the environment", uv, "venv", "--quiet", "--clear", "--python", sys.executable, venv)
        command = [uv, "pip", "install", "--no-deps", "--require-hashes", "--python", venv / "bin" / "python"]
        run("installing packages", *command, "--requirements", LOCK, cure=AGAIN)

    with installer() as uv:
        if STAMPS.all():  # a working environment stays until all of the next one is on this machine
            try:
                install(uv, aside)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        STAMPS.clear()
        install(uv, VENV)
    STAMPS.put("wheels", wanted)


def build_interfaces(source: Path) -> None:
    """Build and install a package of messages with CMake, unless it is there as it should be."""
    wanted = digest(ROOT, [source, HOOK], STAMPS.get("wheels"))
    if STAMPS.get(source.name) == wanted:
        return
    say(f"building {source.name}")
    build = VENV / "build" / source.name
    with contextlib.suppress(FileNotFoundError):  # files of messages that are gone must not stay importable
        for line in (build / "install_manifest.txt").read_text().splitlines():
            Path(line).unlink(missing_ok=True)
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    definitions = {
        "CMAKE_INSTALL_PREFIX": VENV,
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_PROJECT_INCLUDE": HOOK,
        "Python3_EXECUTABLE": PYTHON,
        "BUILD_TESTING": "OFF",
    }
    log, prefix = build / "build.log", str(VENV)
    configure = ["cmake", "-S", source, "-B", build, *(f"-D{name}={value}" for name, value in definitions.items())]
    jobs = str(len(os.sched_getaffinity(0)))
    compile_all = ["cmake", "--build", build, "--target", "install", "--parallel", jobs]
    for command in (configure, compile_all):
        run(f"building {source.name}", *command, log=log, AMENT_PREFIX_PATH=prefix, CMAKE_PREFIX_PATH=prefix)
    STAMPS.put(source.name, wanted)


def is_ours_to_give(module: str) -> bool:
    """Whether the environment lacks the real module, or has our stand-in from an earlier run."""
    given = STAMPS.get("given").split()
    if module not in given:
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
        if works(PYTHON, "-I", "-c", code):
            return False
        STAMPS.put("given", " ".join([*given, module]))
    return True


def install_standins() -> None:
    """Put the stand-ins where the real modules are missing, see tools/ros_standins/README.md."""
    for interfaces in ("tf2_msgs", "vision_msgs"):
        if is_ours_to_give(interfaces):
            build_interfaces(STANDINS / interfaces)
    wanted = digest(ROOT, [STANDINS], STAMPS.get("wheels"))
    if STAMPS.get("standins") == wanted:
        return
    for module in ("message_filters", "cv_bridge"):
        if is_ours_to_give(module):
            shutil.rmtree(SITE_PACKAGES / module, ignore_errors=True)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(STANDINS / module, SITE_PACKAGES / module, ignore=ignored)
    shutil.copy2(STANDINS / "ros_environment.pth", SITE_PACKAGES)
    STAMPS.put("standins", wanted)


def install_package() -> None:
    """Install the package so that it follows its sources: commands in .venv/bin, shared files linked."""
    parts = [ROOT / name for name in ("setup.py", "setup.cfg", "pyproject.toml", f"{PACKAGE}/__init__.py")]
    wanted = digest(ROOT, parts, STAMPS.get("wheels"), json.dumps(LINKS))
    if STAMPS.get("package") != wanted:
        say(f"installing {PACKAGE}")
        command = [VENV / "bin" / "uv", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--reinstall"]
        run(f"installing {PACKAGE}", *command, "--python", PYTHON, "--editable", ROOT)
    for name, target in LINKS.items():
        link = VENV / name
        if not (link.is_symlink() and link.resolve() == ROOT / target):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT / target)
    STAMPS.put("package", wanted)


def set_up() -> int:
    """Run all steps; 1 and one line on stderr where one fails."""
    began, before = time.monotonic(), STAMPS.all()
    with (ROOT / ".venv.lock").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)  # two set-ups at once would tread on each other
            check_machine()
            install_wheels()
            build_interfaces(ROOT / "dps_msgs")
            install_standins()
            install_package()
        except SetupError as error:
            print(f"set-up: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("set-up: interrupted; run it again to go on", file=sys.stderr)
            return 130
    if STAMPS.all() != before:
        say(f"done in {time.monotonic() - began:.0f} s; every command is in {VENV / 'bin'}")
    return 0

"""Running other programs, and what a machine must have before set-up can begin."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

CMAKE_AT_LEAST = (3, 19)  # cmake_language(DEFER), in tools/cmake
# A sourced ROS installation must not shine into an environment made of wheels.
FOREIGN = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
SHORT_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


class SetupError(Exception):
    """One line for the user: what is wrong and what to do."""


def version_of(command: str | Path) -> tuple[int, ...]:
    """Major and minor version that `command --version` names, () where it can't be run."""
    try:
        text = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def works(*command: object) -> bool:
    """Whether a command can be run and succeeds; what it prints is dropped."""
    try:
        done = subprocess.run(
            [str(part) for part in command], env=clean_environment(), capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def check_machine() -> None:
    """Raise SetupError where something is missing that set-up can't fetch itself."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError(
            f"the ROS wheels are for Linux on x86_64, this is {platform.system()} on {platform.machine()}; "
            "use a ROS 2 installation and colcon instead (docs/install.md)"
        )
    wanted = os.environ.get("CXX", "")
    if not any(shutil.which(compiler) for compiler in ([wanted] if wanted else ["c++", "g++", "clang++"])):
        raise SetupError(f"no C++ compiler found{f' (CXX={wanted})' if wanted else ''}; apt install g++")
    cmake = version_of("cmake")
    if cmake < CMAKE_AT_LEAST:
        seen = f"this is {'.'.join(map(str, cmake))}" if cmake else "it is missing"
        raise SetupError(f"cmake {'.'.join(map(str, CMAKE_AT_LEAST))} or newer is needed, {seen}; apt install cmake")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise SetupError(f"{header} is missing; apt install {SHORT_PYTHON}-dev")


def clean_environment() -> dict[str, str]:
    """This process's environment without what a sourced ROS or virtual environment put there."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def run(what: str, *command: object, cure: str = "", log: Path | None = None, **variables: str) -> None:
    """Run a command, its progress on the terminal if there is one and no log is asked for.

    Raises:
        SetupError: it failed; `what`, the command's own words and the cure in one line.
    """
    show = log is None and sys.stderr.isatty()
    done = subprocess.run(
        [str(part) for part in command],
        env=clean_environment() | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        check=False,
    )
    if log is not None:
        with log.open("a") as stream:
            stream.write(done.stdout)
    if done.returncode:
        parts = [
            f"{what} failed: {_reason(done.stdout) or 'see above'}",
            cure,
            f"all it said is in {log}" if log else "",
        ]
        raise SetupError("; ".join(part for part in parts if part))


def _reason(output: str) -> str:
    """The lines of a failed command that say why: its first error, the next line like it, and the last one."""
    lines = [re.sub(r"^[^\w\[/<(`'\"]+", "", line).strip() for line in output.splitlines()]
    lines = [line for line in lines if line]
    sentences = re.sub(r":\n(?=.)", ": ", "\n".join(lines)).splitlines()  # what a line announces belongs to it
    signs = re.compile(r"error|cause|fail|mismatch|denied|no space", re.IGNORECASE)
    telling = [sentence for sentence in sentences if signs.search(sentence)] or sentences
    return " | ".join(sentence.rstrip(".:") for sentence in dict.fromkeys([*telling[:2], *telling[-1:]]))

"""`make audit`: compare the pinned packages with the lists of known vulnerabilities; say what could not be compared.

pip-audit, fetched for it, asks the services. It takes a package that a service does not know for one without
vulnerabilities, and a mirror without vulnerability data makes all of them such. So two releases with known ones are
asked for too: where they come back clean, nothing was audited.

Exit status: 0 none known, 1 some known, 3 not audited.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
LOCK = ROOT / "requirements.lock"
TOOL = "pip-audit==2.10.1"
SERVICES = ("pypi", "osv")
CANARIES = {"jinja2": "2.10", "pyyaml": "5.3"}
"""Releases with vulnerabilities that were published years ago."""
LIMIT_S = 600
Ask = Callable[[str, str], "list[dict[str, Any]]"]


class AuditError(Exception):
    """Why a service gave no answer that counts."""


def ask(service: str, requirements: str) -> list[dict[str, Any]]:
    """What the service knows of pinned requirements ("name==version" lines), one entry for each.

    Raises:
        AuditError: no answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(requirements)
        command = [UV, "tool", "run", TOOL, "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--format", "json", "--vulnerability-service", service, "--requirement", wanted]
        try:
            done = subprocess.run(
                [str(part) for part in command], capture_output=True, text=True, check=False, timeout=LIMIT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AuditError(str(error)) from error
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError) as error:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise AuditError(last[:300]) from error


def pins(lock: str) -> list[tuple[str, str]]:
    """(name, version) of all packages in a lock file; some have several versions, by Python or platform."""
    return re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", lock, re.MULTILINE)


def audit(service: str, pinned: list[tuple[str, str]], ask: Ask = ask) -> tuple[list[str], list[str]]:
    """(known vulnerabilities as lines, names of packages the service does not know).

    Raises:
        AuditError: the service gave no answer, or does not even know what is vulnerable without doubt.
    """
    known = {entry["name"]: entry for entry in ask(service, _lines(CANARIES.items()))}
    blind = [f"{name} {version}" for name, version in CANARIES.items() if not known.get(name, {}).get("vulns")]
    if blind:
        raise AuditError(f"it calls {' and '.join(blind)} clean, which have known vulnerabilities")
    lines, unknown, left = [], [], list(pinned)
    while left:  # pip-audit takes each name once
        asked = dict(reversed(left))
        entries = {entry["name"]: entry for entry in ask(service, _lines(asked.items()))}
        for name, version in asked.items():
            left.remove((name, version))
            entry = entries.get(name, {})
            if "vulns" not in entry:
                unknown.append(name)
            lines += [
                f"{name} {version}: {found['id']}, fixed in {', '.join(found.get('fix_versions', [])) or 'no release'}"
                for found in entry.get("vulns", [])
            ]
    return sorted(lines), sorted(set(unknown))


def _lines(pinned: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in pinned)


def main(ask: Ask = ask) -> int:
    """Ask one service after another until one answers."""
    pinned = pins(LOCK.read_text())
    names = {name for name, _ in pinned}
    for service in SERVICES:
        try:
            vulnerable, unknown = audit(service, pinned, ask)
        except AuditError as error:
            print(f"audit: {service} could not be asked: {error}", file=sys.stderr)
            continue
        if len(unknown) == len(names):
            print(f"audit: {service} knows none of the packages", file=sys.stderr)
            continue
        print("\n".join(vulnerable) or "no known vulnerabilities")
        print(f"audit: {service} knows {len(names) - len(unknown)} of {len(names)} packages of {LOCK.name}")
        if unknown:
            print(f"audit: NOT audited, as unknown there: {', '.join(unknown)}")
        return 1 if vulnerable else 0
    print("audit: NOTHING was audited: no vulnerability service can be reached from here", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())

"""`make audit` never calls clean what it could not ask about."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import audit  # noqa: E402


def service(vulnerable=(), unknown=(), canaries=True):
    """Answers as pip-audit's JSON; the canaries are known to be vulnerable unless it is blind."""

    def ask(name, requirements):
        entries = []
        for line in requirements.splitlines():
            package, _, version = line.partition("==")
            if package in unknown or not canaries:
                entries.append({"name": package, "skip_reason": "not found"})
                continue
            known = audit.CANARIES.get(package) == version or package in vulnerable
            found = [{"id": "CVE-1", "fix_versions": ["9"]}] if known else []
            entries.append({"name": package, "version": version, "vulns": found})
        return entries

    return ask


def fails(name, requirements):
    raise audit.AuditError("no route to host")


def test_clean(capsys):
    assert audit.main(service()) == 0
    assert capsys.readouterr().out.startswith("no known vulnerabilities\naudit: pypi knows ")


def test_vulnerable(capsys):
    assert audit.main(service(vulnerable={"numpy"})) == 1
    assert f"numpy {dict(audit.pins(audit.LOCK.read_text()))['numpy']}: CVE-1, fixed in 9" in capsys.readouterr().out


def test_unknown_packages_are_named(capsys):
    assert audit.main(service(unknown={"ros-rclpy"})) == 0
    assert "NOT audited, as unknown there: ros-rclpy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ask", "why"), [(fails, "no route to host"), (service(canaries=False), "calls jinja2 2.10 and pyyaml 5.3 clean")]
)
def test_without_a_service_that_knows_nothing_is_called_clean(capsys, ask, why):
    """A mirror without vulnerability data answers, and knows of none."""
    assert audit.main(ask) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert why in told.err
    assert "NOTHING was audited" in told.err


def test_the_second_service_is_asked_where_the_first_is_silent(capsys):
    assert audit.main(lambda name, lines: fails(name, lines) if name == "pypi" else service()(name, lines)) == 0
    assert "audit: osv knows" in capsys.readouterr().out


def test_every_version_is_asked_about_and_each_name_once_at_a_time():
    lock = 'a-b==1.2 ; python_version < "3.12" \\\n    --hash=sha256:00\na-b==1.3 \\\nc==3 \\\n'
    assert audit.pins(lock) == [("a-b", "1.2"), ("a-b", "1.3"), ("c", "3")]
    rounds = []

    def ask(name, requirements):
        rounds.append(requirements.split())
        return service()(name, requirements)

    assert audit.audit("pypi", audit.pins(lock), ask) == ([], [])
    assert all(len({line.partition("==")[0] for line in asked}) == len(asked) for asked in rounds)
    assert sorted(line for asked in rounds[1:] for line in asked) == ["a-b==1.2", "a-b==1.3", "c==3"]


def test_pins_are_all_of_the_lock():
    lock = audit.LOCK.read_text()
    assert len(audit.pins(lock)) == sum(line[:1].isalnum() for line in lock.splitlines())

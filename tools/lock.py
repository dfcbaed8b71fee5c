"""Write and read the lock files under ``requirements/``; called by ``make lock`` and the other tools.

    python tools/lock.py write [--upgrade]   resolve again with uv, for every supported Python
    python tools/lock.py constraints         print this Python's full lock as plain pins, for ``pip -c``

It needs the standard library only (uv is fetched into a scratch environment) and never writes an
address: a lock holds names, versions, markers and hashes. Why: docs/decisions/0003-locks.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
DIVIDER = "# ---- from here on: tests, checks and PostgreSQL only ----"
SUPPORTED = ((3, 11), (3, 12), (3, 13))


def read_lock(version: tuple[int, int], profile: str = "dev") -> dict[str, str]:
    """Map each package's name to its entry in the lock of that Python, markers and hashes included.

    Args:
        version: Major and minor; a Python newer than those we test takes the newest lock, which
            holds for later versions too.
        profile: ``run`` for what the demo needs (the file's first part), ``dev`` for everything.

    Raises:
        FileNotFoundError: If that lock was not written yet.
    """
    text = lock_path(version).read_text(encoding="utf-8")
    if profile == "run":
        text = text.split(DIVIDER, 1)[0]
    return _entries(text)


def lock_path(version: tuple[int, int]) -> Path:
    """Name the lock file for a Python version."""
    major, minor = min(max(version, SUPPORTED[0]), SUPPORTED[-1])
    return FOLDER / f"py{major}{minor}.txt"


def _entries(text: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith((" ", "\t")):
            entries[name] += line + "\n"
        elif line and not line.startswith("#"):
            name = re.split(r"[=<>!~; \[]", line, maxsplit=1)[0]
            entries[name] = entries.get(name, "") + line + "\n"
    return entries


def plain(entry: str) -> str:
    """Drop the hashes of an entry: pip refuses constraints with hashes beside a wheel of our own."""
    lines = [line for line in entry.splitlines() if "--hash=" not in line]
    return "\n".join(line.rstrip(" \\") for line in lines)


def write(upgrade: bool) -> None:
    """Resolve every lock; without ``upgrade`` the pins that still fit stay as they are."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        venv.create(scratch / "venv", with_pip=True)
        print("Fetching uv, which resolves ...", file=sys.stderr)
        subprocess.run([scratch / "venv/bin/python", "-m", "pip", "install", "-q", "uv"], check=True)
        # The build backend is locked too: the project installs itself without a network or isolation.
        backend = "\n".join(pyproject["build-system"]["requires"])
        (scratch / "build.in").write_text(backend + "\n", encoding="utf-8")
        for version in SUPPORTED:
            print(f"Resolving {lock_path(version).relative_to(ROOT)} ...", file=sys.stderr)
            _write_one(scratch, version, upgrade)


def _write_one(scratch: Path, version: tuple[int, int], upgrade: bool) -> None:
    everything, run, pins = scratch / "everything.txt", scratch / "run.txt", scratch / "pins.txt"
    everything.write_bytes(lock_path(version).read_bytes() if lock_path(version).exists() else b"")
    _compile(scratch, version, everything, "--all-extras", "--generate-hashes", *["--upgrade"] * upgrade)
    entries = _entries(everything.read_text(encoding="utf-8"))
    pins.write_text("\n".join(map(plain, entries.values())) + "\n", encoding="utf-8")
    run.unlink(missing_ok=True)
    _compile(scratch, version, run, "--extra", "train", "--constraints", str(pins))
    needed = _entries(run.read_text(encoding="utf-8"))
    header = (
        f"# Lock for Python {version[0]}.{version[1]}, with hashes for every platform.\n"
        "# Written by `make lock`; do not edit. Why it is so: docs/decisions/0003-locks.md\n"
        "# First part: what `make run` installs (base and [train]).\n"
    )
    first = "".join(entry for name, entry in entries.items() if name in needed)
    rest = "".join(entry for name, entry in entries.items() if name not in needed)
    lock_path(version).write_text(f"{header}{first}{DIVIDER}\n{rest}", encoding="utf-8")


def _compile(scratch: Path, version: tuple[int, int], output: Path, *what: str) -> None:
    command = [str(scratch / "venv/bin/uv"), "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", f"{version[0]}.{version[1]}", "--no-annotate", "--no-header"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--output-file", str(output), *what]
    command += ["pyproject.toml", str(scratch / "build.in")]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run one of the two commands above."""
    match arguments:
        case ["write"]:
            write(upgrade=False)
        case ["write", "--upgrade"]:
            write(upgrade=True)
        case ["constraints"]:
            print("\n".join(map(plain, read_lock(sys.version_info[:2]).values())))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

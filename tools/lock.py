"""Write and read the lock files under ``requirements/``; called by ``make lock`` and the other tools.

    python tools/lock.py write [--upgrade]   resolve again with uv, for every supported Python
    python tools/lock.py constraints         print this Python's full lock as plain pins, for ``pip -c``

It needs the standard library only (uv is fetched into a scratch environment) and never writes an
address: a lock holds names, versions, markers and hashes. Why: docs/decisions/0003-locks.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
SUPPORTED = ((3, 11), (3, 12), (3, 13))


def lock_path(profile: str, version: tuple[int, int]) -> Path:
    """Name the lock of ``run`` (what the demo needs) or ``dev`` (everything).

    A Python newer than those we test takes the newest lock, which holds for later versions too.
    """
    major, minor = min(max(version, SUPPORTED[0]), SUPPORTED[-1])
    suffix = "-run" if profile == "run" else ""
    return FOLDER / f"py{major}{minor}{suffix}.txt"


def read_lock(path: Path) -> dict[str, str]:
    """Map each package's name to its entries, markers and hashes included, in the file's order."""
    entries: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith((" ", "\t")):
            if name and not line.lstrip().startswith("#"):
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
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(f"{scratch}/venv", with_pip=True)
        print("Fetching uv, which resolves ...", file=sys.stderr)
        subprocess.run([f"{scratch}/venv/bin/python", "-m", "pip", "install", "-q", "uv"], check=True)
        build = Path(scratch, "build.in")
        build.write_text("\n".join(pyproject["build-system"]["requires"]) + "\n", encoding="utf-8")
        for version in SUPPORTED:
            full = lock_path("dev", version)
            _compile(f"{scratch}/venv/bin/uv", version, full, build, ["--all-extras"], upgrade)
            pins = Path(scratch, "pins.txt")
            pins.write_text("\n".join(map(plain, read_lock(full).values())) + "\n", encoding="utf-8")
            extras = ["--extra", "train", "--constraints", str(pins)]
            _compile(f"{scratch}/venv/bin/uv", version, lock_path("run", version), build, extras, upgrade)


def _compile(uv: str, version: tuple[int, int], output: Path, build: Path, what: list[str], upgrade: bool) -> None:
    print(f"Resolving {output.relative_to(ROOT)} ...", file=sys.stderr)
    command = [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-annotate", "--no-header"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    command += ["--python-version", f"{version[0]}.{version[1]}", "--output-file", str(output), *what]
    command += ["--upgrade"] if upgrade else []
    # Run from the root with relative names, so that no path of this machine reaches the file.
    subprocess.run([*command, "pyproject.toml", str(build)], check=True, cwd=ROOT, env=_quiet_environment())
    title = "everything" if not output.stem.endswith("-run") else "what `make run` installs (base and [train])"
    header = (
        f"# Lock for Python {version[0]}.{version[1]}: {title}, with hashes for every platform.\n"
        "# Written by `make lock`; do not edit. Why it is so: docs/decisions/0003-locks.md\n"
    )
    output.write_text(header + output.read_text(encoding="utf-8"), encoding="utf-8")


def _quiet_environment() -> dict[str, str]:
    return {**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def main(arguments: list[str]) -> int:
    """Run one of the two commands above."""
    match arguments:
        case ["write"]:
            write(upgrade=False)
        case ["write", "--upgrade"]:
            write(upgrade=True)
        case ["constraints"]:
            for entry in read_lock(lock_path("dev", sys.version_info[:2])).values():
                print(plain(entry))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

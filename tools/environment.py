"""Prepare the project's own virtual environment and print its path; called by the Makefile and .ci/run.

    python tools/environment.py run [--named]    base + [train] + the project itself, editable
    python tools/environment.py dev [--named]    everything the tests and checks need
    python tools/environment.py lightfm VENV     put a portable LightFM wheel into .wheels/, print its folder

``.venv`` belongs to the machine's usual Python; ``--named`` gives the calling Python its own, such as
``.venv-3.12``. All talk goes to stderr. When nothing changed since the last time (see ``Stamp``) nothing is
done. It touches nothing outside the project's folder and needs the standard library only. Why it is so:
docs/decisions/0002-lightfm.md and 0003-locks.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from lock import ROOT, lock_path, read_lock

LIGHTFM = "lightfm-next"
MISSING = "LightFM could not be installed"
Stamp = dict[str, str]  # what an environment was made from: Python, place, lock, project, LightFM


def say(text: str) -> None:
    """Tell the person what is going on, without disturbing what a command prints."""
    print(text, file=sys.stderr, flush=True)


def prepare(profile: str, named: bool) -> Path:
    """Bring the environment up to date for ``profile``, doing only what changed, and return its path."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = ROOT / (f".venv-{version}" if named else ".venv")
    stamp_file = home / f"mycity-{profile}.json"
    wanted = _wanted(profile)
    stamp = _read_stamp(home, stamp_file, wanted)
    changed = {part for part in wanted if stamp.get(part) != wanted[part]}
    if changed & {"python", "place"}:
        say(f"Setting up {home.name} with Python {version} (first time only, about two minutes)")
        _create(home)
    if changed - {"project"}:
        _install_lock(home, profile)
        for stale in home.glob("mycity-*.json"):  # versions may have moved for the other profile too
            stale.unlink()
        stamp = {}
    if changed:
        say("Installing MyCity itself, editable")
        _pip(home, "install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    lightfm = stamp.get("lightfm", "")
    if lightfm != "installed":
        lightfm = _ensure_lightfm(home, profile, lightfm)
    stamp_file.write_text(json.dumps({**wanted, "lightfm": lightfm}, indent=1), encoding="utf-8")
    return home


def _wanted(profile: str) -> Stamp:
    lock = lock_path(sys.version_info[:2])
    if not lock.exists():
        sys.exit(f"MyCity: {lock.relative_to(ROOT)} is missing; take it from git or run `make lock`.")
    return {
        "python": f"{platform.python_version()} {sys.base_prefix}",
        "place": str(ROOT),  # an environment that was moved or copied is broken
        "lock": _lock_digest(profile),
        "project": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
    }


def _lock_digest(profile: str) -> str:
    entries = read_lock(sys.version_info[:2], profile)
    return hashlib.sha256("".join(entries.values()).encode()).hexdigest()


def _read_stamp(home: Path, stamp_file: Path, wanted: Stamp) -> Stamp:
    """Say what the environment was made from; empty when there is none or it does not run."""
    if not (home / "bin" / "python").exists():
        return {}
    # Everything `run` needs is in `dev` too, at the same versions, so a dev environment serves both.
    candidates = [stamp_file]
    if stamp_file.name == "mycity-run.json":
        candidates.append(home / "mycity-dev.json")
    for candidate in candidates:
        if candidate.exists():
            stamp: Stamp = json.loads(candidate.read_text(encoding="utf-8"))
            if candidate != stamp_file and stamp["lock"] == _lock_digest("dev"):
                stamp["lock"] = wanted["lock"]
            return stamp
    return _adopt(home, wanted)


def _adopt(home: Path, wanted: Stamp) -> Stamp:
    """Accept an environment made by hand for this place and Python; its packages are checked anew."""
    probe = "import platform, sys; print(f'{platform.python_version()} {sys.base_prefix}'); import pip"
    answer = subprocess.run([home / "bin" / "python", "-c", probe], capture_output=True, text=True)
    pip = home / "bin" / "pip"
    first_line = pip.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0] if pip.exists() else ""
    at_home = str(home) in first_line
    if answer.returncode == 0 and answer.stdout.strip() == wanted["python"] and at_home:
        return {"python": wanted["python"], "place": wanted["place"]}
    return {}


def _create(home: Path) -> None:
    if home.exists():
        shutil.rmtree(home)
    command = [sys._base_executable, "-m", "venv", str(home)]  # type: ignore[attr-defined]
    if subprocess.run(command, stdout=sys.stderr).returncode:
        shutil.rmtree(home, ignore_errors=True)
        sys.exit(
            f"MyCity: {command[0]} cannot make virtual environments; install its venv module "
            "(Debian: apt-get install python3-venv) and run make again."
        )


def _install_lock(home: Path, profile: str) -> None:
    """Install every locked package but LightFM, each checked against its hash."""
    entries = read_lock(sys.version_info[:2], profile)
    say(f"Installing {len(entries)} locked packages")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(entry for name, entry in entries.items() if name != LIGHTFM))
        file.flush()
        _pip(home, "install", "--require-hashes", "-r", file.name)


def _ensure_lightfm(home: Path, profile: str, before: str) -> str:
    """Install LightFM, or for ``run`` say why the demo does without; return what to remember of it."""
    state = _compiler_state()
    log = _log().relative_to(ROOT)
    if profile == "run" and before == state and _log().exists():
        say(f"{MISSING}: the recommender runs on rules only ({log}; remove .wheels to try again)")
        return state
    wheel = lightfm_wheel(home)
    if wheel and _try_lightfm(home, wheel):
        return "installed"
    needs = (
        "It needs a C compiler and Python's headers (Debian: apt-get install gcc python3-dev; "
        f"macOS: xcode-select --install). Details: {log}"
    )
    if profile == "dev":
        sys.exit(f"MyCity: {MISSING}, and tests and checks need it. {needs}")
    say(f"{MISSING}: the recommender runs on rules only. {needs}")
    return state


def lightfm_wheel(home: Path) -> Path | None:
    """Return the wheel kept for this Python and machine; fetch or build it first if there is none.

    Python 3.11 has no sound published wheel, so the source is built without ``-march=native``, past
    pip's own cache, which may hold a build for another processor. Newer Pythons take the published one.
    """
    folder = wheel_folder()
    entry = read_lock(sys.version_info[:2], "run")[LIGHTFM]
    pattern = f"lightfm_next-{entry.split('==')[1].split()[0]}-*.whl"
    if kept := sorted(folder.glob(pattern)):
        return kept[0]
    folder.mkdir(parents=True, exist_ok=True)
    from_source = sys.version_info[:2] == (3, 11)
    say("Building LightFM from source (once, about half a minute)" if from_source else "Fetching LightFM")
    with tempfile.TemporaryDirectory() as scratch, _log().open("w") as log:
        Path(scratch, "lightfm.txt").write_text(entry, encoding="utf-8")
        command = [str(home / "bin" / "python"), "-m", "pip", "wheel", "--no-cache-dir", "--no-deps"]
        command += ["--no-binary", LIGHTFM] if from_source else []
        command += ["--wheel-dir", scratch, "--require-hashes", "-r", f"{scratch}/lightfm.txt"]
        portable = {**_pip_environment(), "LIGHTFM_NO_CFLAGS": "1"}
        done = subprocess.run(command, stdout=log, stderr=log, env=portable)
        built = list(Path(scratch).glob(pattern))
        if done.returncode or not built:
            return None
        return Path(shutil.move(built[0], folder / built[0].name))


def _try_lightfm(home: Path, wheel: Path) -> bool:
    """Install the wheel and import it once: a published 1.18.7 installed well and could not be imported."""
    python = str(home / "bin" / "python")
    install = [python, "-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel)]
    with _log().open("a") as log:
        for step in (install, [python, "-W", "ignore", "-c", "import lightfm"]):
            if subprocess.run(step, stdout=log, stderr=log, env=_pip_environment()).returncode:
                return False
    return True


def wheel_folder() -> Path:
    """Name the place for wheels of this Python, system, machine and C library."""
    libc = platform.libc_ver()[0] or "libc"
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{sysconfig.get_platform()}-{libc}"
    return ROOT / ".wheels" / tag


def _log() -> Path:
    return wheel_folder() / "lightfm.log"


def _compiler_state() -> str:
    """Describe what a build needs, so that a failed one is tried again once that changes."""
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    return f"cc={shutil.which('cc') or shutil.which('gcc')} headers={headers}"


def _pip(home: Path, *arguments: str) -> None:
    command = [str(home / "bin" / "python"), "-m", "pip", "-qq", *arguments]
    if subprocess.run(command, stdout=sys.stderr, env=_pip_environment()).returncode:
        sys.exit("MyCity: pip could not finish (see above); is there a network? Run make again to go on.")


def _pip_environment() -> dict[str, str]:
    leave = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET")
    keep = {name: value for name, value in os.environ.items() if name not in leave}
    return {**keep, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def main(arguments: list[str]) -> int:
    """Run one of the three commands above, one at a time for each checkout."""
    (ROOT / ".wheels").mkdir(exist_ok=True)
    with (ROOT / ".wheels" / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        match arguments:
            case [("run" | "dev") as profile, *rest] if rest in ([], ["--named"]):
                print(prepare(profile, named=bool(rest)))
            case ["lightfm", home]:
                if lightfm_wheel(Path(home)) is None:
                    sys.exit(f"MyCity: {MISSING}; see {_log().relative_to(ROOT)}")
                print(wheel_folder())
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Starts the independent message centre of ``tests/smsc`` (npm ``smpp``) for a test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent / "smsc"


def installed() -> Path:
    """The folder with the server and its modules; installed once, or the test is skipped."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("the SMPP test server needs node and npm (apt install nodejs npm)")
    modules = FOLDER / "node_modules"
    if not (modules / "smpp" / "package.json").exists():
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".npm-") as made:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(FOLDER / name, made)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                pytest.skip(
                    f"npm ci in tests/smsc failed ({done.stderr.strip()[:200]}); is the registry there?"
                )
            with contextlib.suppress(OSError):  # another worker was quicker
                os.rename(Path(made) / "node_modules", modules)
    return FOLDER


class Smsc:
    """A running message centre and everything it said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            ["node", str(installed() / "server.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait(lambda item: "port" in item)["port"])

    def url(self, password: str = "right", more: str = "") -> str:
        return f"smpp://city:{password}@127.0.0.1:{self.port}?source=10690000{more}"

    def order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def wait(self, fits: Callable[[dict[str, Any]], bool], seconds: float = 5) -> dict[str, Any]:
        until = time.monotonic() + seconds
        with self._news:
            while True:
                for item in self.said:
                    if fits(item):
                        return item
                if not self._news.wait(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    raise AssertionError(f"the message centre did not say it; it said {self.said[-5:]}")

    def submits(self, to: str, least: int = 0, seconds: float = 5) -> list[dict[str, Any]]:
        """What it was handed for a number; waits until it has said at least so many."""
        until = time.monotonic() + seconds
        with self._news:
            while True:
                mine = [item["submit"] for item in self.said if _is_for(item, to)]
                if len(mine) >= least or not self._news.wait(max(0.0, until - time.monotonic())):
                    return mine

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(5)
        self._reader.join(5)
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.said.append(json.loads(line))
                self._news.notify_all()


def _is_for(item: dict[str, Any], to: str) -> bool:
    return bool(item.get("submit", {}).get("to") == to.lstrip("+"))

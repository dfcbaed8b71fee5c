"""The commands about the model: train, teach further, show, put in use; the same words as everywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from api.jobs import watching
from api.ops import cli, console
from feeds.kernel.db import Database
from tests.factories import NOW
from tests.integration.test_jobs_training import KEY, town

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    town(sqlite, tmp_path)
    for name, value in (("HOME", str(tmp_path)), ("CITY", "shili"), ("SECRET_KEY", KEY)):
        monkeypatch.setenv(f"MYCITY_{name}", value)
    return tmp_path


def run(*arguments: str) -> int:
    return console.run(cli._invoke, [*arguments, "--now", NOW.isoformat()])


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*arguments, "--json") == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_train_show_and_go_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = told(capsys, "model")
    assert (empty["state"], empty["alarm"], empty["versions"]) == ("none", False, [])
    first = told(capsys, "train")
    assert first["info"]["kind"] == "full" and first["info"]["trained_at"] == NOW.isoformat()
    second = told(capsys, "train")
    shown = told(capsys, "model", "--measure")
    assert shown["serving"] == shown["current"] == second["model"] and shown["state"] == "fine"
    assert [one["version"] for one in shown["versions"]] == [second["model"], first["model"]]
    assert shown["measures"]["coverage"]["7"]["whole"] == 60
    assert told(capsys, "train", "--rollback")["model"] == first["model"]
    assert told(capsys, "model")["serving"] == first["model"]
    assert told(capsys, "model", "--use", second["model"])["model"] == second["model"]
    assert told(capsys, "train", "--partial")["model"] == ""
    assert run("model") == 0
    said = capsys.readouterr().out
    assert f"Model {second['model']} is in use." in said and "No ranker" in said and "Coverage 7 days" in said
    assert "Not measured on a week held out: the last week has 60 notices" in " ".join(said.split())


def test_what_does_not_fit_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "run `mycity train`" in told(capsys, "train", "--partial", code=2)["error"]
    assert "no earlier model" in told(capsys, "train", "--rollback", code=1)["error"]
    assert "kept are: none" in told(capsys, "model", "--use", "x", code=1)["error"]
    assert "either" in told(capsys, "train", "--rollback", "--partial", code=2)["error"]


def test_model_doctor_and_watch_say_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "train")
    for path in (home / "models").glob("*.npz"):
        path.write_bytes(b"")
    shown = told(capsys, "model")
    checks = {one["check"]: one for one in told(capsys, "doctor", code=1)["checks"]}
    assert shown["state"] == "broken" and shown["alarm"]
    assert checks["model"]["message"].startswith(shown["why"]) and checks["model"]["status"] == "bad"
    with console.services() as services:
        assert watching.view(services).verdict.why == shown["why"]


def test_a_training_that_is_killed_leaves_the_model_before(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real `mycity train` is killed at several moments; then it runs again to the end."""
    before = told(capsys, "train")["model"]
    main = "import sys; from api.ops.cli import main; main(sys.argv[1:])"
    program = [sys.executable, "-c", main, "train", "--now", NOW.isoformat()]
    for seconds in (0.4, 1.2, 2.0):
        process = subprocess.Popen(
            program, cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        shown = told(capsys, "model")
        assert shown["state"] == "fine" and shown["serving"] >= before
    again = told(capsys, "train")["model"]
    assert told(capsys, "model")["serving"] == again > before

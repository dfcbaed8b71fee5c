"""A disk that fills up during an import: one sentence, nothing half-written, and it goes on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_demo import mycity

ENVIRONMENT = {"MYCITY_SECRET_KEY": "x" * 40, "MYCITY_CITY": "shili"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, as root only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_an_import_stops_cleanly_and_goes_on(small_disk: Path, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"n-{n}",
            "source": "示例",
            "title": f"【示例】公告{n}",
            "body": "正文。" * 400,
            "published": "2026-10-12",
        }
        for n in range(1500)
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "n.jsonl").write_text(text, encoding="utf-8")
    home = {"MYCITY_HOME": str(small_disk / "var"), **ENVIRONMENT}
    mycity("migrate", cwd=tmp_path, **home)
    done = mycity("notices", "import", "n.jsonl", cwd=tmp_path, check=False, **home)
    assert done.returncode == 1
    assert "disk is full" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

    database = sqlite3.connect(small_disk / "var" / "mycity.db")
    landed = database.execute("SELECT count(*) FROM notice").fetchone()[0]
    assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert database.execute("SELECT count(*) FROM notice_revision").fetchone()[0] == landed
    assert database.execute("SELECT count(*) FROM notice_words").fetchone()[0] == landed
    database.close()
    assert 0 <= landed < 1500

    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    report = json.loads(mycity("notices", "import", "n.jsonl", "--json", cwd=tmp_path, **home).stdout)
    assert (report["new"], report["same"]) == (1500 - landed, landed)

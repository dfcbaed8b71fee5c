"""The demo city from the command line, as somebody who just installed it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROLES = {"citizen", "investor", "tourist", "enterprise", "aid"}
ATOM = "{http://www.w3.org/2005/Atom}"


def mycity(
    *arguments: str, cwd: Path, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program as the console script does, from a folder of its own."""
    code = "from api.ops.cli import main; main()"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    env = {**os.environ, "MYCITY_HOME": str(cwd / "var"), **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One demo for the whole module: its folder and its report."""
    folder = tmp_path_factory.mktemp("demo")
    report = json.loads(mycity("demo", "--once", "--json", cwd=folder).stdout)
    return folder / "var" / "demo", report


def test_the_report_is_the_same_object_on_disk(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, report = demo
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report
    assert report["counts"]["notices"] >= 150
    assert report["counts"]["dropped"] == 0
    assert {row["role"] for row in report["residents"]} == ROLES
    assert "simulated" in report["simulated"]
    assert set(report["seconds"]) >= {"ingest", "train", "select", "digests", "feeds", "total"}


def test_each_resident_has_three_feeds_all_marked_as_sample(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = demo
    for role in ROLES:
        atom = ElementTree.parse(folder / f"{role}.atom").getroot()
        rss = ElementTree.parse(folder / f"{role}.rss").getroot()
        feed = json.loads((folder / f"{role}.json").read_bytes())
        titles = [entry.findtext(f"{ATOM}title") for entry in atom.findall(f"{ATOM}entry")]
        assert titles == [item.findtext("title") for item in rss.iter("item")]
        assert titles == [item["title"] for item in feed["items"]]
        assert 1 <= len(titles) <= 50
        assert len({entry.findtext(f"{ATOM}id") for entry in atom.findall(f"{ATOM}entry")}) == len(titles)
        for title in titles:
            assert "【示例】" in (title or "") or "[SAMPLE]" in (title or "")
        assert "【示例】" in (atom.findtext(f"{ATOM}title") or "")


def test_every_pick_says_why(demo: tuple[Path, dict[str, Any]]) -> None:
    _, report = demo
    for resident in report["residents"]:
        assert resident["first"]
        for entry in resident["first"]:
            assert 1 <= len(entry["reasons"]) <= 3
            assert all(reason.strip() for reason in entry["reasons"])


def test_no_role_word_stands_in_the_investors_feed(demo: tuple[Path, dict[str, Any]]) -> None:
    """Story 3: a feed address may be seen by others; it must not tell who its reader is."""
    folder, _ = demo
    for suffix in ("rss", "atom", "json"):
        text = (folder / f"investor.{suffix}").read_text(encoding="utf-8")
        assert "“Investor”" not in text
        assert "身份：" not in text


def test_mails_and_messages_were_captured_not_sent(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, report = demo
    mails = sorted((folder / "captured" / "email").glob("*.eml"))
    texts = sorted((folder / "captured" / "sms").glob("*.txt"))
    assert len(mails) + len(texts) == report["counts"]["messages_captured"]
    assert len(mails) >= 5
    for path in mails:
        assert path.stat().st_mode & 0o077 == 0
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert "示例" in mail["Subject"]
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        for kind in ("plain", "html"):
            body = mail.get_body((kind,))
            assert body is not None
            assert len(body.get_content()) > 200
    for path in texts:
        assert "【示例市公告】" in path.read_text(encoding="utf-8")


def test_a_second_run_makes_the_same_feeds(demo: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = demo
    mycity("demo", "--once", "--json", cwd=tmp_path)
    for role in ROLES:
        again = json.loads((tmp_path / "var" / "demo" / f"{role}.json").read_bytes())
        before = json.loads((folder / f"{role}.json").read_bytes())
        assert [item["id"] for item in again["items"]] == [item["id"] for item in before["items"]]


def test_real_data_goes_through_whole(real_data: Path, tmp_path: Path) -> None:
    """2,272 real notices: every row kept, each oddity named; nothing of it is shown as the demo."""
    done = mycity("demo", "--once", "--json", "--data", str(real_data / "notices.jsonl"), cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["counts"]["notices"] == report["counts"]["read"] == 2272
    assert report["counts"]["dropped"] == 0
    assert report["counts"]["with_theme_share"] > 0.95
    assert report["oddities"]["no-date"] == 67
    assert report["oddities"]["no-title"] == 3
    assert report["oddities"]["repeated-url"] == 27
    assert all(row["entries"] > 0 for row in report["residents"])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("demo", "--once", "--data", "nothing.jsonl"), 2, "nothing.jsonl"),
        (("demo", "--once", "--data", "empty.jsonl"), 1, "empty"),
        (("demo", "--port", "99999"), 2, "--port"),
        (("demo", "--once", "--now", "yesterday"), 2, "yesterday"),
        (("demo", "--once", "--city", "atlantis"), 1, "atlantis"),
        (("profiles", "show", "1"), 2, "MYCITY_SECRET_KEY"),
        (("nonsense",), 2, "nonsense"),
        (("notices", "import"), 2, "file"),
    ],
)
def test_mistakes_get_one_sentence_and_the_right_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    done = mycity(*arguments, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = mycity("demo", "--port", port, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert f"Port {port} is taken" in done.stderr


def test_a_day_with_the_command_line(tmp_path: Path) -> None:
    """Import, join, select, plan and send by hand, the way an operator would."""
    environment = {"MYCITY_SECRET_KEY": "x" * 40, "MYCITY_CITY": "shili"}
    rows = [
        {
            "id": f"t-{n}",
            "source": "示例",
            "title": f"【示例】增值税申报提醒{n}",
            "body": "请按期申报增值税。" * 5,
            "published": f"2026-10-12T0{n}:00:00+08:00",
            "region": "市级",
        }
        for n in range(1, 4)
    ]  # fmt: skip
    (tmp_path / "n.jsonl").write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    (tmp_path / "old.jsonl").write_text(
        json.dumps({**rows[0], "id": "t-0", "published": "2026-10-01"}), encoding="utf-8"
    )

    def run(*arguments: str, now: str = "2026-10-11T10:00+08:00") -> dict[str, Any]:
        done = mycity(*arguments, "--json", "--now", now, cwd=tmp_path, **environment)
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    run("migrate")
    run("notices", "import", "old.jsonl")
    made = run(
        "profiles",
        "new",
        "--role",
        "enterprise",
        "--interest",
        "theme:0402",
        "--email",
        "a@shili.example",
        "--hour",
        "9",
    )
    first = run("notices", "import", "n.jsonl", now="2026-10-12T08:00+08:00")
    assert (first["read"], first["new"]) == (3, 3)
    second = run("notices", "import", "n.jsonl", now="2026-10-12T08:00+08:00")
    assert (second["new"], second["changed"], second["same"]) == (0, 0, 3)
    assert run("select", now="2026-10-12T08:30+08:00")["picks"] == 3
    assert run("digests", "plan", now="2026-10-12T09:00+08:00")["planned"] == 1
    assert run("digests", "send", now="2026-10-12T09:00+08:00")["states"] == {
        "sent": 2
    }  # with the confirmation
    shown = run("profiles", "show", str(made["profile"]), now="2026-10-12T09:00+08:00")
    assert len(shown["picks"]) == 4  # with the one of the welcome edition, which no mail carries
    assert run("audit", "verify")["broken_at"] is None
    run("notices", "export", "out.jsonl")
    again = run("notices", "import", "out.jsonl", now="2026-10-12T10:00+08:00")
    assert (again["new"], again["changed"], again["same"]) == (0, 0, 4)
    assert {row["check"] for row in run("doctor")["checks"]} >= {"python", "city", "database", "model"}

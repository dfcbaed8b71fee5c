"""``mycity sources …`` as a person meets it: what is said, what is stored, and what is said when it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.ops import cli, console
from tests.loopback import Loopback, answer, serving, with_validators

NOW = "2026-10-12T10:00+08:00"
PAGE = """<html><meta charset="utf-8"><ul class="list">
<li><a href="/a1.html">【示例】关于调整居民用水价格的通知</a><span>2026-10-10</span></li>
<li><a href="/a2.html">【示例】关于招聘辅助人员的公告</a><span>2026-10-09</span></li></ul></html>"""
RECIPE = """
slug = "shili-water"
name = "示例市水务局 通知公告"
url = "{url}"
kind = "html"
agency = "示例市水务局"
rules = ["exclude title: 招聘"]
[recipe]
items = "ul.list li"
[recipe.fields]
title = "a"
url = "a@href"
published = "span"
"""


def feed(*titles: str, prefix: str = "n") -> bytes:
    items = "".join(
        f"<item><guid>{prefix}{number}</guid><title>【示例】{title}</title>"
        f"<link>https://shili.example/{prefix}/{number}</link>"
        f"<pubDate>Sat, 10 Oct 2026 0{number % 10}:00:00 +0800</pubDate>"
        f"<description>{title}，自2026年11月1日起施行。</description></item>"
        for number, title in enumerate(titles, 1)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?><rss version="2.0"><channel>'
        f"<title>示例市公报</title><link>https://shili.example/</link>{items}</channel></rss>"
    ).encode()


@dataclass
class Shell:
    """A terminal of 100 columns in front of an empty installation."""

    web: Loopback
    read: Callable[[], Any]
    home: Path

    def __call__(self, *arguments: str, code: int = 0, now: str = NOW) -> str:
        self.read()
        given = console.run(cli._invoke, [*arguments, "--now", now])
        out = self.read()
        assert given == code, (out.out, out.err)
        assert "Traceback" not in out.out + out.err
        return str(out.out + out.err)

    def json(self, *arguments: str, code: int = 0, now: str = NOW) -> Any:
        self.read()
        given = console.run(cli._invoke, [*arguments, "--json", "--now", now])
        out = self.read()
        assert given == code, (out.out, out.err)
        return json.loads(out.out)


@pytest.fixture
def shell(
    tmp_path: Path,
    _sqlite_template: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shell]:
    shutil.copy(_sqlite_template, tmp_path / "mycity.db")
    with serving() as web:
        for name, value in (
            ("MYCITY_HOME", str(tmp_path)),
            ("MYCITY_CITY", "shili"),
            ("MYCITY_SECRET_KEY", "a key for tests only, long enough to be one"),
            ("MYCITY_ALLOW_PRIVATE", web.place),
            ("COLUMNS", "100"),
        ):
            monkeypatch.setenv(name, value)
        yield Shell(web, capsys.readouterr, tmp_path)


def says(shell: Shell, path: str, body: bytes | str, **headers: str) -> str:
    shell.web.routes[path] = answer(200, body.encode() if isinstance(body, str) else body, **headers)
    return shell.web.url(path)


def test_a_feed_is_added_listed_polled_and_shown(shell: Shell) -> None:
    url = shell.web.url("/feed.xml")
    shell.web.routes["/feed.xml"] = with_validators(feed("停水通知", "停电通知"), '"v1"')
    assert "Added shili (示例市公报, 2 entries now)" in shell("sources", "add", url, "--slug", "shili")
    assert shell.json("sources", "list")["sources"][0]["state"] == "new"
    polled = shell.json("sources", "poll")["polled"]
    assert [(row["read"], row["new"]) for row in polled] == [(2, 2)]
    [dry] = shell.json("sources", "poll", "shili", "--dry-run")["sources"]
    assert dry["ok"] and [row["action"] for row in dry["entries"]] == ["same", "same"]
    [listed] = shell.json("sources", "list", now="2026-10-12T10:30+08:00")["sources"]
    assert listed["state"] == "fine" and listed["next_why"] == "interval"
    table = shell("sources", "list", now="2026-10-12T10:30+08:00")
    assert "shili" in table and "30 min ago" in table and "(interval)" in table
    assert max(len(line) for line in table.splitlines()) <= 100
    shown = shell("sources", "show", "shili")
    assert "Kept answer (good)" in shown and 'etag: "v1"' in shown and "<?xml" in shown
    assert shell.json("sources", "show", "shili", "--body")["answers"][0]["body"].startswith("<?xml")


def test_every_step_of_a_test_is_told(shell: Shell) -> None:
    url = says(shell, "/feed.xml", feed("停水通知"), ETag='"v1"', Cache_Control="max-age=7200")
    told = shell("sources", "test", url)
    for part in (
        "127.0.0.1 → 200", "none: plain http", 'etag: "v1"', "cache-control: max-age=7200", "RSS 2.0",
        "1 read", "2026-10-10", "[zh-Hans]", "1 new", "first poll is archive", "nothing waits for an editor",
        "max-age decides",
    ):  # fmt: skip
        assert part in told, part
    steps = {step["step"]: step["state"] for step in shell.json("sources", "test", url)["steps"]}
    assert steps["tls"] == "odd" and steps["validators"] == "ok" and "bad" not in steps.values()
    assert shell.json("sources", "list")["sources"] == []


def test_a_test_says_where_it_failed_and_what_to_do(shell: Shell) -> None:
    page = says(
        shell, "/page", "<html><body>登录\x1b[2J</body></html>", Content_Type="text/html; charset=utf-8"
    )
    told = shell("sources", "test", page, code=1)
    assert "✓ status" in told and "✗ format" in told and "登录" in told and "\x1b" not in told
    assert "✗ status" in shell("sources", "test", shell.web.url("/none"), code=1)
    blocked = shell("sources", "test", "http://169.254.169.254/latest/", code=1)
    assert "✗ address" in blocked and "MYCITY_ALLOW_PRIVATE" in blocked
    assert "Give an address" in shell("sources", "test", code=2)
    assert "no source 'nobody'" in shell("sources", "test", "nobody", code=1)


def test_a_list_comes_from_a_file_and_its_rules_are_explained(shell: Shell, tmp_path: Path) -> None:
    url = says(shell, "/list.html", PAGE, Content_Type="text/html; charset=utf-8")
    file = tmp_path / "water.toml"
    file.write_text(RECIPE.replace("{url}", url), encoding="utf-8")
    preview = shell.json("sources", "add", "--file", str(file), "--dry-run")
    assert [row["title"] for row in preview["entries"]] == ["【示例】关于调整居民用水价格的通知"]
    assert preview["entries"][0]["agency"] == "示例市水务局"
    assert any(tag.startswith("theme:") for tag in preview["entries"][0]["tags"])
    table = shell("sources", "add", "--file", str(file), "--dry-run")
    assert "Would be stored" in table and "1 more would be left out" in table
    told = shell("sources", "test", url, "--file", str(file))
    assert "exclude title: 招聘 → 1 left out" in told
    assert shell.json("sources", "list")["sources"] == []
    shell("sources", "add", "--file", str(file), "--release", "review")
    [stored] = shell.json("sources", "list")["sources"]
    assert (stored["slug"], stored["kind"], stored["release"]) == ("shili-water", "html", "review")
    assert shell.json("sources", "poll")["polled"][0]["held"] == 1
    changed = shell("sources", "change", "shili-water", "--rule", "", "--release", "publish")
    assert "Changed" in changed and shell.json("sources", "list")["sources"][0]["rules"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tag", "theme:9999"), "no tag 'theme:9999'"),
        (("--place", "mars"), "no place 'mars'"),
        (("--rule", "nonsense"), "cannot be read"),
        (("--release", "never"), "'publish' or 'review'"),
        (("--kind", "telex"), "no kind of source"),
        (("--file", "/nowhere.toml"), "cannot be read"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_sentence(
    shell: Shell, arguments: tuple[str, ...], said: str
) -> None:
    url = says(shell, "/feed.xml", feed("停水通知"))
    told = shell("sources", "add", url, *arguments, code=2)
    assert said in told and len(told.strip().splitlines()) == 1
    assert shell.json("sources", "list")["sources"] == []


def test_pause_release_and_nothing_to_change(shell: Shell) -> None:
    url = says(shell, "/feed.xml", feed("停水通知"))
    shell("sources", "add", url, "--slug", "shili")
    assert "paused" in shell("sources", "pause", "shili")
    assert shell.json("sources", "list")["sources"][0]["state"] == "paused"
    assert "polled again" in shell("sources", "pause", "shili", "--resume")
    assert "Say what to change" in shell("sources", "change", "shili", code=2)
    assert "shili is not held; there is nothing" in shell("sources", "release", "shili", code=1)
    assert "│ now" in shell("sources", "list")
    shell("sources", "poll", "shili")
    renamed = shell("sources", "change", "shili", "--slug", "gongbao", "--release", "review")
    assert "slug" in renamed and "of gongbao; it is due now" in renamed
    shell("sources", "change", "gongbao", "--slug", "shili")
    shell("sources", "add", says(shell, "/more.xml", feed("停电通知", prefix="m")))
    assert "127-0-0-1" in {one["slug"][:9] for one in shell.json("sources", "list")["sources"]}
    assert "must be of a-z" in shell("sources", "change", "shili", "--slug", "Not A Slug", code=2)
    assert "already taken" in shell("sources", "add", url, "--slug", "other", code=1)


def test_an_alarm_is_said_in_words(shell: Shell) -> None:
    url = says(shell, "/feed.xml", feed("停水通知", "停电通知", "停气通知"))
    shell("sources", "add", url, "--slug", "shili")
    shell("sources", "poll")
    says(shell, "/feed.xml", feed())
    shell("sources", "poll", "shili", now="2026-10-13T10:00+08:00")
    told = shell("sources", "list", "--alarms", now="2026-10-13T10:05+08:00")
    assert "⚠ empty" in told and "Suddenly without entries (usually about 3)" in told
    shown = shell("sources", "show", "shili", now="2026-10-13T10:05+08:00")
    assert "Kept answer (last)" in shown and "Kept answer (good)" in shown


def test_a_flood_is_held_and_said(shell: Shell) -> None:
    titles = [f"第{number}号通告" for number in range(1, 13)]
    url = says(shell, "/feed.xml", feed(*titles))
    shell("sources", "add", url, "--slug", "shili")
    shell("sources", "poll")
    says(shell, "/feed.xml", feed(*titles, prefix="moved"))
    told = shell("sources", "poll", "shili", now="2026-10-12T13:00+08:00")
    assert "⚠ shili: 12 entries" in told and "an editor must release" in told
    [listed] = shell.json("sources", "list", now="2026-10-12T13:10+08:00")["sources"]
    assert listed["state"] == listed["alarm"] == "held"
    shell("sources", "release", "shili", now="2026-10-12T13:20+08:00")
    assert shell.json("sources", "poll", now="2026-10-12T13:30+08:00")["polled"][0]["new"] == 12


def test_a_poll_that_fails_is_a_sentence_for_each_source(shell: Shell) -> None:
    good, bad = (
        says(shell, "/good.xml", feed("停水通知")),
        says(shell, "/bad.xml", feed("停电通知", prefix="b")),
    )
    shell("sources", "add", good, "--slug", "good")
    shell("sources", "add", bad, "--slug", "bad")
    shell.web.routes["/bad.xml"] = answer(503)
    told = shell("sources", "poll", code=1)
    assert "✗ bad:" in told and "503" in told and "│ good" in told
    assert shell.json("sources", "show", "bad")["failures"] == 1


OPML = """<opml version="2.0"><head><title>x</title></head><body>
<outline text="示例市"><outline type="rss" text="公报" xmlUrl="{one}"/>
<outline type="rss" text="水务" xmlUrl="http://127.0.0.1:9/feed.xml"/></outline>
<outline type="rss" text="again" xmlUrl="{one}"/>
<outline type="rss" text="no address" xmlUrl="javascript:alert(1)"/></body></opml>"""


def test_opml_goes_in_once_and_comes_out_again(shell: Shell, tmp_path: Path) -> None:
    url = says(shell, "/feed.xml", feed("停水通知"))
    file = tmp_path / "feeds.opml"
    file.write_text(OPML.replace("{one}", url), encoding="utf-8")
    told = shell("sources", "import-opml", str(file), "--dry-run")
    assert "2 would be added, 0 were there already, 2 left out, 0 failed." in told
    assert "port 9" in told and "1 of them can never be polled" in told
    left = [
        row for row in shell.json("sources", "import-opml", str(file), "--dry-run")["feeds"] if row["why"]
    ]
    assert ("left out", "公报", url) in {(row["result"], row["feed"], row["address"]) for row in left}
    assert shell.json("sources", "list")["sources"] == [] and shell.web.asked == []
    rows = shell.json("sources", "import-opml", str(file))["feeds"]
    assert sorted(row["result"] for row in rows) == ["added", "added", "left out", "left out"]
    again = shell.json("sources", "import-opml", str(file))["feeds"]
    assert [row["result"] for row in again].count("there") == 2
    assert len(shell.json("sources", "list")["sources"]) == 2 and shell.web.asked == []
    out = tmp_path / "out.opml"
    assert "Wrote 2 feeds" in shell("sources", "export-opml", str(out))
    assert url in out.read_text(encoding="utf-8") and not (tmp_path / "out.opml.part").exists()
    assert [row["result"] for row in shell.json("sources", "import-opml", str(out))["feeds"]] == ["there"] * 2
    assert "no OPML list" in shell("sources", "import-opml", str(tmp_path / "mycity.db"), code=1)


CAP = """<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>SL-1</identifier>
<sender>qx@shili.example</sender><sent>2026-10-12T09:50:00+08:00</sent><status>Actual</status>
<msgType>Alert</msgType><scope>Public</scope><info><language>zh-CN</language><category>Met</category>
<event>台风</event><urgency>Expected</urgency><severity>Severe</severity><certainty>Likely</certainty>
<expires>2026-10-12T22:00:00+08:00</expires><headline>【示例】台风橙色预警</headline>
<description>预计今夜有大风。</description><area><areaDesc>柘渡区</areaDesc></area></info></alert>"""


def test_a_warning_comes_from_a_file(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "warning.cap"
    file.write_text(CAP, encoding="utf-8")
    told = shell("alert", str(file))
    assert "1 new, 0 changed" in told and "emergency" in told and "2026-10-12 22:00" in told
    assert shell.json("alert", str(file))["new"] == 0
    late = tmp_path / "late.cap"
    late.write_text(CAP.replace("SL-1", "SL-2").replace("T22:00", "T09:55"), encoding="utf-8")
    [row] = shell.json("alert", str(late))["notices"]
    assert row["told"] == "nobody: it ended on 2026-10-12 09:55" and row["people"] == 0
    drill = tmp_path / "drill.cap"
    drill.write_text(CAP.replace("Actual", "Exercise"), encoding="utf-8")
    told = shell("alert", str(drill), code=1)
    assert "not-actual" in told and "Nothing of drill.cap was published" in told
    assert shell.json("alert", str(drill), code=1)["notices"] == []
    assert "cannot be read" in shell("alert", str(tmp_path / "none.cap"), code=2)


def test_a_warning_is_sent_at_once(shell: Shell, tmp_path: Path) -> None:
    shell("profiles", "new", "--role", "citizen", "--place", "柘渡区=home", "--email", "me@shili.example")
    file = tmp_path / "warning.cap"
    file.write_text(CAP, encoding="utf-8")
    done = shell.json("alert", str(file))
    [row] = done["notices"]
    assert (done["editions"], row["people"], row["told"]) == (1, 1, "1 person")
    assert done["messages"]["email"] == 1 and done["sent"] >= 1


def test_new_residents_are_told_when_mail_goes_and_a_list_says_its_whole(shell: Shell) -> None:
    assert "must be confirmed" not in shell("profiles", "new", "--role", "citizen")
    told = shell("profiles", "new", "--role", "citizen", "--email", "me@shili.example")
    assert "must be confirmed" in told and "never go by mail" in told
    assert "1 of 2; --limit N shows more." in shell("profiles", "list", "--limit", "1")
    assert "--limit" not in shell("profiles", "list")
    found = shell.json("profiles", "list", "--limit", "1")
    assert (len(found["profiles"]), found["total"]) == (1, 2)


def test_a_recipe_that_matches_nothing_is_not_added(shell: Shell, tmp_path: Path) -> None:
    url = says(shell, "/list.html", PAGE.replace("list", "rows"), Content_Type="text/html; charset=utf-8")
    file = tmp_path / "water.toml"
    file.write_text(RECIPE.replace("{url}", url), encoding="utf-8")
    assert "! no-items:" in shell("sources", "add", "--file", str(file), "--dry-run", code=1)
    assert "nothing was added" in shell("sources", "add", "--file", str(file), code=1)
    told = shell("sources", "test", "--file", str(file), url, code=1)
    assert "✗ entries" in told
    assert shell.json("sources", "list")["sources"] == []
    assert "Added shili-water" in shell("sources", "add", "--file", str(file), "--force")
    told = shell("sources", "test", url, code=1)
    assert told.startswith("This is the address of source shili-water")
    file.write_text(RECIPE.replace('"shili-water"', "shili-water"), encoding="utf-8")
    assert "put quotes around a text" in shell("sources", "add", "--file", str(file), code=2)


def test_a_poll_says_what_there_was_and_what_there_was_not(shell: Shell) -> None:
    shell.web.routes["/feed.xml"] = with_validators(feed("停水通知"), '"v1"')
    shell("sources", "add", shell.web.url("/feed.xml"), "--slug", "shili", "--place", "柘渡")
    shell("sources", "poll")
    assert "1 not modified: shili" in shell("sources", "poll", "shili")
    assert "Nothing is due; the next is shili, in " in shell("sources", "poll")
    shell("sources", "pause", "shili")
    assert "shili is paused" in shell("sources", "poll", "shili", code=1)
    assert "no source is waiting" in shell("sources", "poll")


def test_a_preview_fits_a_narrow_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    url = says(
        shell, "/feed.xml", feed(*[f"第{number}号关于调整居民用水价格的通知" * 3 for number in range(30)])
    )
    told = shell("sources", "add", url, "--dry-run")
    assert "2026-10-10" in told and "… 10 more" in told and "30 new" in told and url not in told
    assert len(shell.json("sources", "add", url, "--dry-run")["entries"]) == 30


def test_what_a_plain_feed_is_not(shell: Shell) -> None:
    assert "--kind cap" in shell("sources", "test", says(shell, "/w.cap", CAP), code=1)
    assert "--kind json" in shell("sources", "test", says(shell, "/l.json", '[{"a": 1}]'), code=1)
    told = shell("sources", "add", says(shell, "/f.xml", feed("x")), "--tag", "theme:9999", code=2)
    assert "nearest: ." not in told

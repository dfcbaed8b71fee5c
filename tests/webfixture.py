"""A small installation for tests of the pages: the sample city's notices in SQLite, a clock that stands.

``python -m tests.webfixture`` serves it at http://127.0.0.1:8017 for people who look at pages.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.settings import read_settings
from api.web.app import create_app
from api.web.forms import body_html, desk_tag
from api.wiring import Services, build
from feeds.catalogue.city_files import load_city
from feeds.catalogue.notices import Notice, NoticeContent
from feeds.catalogue.store import NoticeFilter
from feeds.catalogue.vocabulary import City
from feeds.desk.staff import Actor
from feeds.kernel.db import Database
from feeds.kernel.time import Clock, FixedClock
from profiles.editions import NewEdition
from profiles.types import Pick, Profile, Reason

NOW = datetime(2026, 10, 12, 10, 0, tzinfo=UTC)  # Monday 18:00 in the sample city
BASE = "http://testserver"
KEY = "a key for tests only, long enough to be one"


@cache
def city() -> City:
    """The sample city, loaded once."""
    return load_city("shili")


def services(
    database: Database, home: Path, *, demo: bool = True, base_url: str = BASE, clock: Clock | None = None
) -> Services:
    """Join the parts around a migrated database that may hold notices already."""
    settings = read_settings({}, home=home, city="shili", base_url=base_url, secret_key=KEY)
    return build(settings, clock=clock or FixedClock(NOW), database=database, demo=demo, city=city())


def fill(made: Services) -> None:
    """Take in the sample city's notices."""
    with as_file(files("feeds.cities.shili").joinpath("notices.jsonl")) as path:
        made.ingestor.import_file(path)


@pytest.fixture(scope="session", name="_filled")
def filled(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Path:
    """A database file with the sample city's notices, to copy."""
    folder = tmp_path_factory.mktemp("web")
    shutil.copy(_sqlite_template, folder / "filled.db")
    database = Database(f"sqlite:///{folder / 'filled.db'}")
    fill(services(database, folder))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return folder / "filled.db"


@pytest.fixture
def made(tmp_path: Path, _filled: Path) -> Iterator[Services]:
    """The sample city's demo, with notices, without people."""
    shutil.copy(_filled, tmp_path / "web.db")
    database = Database(f"sqlite:///{tmp_path / 'web.db'}")
    yield services(database, tmp_path)
    database.close()


@pytest.fixture
def client(made: Services) -> Iterator[TestClient]:
    """A visitor with a browser that keeps cookies and reads Chinese."""
    with visitor(made) as browser:
        yield browser


def visitor(made: Services, lang: str = "zh-CN", **options: Any) -> TestClient:
    """Another browser."""
    headers = {"accept-language": lang}
    return TestClient(
        create_app(made), base_url=made.settings.base_url, headers=headers, follow_redirects=False, **options
    )


def fields(html: str, action: str) -> dict[str, Any]:
    """What a browser would send from the form with this action if nobody touched it."""
    for form in LexborHTMLParser(html).css("form"):
        if form.attributes.get("action") == action:
            return _fields(form)
    raise LookupError(action)


def submit(browser: TestClient, page: str, action: str, **changed: Any) -> Any:
    """Open a page and send one of its forms with some fields changed."""
    return browser.post(action, data=fields(browser.get(page).text, action) | changed)


def _fields(form: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in form.css("input, select, textarea"):
        attributes = node.attributes
        name = attributes.get("name")
        if not name or (attributes.get("type") in ("checkbox", "radio") and "checked" not in attributes):
            continue
        if node.tag == "select":
            chosen = node.css_first("option[selected]") or node.css_first("option")
            value = chosen.attributes.get("value", "") if chosen else ""
        else:
            value = node.text() if node.tag == "textarea" else attributes.get("value", "on")
        if name in found:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), value]
        else:
            found[name] = value
    return found


def find(made: Services, words: str) -> Notice:
    """The newest notice whose title holds these words, in any state."""
    states = ("released", "withdrawn", "draft", "in_review", "expired", "purged")
    for item in made.notices.latest(NoticeFilter(states=states), limit=500):
        if words in item.content.title:
            return item
    raise LookupError(words)


def staff(made: Services) -> tuple[tuple[Actor, str], tuple[Actor, str]]:
    """Two editors and their access keys."""
    first = made.staff.add("林编辑", ("writer", "editor"), at=made.clock.now())
    second = made.staff.add("周审核", ("writer", "editor"), at=made.clock.now())
    return first, second


def corrected(made: Services, editor: Actor) -> Notice:
    """The water price of 3.45, corrected to 3.54."""
    price = find(made, "用水第一级价格")
    content: dict[str, Any] = price.content.to_dict()
    for name in ("title", "body"):
        content[name] = content[name].replace("3.45", "3.54")
    wanted = NoticeContent.from_dict(content)
    return made.desk.correct(
        price.id, wanted, major=True, note="价格应为每立方米3.54元，此前误为3.45元。", actor=editor
    )


def draft(made: Services, writer: Actor, title: str = "【示例】关于开放社区自习室的通知") -> Notice:
    """A draft with a theme."""
    content = NoticeContent(
        title=title, body=body_html("本月起，柘渡区三处社区自习室向居民开放。\n\n时间：每天9:00—21:00。")
    )
    return made.desk.write(content, tags=[desk_tag("theme:1102"), desk_tag("theme:11")], actor=writer)


def shelve(made: Services, profile: Profile, limit: int = 8) -> list[int]:
    """Put the latest notices on a profile's shelf, as a selection would."""
    latest = made.notices.latest(NoticeFilter(states=("released",)), limit=limit)
    reasons = (Reason("place", ("place:sl03", "parents"), 0.5), Reason("fresh", (), 0.1))
    picks = tuple(Pick(item.id, item.revision, "new", reasons, 0.6) for item in latest)
    version = made.editions.shelf_version(profile.id)
    made.editions.append(
        [NewEdition(profile.id, "daily", picks, made.clock.now() - timedelta(hours=1), version)]
    )
    return [item.id for item in latest]


def main() -> None:
    """Serve the fixture with a correction, a withdrawal, a draft and two editors."""
    import uvicorn

    from api.ops.migrate import migrate

    home = Path(tempfile.mkdtemp(prefix="mycity-web-"))
    database = Database(f"sqlite:///{home / 'web.db'}")
    migrate(database)
    made = services(database, home, base_url="http://127.0.0.1:8017")
    fill(made)
    (first, key), (_, other) = staff(made)
    corrected(made, first)
    made.desk.withdraw(find(made, "道路命名").id, "附件中一条道路名称有误，将重新发布。", first)
    made.desk.submit(draft(made, first).id, first)
    draft(made, first, "【示例】冬季供水管道防冻提示")
    print(f"http://127.0.0.1:8017  editor keys: {key} {other}", flush=True)
    uvicorn.run(create_app(made), port=8017, log_level="warning")


if __name__ == "__main__":
    main()

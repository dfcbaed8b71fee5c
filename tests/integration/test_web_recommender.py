"""The recommender's page, and feeds that go on while its files are taken away under a running server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.feed_asgi import FeedPath
from api.jobs import joining, watching
from api.jobs.notebook import Selection
from api.jobs.selecting import select_all
from api.ops.metrics import metrics_text
from api.web.app import create_app
from api.web.wording import words
from api.wiring import Services
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from profiles.feedback import FeedbackRow
from profiles.reasons import CODES
from profiles.types import FollowedPlace, Pick, Reason
from recommender.control import Comparison
from recommender.figures import Measures, Parity, Share
from recommender.monitor import BY_RULES, State
from tests import webfixture
from tests.factories import new_notice, profile
from tests.integration.test_web_desk import enter
from tests.integration.test_web_pages import check_bones
from tests.models import small
from tests.webfixture import submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client
NOW = webfixture.NOW
PAGE = "/editor/recommender"


def measures(**changes: Any) -> Measures:
    values: dict[str, Any] = {
        "at": NOW - timedelta(minutes=12), "editions": 4000, "picks": 31_200, "sampled": True,
        "coverage": {7: Share("7", 412, 520), 30: Share("30", 1800, 2100)},
        "by": {
            "theme": (Share("04", 200, 240), Share("10", 150, 260), Share("", 3, 40)),
            "agency": (Share("sl-tax", 40, 44), Share("", 5, 9)),
            "place": (Share("sl01", 90, 120), Share("sl02", 60, 110)),
        },
        "reasons": tuple(Share(code, 100 - n, 2000) for n, code in enumerate((*CODES, "none"))),
        "explored": 0.043,
        "comparison": Comparison(0.113, 0.082, 0.031, 0.011, 0.052, (1810, 402), "better"),
        "deciles": tuple((0.5 * n, 320, 0.03 + 0.012 * n) for n in range(10)),
        "wait_median": 9_400.0,
        "parity": {
            "place": Parity((("sl01", 1.21), ("sl02", 0.74), ("sl", 1.0)), 0.74, 1.21),
            "lang": Parity((("zh-Hans", 1.02), ("en", 0.61)), 0.61, 1.02),
            "home": Parity((("sl01", 1.04), ("sl02", 0.97)), 0.97, 1.04),
            "reader": Parity((("zh-Hans", 1.0),)),
        },
        "known_tags": 0.93,
    }  # fmt: skip
    return Measures(**(values | changes))


def stock(made: Services) -> list[str]:
    """Three models, a selection, and measures."""
    now = made.clock.now()
    first = int((now - small().info.trained_at).total_seconds() // 60)
    versions = [made.models.save(small(minutes=first - 60 * n)) for n in (3, 2, 1)]
    made.notebook.change(
        measures=measures(vocabulary=small().info.vocabulary),
        selection=Selection(now - timedelta(minutes=40), 1200, 830, 5204, 2, 1.4, versions[-1]),
        said="There was nothing new to learn.",
    )
    return versions


@pytest.fixture
def desk(made: Services) -> Iterator[TestClient]:
    (_, key), _ = webfixture.staff(made)
    yield enter(made, key)


def text_of(html: str) -> str:
    body = LexborHTMLParser(html).body
    assert body is not None
    return " ".join(body.text(separator=" ").split())


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("full", [False, True])
def test_the_page_is_whole(made: Services, desk: TestClient, lang: str, full: bool) -> None:
    versions = stock(made) if full else []
    answer = desk.get(f"{PAGE}?lang={lang}")
    assert answer.status_code == 200
    check_bones(answer.text)
    said = text_of(answer.text)
    found = watching.view(made)
    assert found.verdict.sentence(lang) in said
    if full:
        for piece in (versions[-1], "412", "79.2%", "11.30%", "8.20%", "1.21", "0.61", "93.0%", "4.3%"):
            assert piece in said, piece
        assert "5,204" in said and small().vocabulary in said
        assert len(LexborHTMLParser(answer.text).css("svg.tenths rect")) == 10
    else:
        assert words(lang)("watch.not_measured") in said


def test_who_may_see_and_change(made: Services, desk: TestClient, client: TestClient) -> None:
    versions = stock(made)
    assert client.get(PAGE).headers["location"] == "/editor/enter"
    _, key = made.staff.add("写手", ("writer",), at=NOW)
    writer = enter(made, key)
    assert '<button class="small"' not in writer.get(PAGE).text
    token = LexborHTMLParser(writer.get("/editor/").text).css_first("input[name=_form]")
    assert token is not None
    answer = writer.post(PAGE, data={"_form": token.attributes["value"], "version": versions[0]})
    assert answer.status_code == 422 and made.models.current() == versions[-1]
    assert client.post(PAGE, data={"version": versions[0]}).status_code in (303, 403)


def test_an_editor_puts_another_version_in_use(made: Services, desk: TestClient) -> None:
    versions = stock(made)
    assert submit(desk, PAGE, PAGE, version=versions[0]).headers["location"] == f"{PAGE}?done=used"
    assert made.models.current() == versions[0] and watching.view(made).serving == versions[0]
    assert "已换用" in desk.get(f"{PAGE}?done=used").text
    gone = submit(desk, PAGE, PAGE, version="20200101T000000Z-000")
    assert gone.status_code == 422 and words("zh")("watch.no_version") in gone.text


def test_the_desk_tells_an_alarm(made: Services, desk: TestClient) -> None:
    assert "按规则推荐" in desk.get("/editor/").text
    stock(made)
    watching.usable_model(made, NOW)
    assert "推荐正常" in desk.get("/editor/").text
    for path in made.settings.models.glob("*.npz"):
        path.unlink()
    assert "推荐报警" in desk.get("/editor/").text
    assert "Recommender: alarm" in desk.get("/editor/?lang=en").text


def test_every_state_and_reason_has_words() -> None:
    from typing import get_args

    for lang in ("zh", "en"):
        said = words(lang)  # type: ignore[arg-type]
        for state in get_args(State):
            assert said.has(f"watch.state_{state}")
        for code in (*CODES, "none"):
            assert said.has(f"watch.reason_{code}"), code
        for verdict in ("too few", "better", "worse", "no difference"):
            assert said.has(f"watch.verdict_{verdict.replace(' ', '_')}")
    assert set(BY_RULES) < set(get_args(State))


def test_killing_the_model_under_a_running_server(made: Services) -> None:
    """Between two polls the files go; the next selection is by rules, the feed goes on, the alarm is told."""
    made.demo = False  # the demo has no limits of age
    served: Any = FeedPath(made, create_app(made))
    joined = joining.join(
        made, profile(places=(FollowedPlace("sl"),), interests=("theme:04",)), email="a@shili.example",
        verified=True,
    )  # fmt: skip
    version = stock(made)[-1]
    clock = made.clock
    assert isinstance(clock, FixedClock)

    def poll() -> tuple[int, bytes]:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {"type": "http", "method": "GET", "path": f"/f/{joined.feed_token}.atom", "headers": [],
                 "query_string": b"", "client": ("127.0.0.1", 1)}  # fmt: skip
        asyncio.run(served(scope, receive, send))
        return messages[0]["status"], b"".join(one.get("body", b"") for one in messages[1:])

    select_all(made)
    assert poll()[0] == 200
    selection = made.notebook.read().selection
    assert selection is not None and selection.model == version
    draw = random.Random(1)
    for n in range(6):  # whatever goes first, whole or cut
        for path in made.settings.models.glob("2*"):
            path.unlink() if draw.random() < 0.5 else path.write_bytes(path.read_bytes()[: n * 7])
        clock.advance(timedelta(days=1))
        title, doc_no = f"【示例】第{n}号税务通知", f"示税{n}号"
        tags = ("theme:04", "theme:0402")
        new = new_notice(f"k{n}", title=title, doc_no=doc_no, tags=tags, level="city", place="sl",
                         agency=f"示例局{n}", published=clock.now())  # fmt: skip
        made.notices.add([new], at=clock.now())
        assert select_all(made).picks
        status, body = poll()
        assert status == 200 and f"第{n}号税务通知".encode() in body
        selection = made.notebook.read().selection
        assert selection is not None and selection.model == ""
        lines = metrics_text(made).decode().splitlines()
        assert "mycity_model_alarm 1.0" in lines and "mycity_model_in_use 0.0" in lines
    made.models.save(small(minutes=int((clock.now() - small().info.trained_at).total_seconds() // 60)))
    select_all(made)
    assert "mycity_model_alarm 0.0" in metrics_text(made).decode().splitlines()


def test_pages_of_people_load_while_the_model_is_broken(made: Services) -> None:
    stock(made)
    for path in made.settings.models.glob("*.json"):
        path.write_bytes(b"")
    browser = visitor(made)
    assert browser.get("/").status_code == 200 and browser.get("/feeds/all.rss").status_code in (200, 404)
    edition = NewEdition(1, "daily", (Pick(1, 1, "new", (Reason("fresh", (), 0.1),)),), NOW, 0)
    assert made.editions.append([edition]) == [None]  # nobody is there
    made.feedback.record([FeedbackRow(1, 1, "click", NOW)])
    assert watching.watch(made).verdict.state == "broken"

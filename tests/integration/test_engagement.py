"""Opens and clicks over HTTP: only with consent, machines marked, taken back without a trace."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from api.jobs import engagement, joining, signals
from api.jobs.digests import plan
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from delivery.engagement_rules import MOST, SETTLE, Event
from delivery.engagement_store import EngagementStore
from delivery.outbox_tables import delivery_notice
from delivery.types import NewDelivery
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.consent import ConsentStore
from profiles.feedback import FeedbackRow
from profiles.store import ProfileStore
from tests.factories import new_notice, profile
from tests.integration.test_web_pages import check_bones
from tests.unit.test_engagement_rules import PHONE
from tests.webfixture import KEY, NOW, city, shelve, submit

HOUR = timedelta(hours=1)


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Services:
    settings = read_settings({}, home=tmp_path, city="shili", base_url="http://testserver", secret_key=KEY)
    made = build(settings, clock=FixedClock(NOW), database=sqlite, city=city())
    for number in range(3):
        made.notices.add(
            [
                new_notice(
                    f"n{number}",
                    title=f"【示例】公告{number}",
                    tags=("theme:0402",),
                    level="city",
                    place="sl",
                )
            ],
            at=NOW,
        )
    made.notices.add([new_notice("aid", title="【示例】救助", tags=("role:aid",))], at=NOW)
    return made


@pytest.fixture
def joined(services: Services) -> joining.Joined:
    made = joining.join(services, profile(), email="lin@shili.example", verified=True)
    shelve(services, made.profile)
    return made


@pytest.fixture
def mail(services: Services, joined: joining.Joined) -> int:
    """A mail of all four notices, handed over an hour ago."""
    return sent_mail(services, joined.profile.id)


def sent_mail(services: Services, profile_id: int, key: str = "digest:1") -> int:
    row = NewDelivery(key, profile_id, "email", "digest", NOW - HOUR, NOW + HOUR, {"lang": "zh-Hans"})
    services.outbox.enqueue([row], NOW)
    with services.database.write() as connection:
        found = connection.exec_driver_sql(f"SELECT id FROM delivery WHERE dedupe_key = '{key}'").fetchone()
        number = int(found[0])
        carried = [{"delivery_id": number, "notice_id": n, "revision": 1} for n in (1, 2, 3, 4)]
        connection.execute(insert(delivery_notice), carried)
        at = int((NOW - HOUR).timestamp() * 1_000_000)
        connection.exec_driver_sql(f"UPDATE delivery SET state = 'sent', sent_at = {at} WHERE id = {number}")
    return number


@pytest.fixture
def browser(services: Services) -> Iterator[TestClient]:
    with TestClient(
        create_app(services),
        base_url="http://testserver",
        follow_redirects=False,
        headers={"user-agent": PHONE},
    ) as client:
        yield client


def advance(made: Services, by: timedelta) -> None:
    assert isinstance(made.clock, FixedClock)
    made.clock.advance(by)


def acts(made: Services, profile_id: int) -> list[tuple[str, int, str]]:
    return [
        (row.kind, row.notice_id, row.channel)
        for row in made.feedback.of(profile_id)
        if row.kind != "impression"
    ]


def test_a_click_of_somebody_who_agreed_teaches_after_a_minute(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    number = joined.profile.id
    engagement.agree(services, number)
    answer = browser.get(engagement.link_of(services, mail, 2))
    assert (answer.status_code, answer.headers["location"]) == (302, "http://testserver/notices/2")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers
    assert engagement.settle(services) == {"person": 0, "automatic": 0}
    advance(services, SETTLE + timedelta(seconds=1))
    assert engagement.settle(services) == {"person": 1, "automatic": 0}
    assert acts(services, number) == [("click", 2, "email")]
    assert ("theme:0402", 0.5) in services.profiles.get(number).taste
    assert engagement.settle(services) == {"person": 0, "automatic": 0}


def test_the_picture_is_ours_and_teaches_nothing(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    engagement.agree(services, joined.profile.id)
    answer = browser.get(engagement.pixel_of(services, mail))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/gif"
    assert answer.content.startswith(b"GIF89a") and len(answer.content) == 43
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    advance(services, 2 * SETTLE)
    assert engagement.settle(services)["person"] == 1
    (event,) = services.engagement.of(joined.profile.id)
    assert (event.kind, event.notice_id, event.verdict) == ("open", 0, "person")
    assert acts(services, joined.profile.id) == []


def test_without_consent_the_way_is_shown_and_nothing_kept(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    assert browser.get(engagement.link_of(services, mail, 1)).status_code == 302
    assert browser.get(engagement.pixel_of(services, mail)).status_code == 200
    assert services.engagement.of(joined.profile.id) == []
    engagement.agree(services, joined.profile.id)
    from dataclasses import replace

    joining.change(services, replace(joined.profile, personalised=False))
    assert engagement.consenting(services, [joined.profile.id]) == set()
    assert browser.get(engagement.link_of(services, mail, 1)).status_code == 302
    assert services.engagement.of(joined.profile.id) == []


def test_a_click_on_a_sensitive_matter_is_not_kept_and_its_page_asks_first(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    engagement.agree(services, joined.profile.id)
    answer = browser.get(engagement.link_of(services, mail, 4))
    assert answer.headers["location"] == "http://testserver/notices/4?ask=1"
    assert services.engagement.of(joined.profile.id) == []


def test_machines_are_marked_and_never_learned_from(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    number = joined.profile.id
    engagement.agree(services, number)
    links = [engagement.link_of(services, mail, notice) for notice in (1, 2, 3)]
    assert browser.head(links[0]).status_code == 302
    browser.get(links[1], headers={"sec-purpose": "prefetch"})
    browser.get(links[2], headers={"user-agent": "Mimecast URL Protection"})
    browser.get(engagement.pixel_of(services, mail), headers={"user-agent": "Mozilla/5.0"})
    advance(services, HOUR)
    for link in links:  # a filter that follows all of them, dressed as a browser
        browser.get(link)
        advance(services, timedelta(seconds=1))
    advance(services, HOUR)
    assert engagement.settle(services) == {"person": 0, "automatic": 3}
    verdicts = [event.verdict for event in services.engagement.of(number)]
    assert verdicts == ["head", "prefetch", "agent", "proxy", "burst", "burst", "burst"]
    assert acts(services, number) == []
    assert services.engagement.counts()["click"] == {"head": 1, "prefetch": 1, "agent": 1, "burst": 3}


def test_what_comes_with_the_mail_is_early(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    engagement.agree(services, joined.profile.id)
    advance(services, -HOUR + timedelta(seconds=3))
    browser.get(engagement.link_of(services, mail, 1))
    assert [event.verdict for event in services.engagement.of(joined.profile.id)] == ["early"]


@pytest.mark.parametrize("path", ["/r/", "/o/"])
def test_no_other_address_leads_anywhere(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int, path: str
) -> None:
    engagement.agree(services, joined.profile.id)
    end = ".gif" if path == "/o/" else ""
    good = engagement.link_of(services, mail, 1).rpartition("/")[2]
    picture = engagement.pixel_of(services, mail).rpartition("/")[2].removesuffix(".gif")
    wrong = [
        "x", good[:-1] + ("A" if good[-1] != "A" else "B"), picture if path == "/r/" else good,
        engagement.link_of(services, mail, 99).rpartition("/")[2],  # never carried
        engagement.link_of(services, mail + 1, 1).rpartition("/")[2],  # no such delivery
        "https:%2F%2Fevil.example", "x" * 500,
    ]  # fmt: skip
    for code in wrong:
        answer = browser.get(f"{path}{code}{end}?url=https://evil.example/")
        assert answer.status_code == 404, code
        assert "location" not in answer.headers
    assert services.engagement.of(joined.profile.id) == []
    assert browser.post(f"{path}{good}{end}").status_code == 405


def test_taking_it_back_leaves_no_trace(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    number = joined.profile.id
    submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter")
    assert "现在：已关闭" in browser.get("/me/receipts").text
    agreed = submit(browser, "/me/receipts", "/me/receipts", on="1")
    assert "现在：已打开" in browser.get(agreed.headers["location"]).text
    browser.get(engagement.link_of(services, mail, 2))
    advance(services, 2 * SETTLE)
    engagement.settle(services)
    signals.opened(services, number, 1)  # on the page, which the consent is not about
    shown = browser.get("/me/receipts").text
    check_bones(shown)
    assert "像是您本人" in shown
    assert "looks like you" in browser.get("/me/receipts?lang=en").text
    answer = submit(browser, "/me/receipts", "/me/receipts", on="0")
    assert answer.headers["location"] == "/me/receipts?done=off"
    assert services.engagement.of(number) == []
    assert acts(services, number) == [("open", 1, "web")]
    taught = dict(services.profiles.get(number).taste)
    assert taught["theme:0402"] == pytest.approx(0.3, abs=0.01)
    assert [
        item.ended_at is None for item in services.consents.all(number) if item.purpose == "engagement"
    ] == [False]
    assert browser.get(engagement.link_of(services, mail, 2)).status_code == 302  # old mails go on working
    assert services.engagement.of(number) == []


def test_dying_before_the_verdict_is_written_teaches_once(
    services: Services,
    browser: TestClient,
    joined: joining.Joined,
    mail: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engagement.agree(services, joined.profile.id)
    browser.get(engagement.link_of(services, mail, 2))
    advance(services, 2 * SETTLE)
    with monkeypatch.context() as patch:
        patch.setattr(EngagementStore, "judge", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engagement.settle(services)
    assert engagement.settle(services) == {"person": 1, "automatic": 0}
    assert acts(services, joined.profile.id) == [("click", 2, "email")]


def test_one_mail_fills_no_table(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    engagement.agree(services, joined.profile.id)
    for _ in range(MOST + 5):
        engagement.opened(services, engagement.pixel_of(services, mail)[-1:], {}, head=False)
        engagement.followed(
            services, engagement.link_of(services, mail, 1).rpartition("/")[2], {}, head=False
        )
    assert len(services.engagement.of(joined.profile.id)) == MOST


@pytest.mark.parametrize("agreed", [True, False])
def test_a_real_mail_is_counted_with_consent_and_plain_without(
    services: Services, browser: TestClient, joined: joining.Joined, agreed: bool
) -> None:
    number = joined.profile.id
    if agreed:
        engagement.agree(services, number)
    advance(services, HOUR)
    tags = {"tags": ("theme:0402",), "level": "city", "place": "sl"}
    services.notices.add([new_notice("tax", title="【示例】纳税申报提醒", **tags)], at=services.clock.now())
    select_all(services)
    advance(services, timedelta(days=1))
    plan(services)
    assert send(services).sent == 1
    (path,) = (services.settings.captured / "email").glob("*.eml")
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    html = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert ("/r/" in html, "/r/" in text, "/o/" in html) == (agreed, agreed, agreed)
    if not agreed:
        assert "<img" not in html and "/notices/" in html
        return
    (link,) = set(re.findall(r"http://testserver/r/[\w-]+", html))
    (picture,) = set(re.findall(r"http://testserver/o/[\w-]+\.gif", html))
    advance(services, HOUR)
    assert browser.get(link).headers["location"].endswith("/notices/5")
    assert browser.get(picture).status_code == 200
    advance(services, 2 * SETTLE)
    assert engagement.settle(services) == {"person": 2, "automatic": 0}
    assert acts(services, number) == [("click", 5, "email")]


def test_erased_with_its_profile(
    services: Services, browser: TestClient, joined: joining.Joined, mail: int
) -> None:
    engagement.agree(services, joined.profile.id)
    browser.get(engagement.link_of(services, mail, 1))
    held: Any = joining.export(services, joined.profile.id)
    assert [event["notice_id"] for event in held["engagement"]] == [1]
    joining.erase(services, joined.profile.id)
    assert services.engagement.of(joined.profile.id) == []
    assert services.engagement.counts() == {}
    assert browser.get(engagement.link_of(services, mail, 1)).status_code == 302


def test_the_stores(database: Database) -> None:
    people, consents = ProfileStore(database), ConsentStore(database)
    first, second, third = (people.create(profile(**more), at=NOW)[0].id for more in _THREE)
    for number in (first, third):
        consents.give(number, "engagement", at=NOW)
    consents.give(second, "channel:email", at=NOW)
    everybody = [first, second, third, 99]
    assert consents.agreed("engagement", everybody) == {first, third}
    assert consents.observed("engagement", everybody) == {first}
    consents.end(first, "engagement", at=NOW)
    assert consents.agreed("engagement", everybody) == {third}
    store = EngagementStore(database)
    assert store.target(1, 1) is None and store.waiting(NOW + HOUR) == []
    for notice, at in ((5, NOW), (6, NOW + HOUR)):
        assert store.add(Event(0, 9, notice, first, "click", at, "waiting"))
    assert store.waiting(NOW) == [] and store.waiting(NOW + 2 * HOUR) == [9]
    one, two = store.of_delivery(9)
    store.judge({one.id: "person", two.id: "burst"})
    store.judge({one.id: "agent"})  # judged already
    assert [event.verdict for event in store.of(first)] == ["person", "burst"]
    assert store.counts() == {"click": {"person": 1, "burst": 1}}
    assert store.trim(NOW + HOUR) == 1
    assert store.forget(first) == 1 and store.forget(first) == 0
    from profiles.feedback import FeedbackStore

    feedback = FeedbackStore(database)
    feedback.record(
        [
            FeedbackRow(first, 5, "click", NOW, "email"),
            FeedbackRow(first, 5, "click", NOW, "web"),
            FeedbackRow(first, 5, "impression", NOW, "email"),
            FeedbackRow(second, 5, "click", NOW, "email"),
        ]
    )
    assert feedback.forget_acts(first, channel="email") == 1
    assert [(row.kind, row.channel) for row in feedback.of(first)] == [
        ("click", "web"),
        ("impression", "email"),
    ]


_THREE: tuple[dict[str, Any], ...] = ({}, {}, {"personalised": False})


@pytest.mark.parametrize("way", ["forget", "switch off"])
def test_forgetting_forgets_opens_and_clicks_and_never_learns_them_again(
    services: Services, joined: joining.Joined, mail: int, way: str
) -> None:
    number = joined.profile.id
    engagement.agree(services, number)
    services.engagement.add(Event(0, mail, 1, number, "click", NOW, "waiting"))
    if way == "forget":
        joining.forget_behaviour(services, number)
    else:
        joining.change(services, replace(services.profiles.get(number), personalised=False))
        joining.change(services, replace(services.profiles.get(number), personalised=True))
    assert services.engagement.of(number) == []
    advance(services, SETTLE + HOUR)
    engagement.settle(services)
    assert acts(services, number) == []

"""One notice that several sources published: every surface names them all, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from api.digest_views import digest_view
from api.feed_asgi import FeedPath
from api.views import PublicFeed, also_published, public_feed
from api.web.app import create_app
from api.wiring import Services
from delivery.compose import compose_mail
from delivery.content import content_html
from delivery.types import Also
from feeds.catalogue.identity import Likeness
from feeds.catalogue.notices import NewNotice, Notice
from profiles.types import Pick, Profile, Reason
from tests import webfixture
from tests.webfixture import NOW, find

_filled, made = webfixture.filled, webfixture.made


def repeat(made: Services, lead: Notice, slug: str, name: str, url: str = "") -> int:
    at = made.clock.now()
    source = made.sources.add(slug=slug, name=name, url=f"https://{slug}.shili.example/f.xml", at=at)
    like = Likeness(lead.id, "duplicate_of", "same document number")
    [number] = made.notices.add(
        [NewNotice(replace(lead.content, url=url), source.id, "x", likeness=like)], at=at
    )
    return number


@pytest.fixture
def lead(made: Services) -> Notice:
    found = find(made, "用水第一级价格")
    repeat(made, found, "bureau", "示例市水务局", "https://bureau.shili.example/1")
    repeat(made, found, "district", "柘渡区<政府>")
    return found


def test_feed_page_and_mail_name_the_others(made: Services, lead: Notice) -> None:
    view = public_feed(made, PublicFeed("theme", "0304"), lang="zh-Hans", self_url="")
    entry = next(one for one in view.entries if one.notice_id == lead.id)
    assert entry.also == (Also("示例市水务局", "https://bureau.shili.example/1"), Also("柘渡区<政府>"))
    html = content_html(entry, "zh-Hans", "Asia/Shanghai")
    assert '同时发布：<a href="https://bureau.shili.example/1">示例市水务局</a>、柘渡区&lt;政府&gt;' in html
    assert "Also published by: <a" in content_html(entry, "en", "Asia/Shanghai")
    browser = TestClient(create_app(made), base_url="http://testserver")
    assert "同时发布： <a" in browser.get("/?theme=0304", headers={"accept-language": "zh"}).text


def test_a_digest_names_who_had_published_by_then_and_is_the_same_later(made: Services, lead: Notice) -> None:
    profile, _ = made.profiles.create(Profile(0, NOW, roles=("citizen",)), at=NOW)
    until = made.clock.now() + timedelta(minutes=1)
    picks = [Pick(lead.id, lead.revision, "new", (Reason("fresh"),))]

    def mail() -> tuple[str, str]:
        digest = digest_view(
            made, profile, picks, lang="zh-Hans", window=(NOW - timedelta(days=1), until), surface="mail",
            revisions={lead.id: lead.revision},
        )  # fmt: skip
        composed = compose_mail(
            digest, to="a@shili.example", sender="b@shili.example", message_id="<1@x>", date=NOW
        )
        return composed.text, composed.html

    first = mail()
    assert "同时发布：示例市水务局、柘渡区<政府>" in first[0] and "柘渡区&lt;政府&gt;" in first[1]
    made.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
    later = repeat(made, lead, "late", "示例市公报乙")
    assert mail() == first
    made.notices.set_state(later - 1, "withdrawn", at=made.clock.now(), reason="撤回")
    now = also_published(made, [made.notices.get(lead.id)], lang="zh-Hans")[lead.id]
    assert [who.name for who in now] == ["示例市水务局", "示例市公报乙"]


def test_a_feed_in_memory_is_made_again_when_another_source_joins(made: Services) -> None:
    lead = find(made, "用水第一级价格")
    path = FeedPath(made, create_app(made))
    browser = TestClient(path, base_url="http://testserver")
    before = browser.get("/feeds/theme/0304.atom")
    made.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    path._numbers = (-1.0, (0, 0))
    number = repeat(made, lead, "bureau", "示例市水务局")
    made.notices.set_state(number, "withdrawn", at=made.clock.now(), reason="撤回")
    path._numbers = (-1.0, (0, 0))
    repeat(made, lead, "district", "柘渡区政府")
    path._numbers = (-1.0, (0, 0))
    after = browser.get("/feeds/theme/0304.atom")
    assert "同时发布：柘渡区政府" in after.text and "同时发布" not in before.text

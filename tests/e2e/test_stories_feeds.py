"""Story 3: an investor reads English and polls an Atom feed. Everything is real but the clock.

Not built: machine translation. The title in English comes from the publisher and is marked as a translation.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

import feedparser
import pytest

from api.feed_asgi import FeedPath
from api.jobs import joining
from api.jobs.selecting import select_all
from profiles.types import FollowedPlace, Profile
from tests.e2e.test_stories import City, city, local
from tests.integration.test_feed_path import ATOM, ask, behind

__all__ = ["city"]  # the fixture

XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@pytest.mark.parametrize("sent", ["ETag", "date"])
def test_3_investor(city: City, sent: str) -> None:
    services = city.services
    city.clock.at = local("10-11 09:00")
    wish = Profile(
        id=0,
        created_at=city.clock.now(),
        roles=("investor",),
        places=(FollowedPlace("sl"),),
        langs=("en", "zh-Hans"),
        interests=("theme:0403",),
    )
    token = joining.join(services, wish).feed_token
    path, url = FeedPath(services, behind), f"/f/{token}.atom"
    before = ask(path, url)
    assert before.status == 200
    notice = city.release(
        "10-12 11:00",
        title="关于外商投资准入负面清单（征求意见稿）公开征求意见的公告",
        title_en="Consultation on the negative list for foreign investment",
        body="<p>示例市商务局就外商投资准入负面清单公开征求意见，投资者可在截止前提出。</p>",
        agency="示例市商务局",
        url="https://policy.shili.example/consultations/7",
        deadline=local("11-12 17:00"),
        deadline_precision="instant",
    )
    select_all(services)
    answer = ask(path, url, if_none_match=before.headers["etag"])
    assert answer.status == 200
    root = ElementTree.fromstring(answer.body)
    assert root.get(XML_LANG) == "en"
    [entry] = [
        one
        for one in root.findall(f"{ATOM}entry")
        if (one.findtext(f"{ATOM}id") or "").endswith(f"/{notice.id}")
    ]
    title = entry.find(f"{ATOM}title")
    assert title is not None and (title.text or "").endswith("negative list for foreign investment")
    assert (title.get(XML_LANG), entry.get(XML_LANG)) == ("en", "zh-Hans")
    content = entry.findtext(f"{ATOM}content") or ""
    assert "The title is a translation" in content
    assert "Thu 12 Nov 2026, 17:00" in content
    links = {link.get("rel", "alternate"): link.get("href") for link in entry.findall(f"{ATOM}link")}
    assert links["via"] == "https://policy.shili.example/consultations/7"
    assert str(links["alternate"]).endswith(f"/notices/{notice.id}")
    for word in ("investor", "Investor", "投资者”", "role"):
        assert word not in answer.body.decode().replace("投资者可在", "")
    assert not feedparser.parse(answer.body).bozo
    condition = (
        {"if_none_match": answer.headers["etag"]}
        if sent == "ETag"
        else {"if_modified_since": answer.headers["last-modified"]}
    )
    again = ask(path, url, **condition)
    assert (again.status, again.body) == (304, b"")
    # A new poll after a typing error was corrected: nothing moves; after a real change it does.
    city.clock.at = city.clock.now() + timedelta(minutes=30)
    typo = replace(notice.content, body=notice.content.body.replace("可在", "可于"))
    services.desk.correct(notice.id, typo, major=False, note="", actor=city.editor)
    assert ask(path, url, if_none_match=answer.headers["etag"]).status == 304
    longer = replace(typo, deadline=local("11-19 17:00"))
    services.desk.correct(notice.id, longer, major=True, note="延期", actor=city.editor)
    third = ask(path, url, if_none_match=answer.headers["etag"])
    assert third.status == 200
    assert "19 Nov 2026" in third.body.decode()

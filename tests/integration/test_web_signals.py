"""What pages and feeds note of a resident, and that nothing is noted after the switch (story 9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from api.feed_asgi import FeedPath
from api.jobs import joining
from api.web.app import create_app
from api.wiring import Services
from feeds.kernel.db import Database
from feeds.kernel.errors import StorageError
from profiles.editions import NewEdition
from profiles.feedback import SURE, FeedbackRow
from profiles.types import FollowedPlace, Profile, Reason
from tests import webfixture
from tests.webfixture import NOW, fields, shelve, submit

_filled, made = webfixture.filled, webfixture.made


@pytest.fixture
def path(made: Services) -> FeedPath:
    return FeedPath(made, create_app(made))


@pytest.fixture
def browser(made: Services, path: FeedPath) -> Iterator[TestClient]:
    """A browser that reads pages and feeds of one process, as uvicorn serves them."""
    options = {"base_url": made.settings.base_url, "headers": {"accept-language": "zh-CN"}}
    with TestClient(path, follow_redirects=False, **options) as client:  # type: ignore[arg-type]
        yield client


@pytest.fixture
def joined(made: Services) -> joining.Joined:
    wish = Profile(0, NOW, roles=("citizen",), places=(FollowedPlace("sl03", "parents"),))
    return joining.join(made, wish)


@pytest.fixture
def me(made: Services, browser: TestClient, joined: joining.Joined) -> TestClient:
    submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter")
    shelve(made, joined.profile)
    return browser


def noted(made: Services, joined: joining.Joined, kind: str = "impression") -> list[FeedbackRow]:
    return [row for row in made.feedback.of(joined.profile.id) if row.kind == kind]


def on_shelf(made: Services, joined: joining.Joined) -> list[int]:
    return [item.pick.notice_id for item in made.editions.shelf(joined.profile.id).picks]


def test_their_page_is_noted_in_its_order_once_a_day(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    me.get("/me?all=1")
    rows = noted(made, joined)
    assert [row.notice_id for row in rows] == on_shelf(made, joined)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert {(row.channel, row.sure, row.at) for row in rows} == {("web", SURE["web"], NOW)}
    me.get("/me?all=1")
    me.get(f"/f/{joined.feed_token}")  # the same notices, on the same channel
    assert len(noted(made, joined)) == len(rows)


def test_the_feed_page_is_noted_without_a_cookie(
    made: Services, browser: TestClient, joined: joining.Joined
) -> None:
    shelve(made, joined.profile)
    assert browser.get(f"/f/{joined.feed_token}").status_code == 200
    assert {row.channel for row in noted(made, joined)} == {"web"}


def test_what_nobody_looked_at_is_not_noted(
    made: Services, me: TestClient, path: FeedPath, joined: joining.Joined
) -> None:
    me.head("/me")
    me.head(f"/f/{joined.feed_token}")
    me.head(f"/f/{joined.feed_token}.atom")
    me.get("/me", headers={"sec-purpose": "prefetch"})
    assert path.impressions.flush() == 0
    assert noted(made, joined) == []


def test_a_fetched_feed_is_noted_when_the_server_stops(
    made: Services, path: FeedPath, joined: joining.Joined
) -> None:
    shelve(made, joined.profile)
    last = made.editions.shelf(joined.profile.id).picks[-1].pick
    drawn = replace(last, kind="reminder", propensity=0.25)  # a kind that may come again
    version = made.editions.shelf_version(joined.profile.id)
    made.editions.append([NewEdition(joined.profile.id, "daily", (drawn,), NOW, version)])
    with TestClient(path, base_url=made.settings.base_url) as reader:
        tag = reader.get(f"/f/{joined.feed_token}.atom").headers["etag"]
        reader.get(f"/f/{joined.feed_token}.rss")  # the same shelf in another format
        assert reader.get(f"/f/{joined.feed_token}.atom", headers={"if-none-match": tag}).status_code == 304
        assert noted(made, joined) == []
    rows = noted(made, joined)
    assert [row.notice_id for row in rows] == on_shelf(made, joined)
    assert {(row.channel, row.sure) for row in rows} == {("feed", SURE["feed"])}
    assert rows[0].propensity == pytest.approx(0.25, abs=0.001)
    assert {row.propensity for row in rows[1:]} == {1.0}


def test_a_database_that_cannot_be_written_breaks_no_page(
    made: Services, me: TestClient, path: FeedPath, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Database) -> Iterator[object]:
        raise StorageError("The disk is full.")

    number = on_shelf(made, joined)[0]
    assert made.authority and made.year  # fixed in the database at first use
    monkeypatch.setattr(Database, "write", refuse)
    assert me.get("/me").status_code == 200
    assert me.get(f"/notices/{number}?from=me").status_code == 200
    assert me.get(f"/f/{joined.feed_token}.json").status_code == 200
    assert path.impressions.flush() == 0


def test_switched_off_at_once_and_everywhere(
    made: Services, me: TestClient, path: FeedPath, joined: joining.Joined
) -> None:
    """Story 9: newest first at the next poll, nothing inferred or stored; what is held stays theirs."""
    number = on_shelf(made, joined)[2]
    me.get(f"/notices/{number}?from=me")
    before_off = len(made.feedback.of(joined.profile.id))
    assert noted(made, joined, "open")
    assert made.taste.of(joined.profile.id)
    guess = made.editions.shelf(joined.profile.id).picks[5].pick
    guess = replace(guess, kind="reminder", reasons=(Reason("taste", ("theme:0402",), 2.0), Reason("fresh")))
    version = made.editions.shelf_version(joined.profile.id)
    made.editions.append([NewEdition(joined.profile.id, "daily", (guess,), NOW, version)])
    feed = f"/f/{joined.feed_token}.json"
    tag = me.get(feed).headers["etag"]
    assert "您常看" in me.get(feed).text
    form = fields(me.get("/me").text, "/me/feedback")
    waiting = len(made.feedback.of(joined.profile.id))

    submit(me, "/me/settings", "/me/personalise", on="0")
    poll = me.get(feed, headers={"if-none-match": tag})
    assert poll.status_code == 200
    assert "您常看" not in poll.text
    dates = [item["date_published"] for item in poll.json()["items"]]
    assert dates == sorted(dates, reverse=True)

    for page in ("/me", "/me?all=1", f"/f/{joined.feed_token}", f"/notices/{number}?from=me", feed):
        me.get(page)
    for kind in ("like", "save", "less", "hide"):
        me.post("/me/feedback", data=form | {"kind": kind})
    assert path.impressions.flush() == 0  # not even what was buffered before the switch
    assert len(made.feedback.of(joined.profile.id)) == waiting >= before_off

    held = me.get("/me/export").json()
    assert {row["kind"] for row in held["feedback"]} >= {"impression", "open"}
    assert held["taste"]
    assert held["model"] == {"version": "", "identity": None}
    submit(me, "/me/settings", "/me/forget")
    held = me.get("/me/export").json()
    assert (held["feedback"], held["taste"]) == ([], [])

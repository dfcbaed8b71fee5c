"""A resident joins, reads, says what they think, changes, stops, leaves; all without an account."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.jobs import joining
from api.wiring import Services
from profiles.feedback import FeedbackRow
from profiles.tokens import derived_secret
from profiles.types import FollowedPlace, Profile
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import NOW, fields, find, shelve, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client


@pytest.fixture
def joined(made: Services) -> joining.Joined:
    wish = Profile(
        0, NOW, roles=("citizen",), places=(FollowedPlace("sl03", "parents"),), interests=("life:housing",)
    )
    return joining.join(made, wish, email="lin@shili.example")


@pytest.fixture
def me(made: Services, client: TestClient, joined: joining.Joined) -> TestClient:
    """A browser on its own pages, with eight picks on the shelf."""
    submit(client, f"/me/enter/{joined.manage_secret}", "/me/enter")
    shelve(made, joined.profile)
    return client


def acts(made: Services, profile_id: int) -> list[FeedbackRow]:
    """What a resident did, oldest first; that pages were shown is another matter."""
    return [row for row in made.feedback.of(profile_id) if row.kind != "impression"]


def test_an_error_stands_beside_its_field_and_nothing_is_lost(made: Services, client: TestClient) -> None:
    form = fields(client.get("/join").text, "/join")
    form |= {
        "role": ["aid", "citizen"],
        "place_0": "火星区",
        "place_1": "柘南",
        "interest": ["theme:1301", "life:illness"],
    }
    form |= {"email": "nobody", "phone": "12", "hour": "8", "pace": "7"}
    answer = client.post("/join", data=form)
    assert answer.status_code == 422
    check_bones(answer.text)
    page = LexborHTMLParser(answer.text)
    wrong = {str(node.attributes["id"]).removesuffix("-error") for node in page.css("p.error[id]")}
    assert wrong == {"agree", "place_0", "email", "phone"}
    assert len(page.css("#summary li")) == 4
    kept = fields(answer.text, "/join")
    for name in ("place_0", "place_1", "email", "phone", "pace"):
        assert kept[name] == form[name]
    assert sorted(kept["role"]) == ["aid", "citizen"]
    assert sorted(kept["interest"]) == ["life:illness", "theme:1301"]
    assert made.profiles.count() == 0


def test_joining_resolves_old_names_and_shows_the_addresses_once(made: Services, client: TestClient) -> None:
    answer = submit(
        client,
        "/join",
        "/join",
        role=["citizen", "aid"],
        agree="on",
        place_0="盐渚县",
        label_0="parents",
        pick_1="sl0302",
        label_1="work",
        interest=["life:housing"],
        email="Lin@Shili.Example",
        phone="138 0000 0001",
        hour="9",
        pace="5",
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-store"
    check_bones(answer.text)
    assert "禾渚区" in answer.text and "您写的是“盐渚县”" in answer.text
    values = [str(node.attributes["value"]) for node in LexborHTMLParser(answer.text).css("input[readonly]")]
    assert [value.rpartition(".")[2] for value in values[:3]] == ["rss", "atom", "json"]
    token = re.fullmatch(r"http://testserver/f/([\w-]{24})\.rss", values[0])
    secret = re.fullmatch(r"http://testserver/me/enter/([\w-]{24})", values[3])
    assert token and secret
    profile = made.profiles.by_secret(secret[1])
    assert profile is not None and made.tokens.resolve(token[1], now=NOW) == profile.id
    assert profile.places == (FollowedPlace("sl05", "parents"), FollowedPlace("sl0302", "work"))
    assert (profile.pace, set(profile.roles)) == (5, {"citizen", "aid"})
    assert {c.purpose for c in made.consents.all(profile.id)} == {
        "sensitive:role:aid",
        "channel:email",
        "channel:sms",
    }
    live = made.subscriptions.live(profile.id, "email")
    assert live is not None and live.local_hour == 9
    assert LexborHTMLParser(answer.text).css(".pick .reasons li")


def test_a_double_click_makes_one_profile(made: Services, client: TestClient) -> None:
    form = fields(client.get("/join").text, "/join")
    assert client.post("/join", data=form).status_code == 200
    answer = client.post("/join", data=form)
    assert answer.status_code == 409 and "已经为您准备好了" in answer.text
    assert made.profiles.count() == 1


def test_codes_that_are_not_offered_are_left_out(made: Services, client: TestClient) -> None:
    answer = submit(
        client,
        "/join",
        "/join",
        role=["king", "citizen"],
        interest=["theme:9999", "x"],
        language=["xx", "en"],
    )
    assert answer.status_code == 200
    assert made.profiles.get(1).roles == ("citizen",) and made.profiles.get(1).langs == ("en",)


def test_the_feed_page_only_reads_and_keeps_secrets(made: Services, joined: joining.Joined) -> None:
    browser = visitor(made)
    answer = browser.get(f"/f/{joined.feed_token}")
    assert answer.status_code == 200
    check_bones(answer.text)
    assert answer.headers["cache-control"] == "private, no-store"
    assert "noindex" in answer.headers["x-robots-tag"] and 'content="noindex' in answer.text
    assert acts(made, joined.profile.id) == []
    unknown, revoked = browser.get("/f/" + "x" * 24), None
    made.tokens.revoke_all(joined.profile.id, at=NOW)
    revoked = browser.get(f"/f/{joined.feed_token}")
    cut = lambda text: re.sub(r"/f/[\w-]+|\d{16}\.\S+", "", text)  # noqa: E731
    assert (unknown.status_code, revoked.status_code) == (404, 404)
    assert cut(unknown.text) == cut(revoked.text)


def test_a_discreet_feed_page_tells_nothing_sensitive(made: Services) -> None:
    wish = Profile(0, NOW, roles=("aid",), discreet=True)
    joined = joining.join(made, wish)
    text = visitor(made).get(f"/f/{joined.feed_token}").text
    body = LexborHTMLParser(text).css_first("main").text()  # type: ignore[union-attr]
    assert "您关注的事项有更新" in body and "救助" not in body and "需要帮助" not in body
    assert "?ask=1" in text


def test_the_manage_link_asks_for_a_press(made: Services, joined: joining.Joined) -> None:
    browser = visitor(made)
    answer = browser.get(f"/me/enter/{joined.manage_secret}")
    assert answer.status_code == 200 and "set-cookie" not in answer.headers
    wrong = submit(browser, "/me/enter", "/me/enter", secret="nothing")
    assert wrong.status_code == 422 and "这个链接不对" in wrong.text
    check_bones(wrong.text)
    link = f"http://testserver/me/enter/{joined.manage_secret}/ "
    assert submit(browser, "/me/enter", "/me/enter", secret=link).headers["location"] == "/me"
    assert browser.get("/me").status_code == 200
    submit(browser, "/me", "/me/leave")
    assert browser.get("/me").headers["location"] == "/me/enter"


@pytest.mark.parametrize(
    "path", ["/me", "/me/edit", "/me/settings", "/me/erase", "/me?lang=en", "/me/settings?lang=en"]
)
def test_own_pages_have_their_bones_and_are_never_stored(me: TestClient, path: str) -> None:
    answer = me.get(path)
    check_bones(answer.text)
    assert answer.headers["cache-control"] == "private, no-store"


def test_feedback_is_kept_with_its_position(made: Services, me: TestClient, joined: joining.Joined) -> None:
    first, second = (item.pick.notice_id for item in made.editions.shelf(joined.profile.id).picks[:2])
    form = fields(me.get("/me").text, "/me/feedback")
    for notice, kind in ((first, "like"), (second, "less"), (second, "hide")):
        assert me.post("/me/feedback", data=form | {"notice": str(notice), "kind": kind}).status_code == 303
    rows = acts(made, joined.profile.id)
    assert [(r.notice_id, r.kind, r.position) for r in rows] == [
        (first, "like", 1),
        (second, "less", 2),
        (second, "hide", 2),
    ]
    page = me.get("/me").text
    assert f'id="n{second}"' not in page and f'id="n{first}"' in page
    assert f'href="/notices/{second}"' in page  # among the hidden ones, so a slip can be undone
    me.post("/me/feedback", data=form | {"notice": "999", "kind": "like"})  # not theirs
    me.post("/me/feedback", data=form | {"notice": str(first), "kind": "adore"})
    assert len(acts(made, joined.profile.id)) == 3


def test_mourning_disaster_and_penalty_take_no_likes(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    from profiles.editions import NewEdition
    from profiles.types import Pick, Reason

    warning = find(made, "台风红色预警")
    picks = (Pick(warning.id, 1, "new", (Reason("fresh"),)),)
    version = made.editions.shelf_version(joined.profile.id)
    made.editions.append([NewEdition(joined.profile.id, "alert", picks, made.clock.now(), version)])
    entry = LexborHTMLParser(me.get("/me").text).css_first(f"#n{warning.id}")
    assert entry is not None
    assert [node.attributes["value"] for node in entry.css("button[name=kind]")] == ["save", "hide"]


def test_only_the_holder_of_the_profile_leaves_a_trace_by_opening(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    picked = made.editions.shelf(joined.profile.id).picks[0].pick.notice_id
    visitor(made).get(f"/notices/{picked}?from=me")
    me.get(f"/notices/{picked}")
    me.head(f"/notices/{picked}?from=me")
    me.get(f"/notices/{picked}?from=me", headers={"sec-purpose": "prefetch"})
    me.get(f"/notices/{picked}?from=me", headers={"sec-fetch-site": "cross-site"})
    assert acts(made, joined.profile.id) == []
    me.get(f"/notices/{picked}?from=me")
    me.get(f"/notices/{picked}?from=me")  # a reload
    assert [(r.kind, r.position) for r in acts(made, joined.profile.id)] == [("open", 1)]


def test_switched_off_nothing_is_stored(made: Services, me: TestClient, joined: joining.Joined) -> None:
    form = fields(me.get("/me").text, "/me/feedback")
    submit(me, "/me/settings", "/me/personalise", on="0")
    assert not made.profiles.get(joined.profile.id).personalised
    me.post("/me/feedback", data=form | {"kind": "like"})
    me.get(f"/notices/{form['notice']}?from=me")
    assert acts(made, joined.profile.id) == []
    page = me.get("/me").text
    assert "个性化已关闭" in page and "/me/feedback" not in page
    submit(me, "/me/settings", "/me/personalise", on="1")
    assert made.profiles.get(joined.profile.id).personalised


def test_a_tag_is_muted_with_one_click_and_allowed_again(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    form = fields(me.get("/me").text, "/me/mute")
    assert (
        me.post("/me/mute", data=form | {"tag": "theme:1301"}).headers["location"]
        == "/me?done=mute&tag=theme:1301"
    )
    assert made.profiles.get(joined.profile.id).mutes == ("theme:1301",)
    page = me.get("/me?done=mute&tag=theme:1301").text
    assert "恢复“卫生”" in page
    me.post("/me/mute", data=fields(page, "/me/mute") | {"tag": "theme:1301", "undo": "1"})
    assert made.profiles.get(joined.profile.id).mutes == ()
    assert me.post("/me/mute", data=form | {"tag": "theme:9999"}).status_code == 422


def test_choices_are_edited_and_consent_ends_with_what_it_was_for(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    form = fields(me.get("/me/edit").text, "/me/edit")
    assert form["pick_0"] == "sl03" and form["label_0"] == "parents" and form["interest"] == "life:housing"
    bad = me.post("/me/edit", data=form | {"role": "aid"})
    assert bad.status_code == 422 and "勾选同意" in bad.text
    assert me.post("/me/edit", data=form | {"role": "aid", "agree": "on", "pace": "3"}).status_code == 303
    profile = made.profiles.get(joined.profile.id)
    assert (profile.roles, profile.pace, profile.places) == (("aid",), 3, joined.profile.places)
    me.post("/me/edit", data=fields(me.get("/me/edit").text, "/me/edit") | {"role": "citizen"})
    assert [
        c.ended_at is not None for c in made.consents.all(profile.id) if c.purpose == "sensitive:role:aid"
    ] == [True]


def test_a_new_address_ends_the_old_one_now_or_later(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    later = submit(me, "/me/settings", "/me/address", old="later")
    value = LexborHTMLParser(later.text).css_first("#feedrss").attributes["value"]  # type: ignore[union-attr]
    assert "30天后失效" in later.text
    assert made.tokens.resolve(joined.feed_token, now=NOW) == joined.profile.id
    second = str(value).rpartition("/")[2].removesuffix(".rss")
    submit(me, "/me/settings", "/me/address", old="now")
    assert made.tokens.resolve(second, now=NOW) is None


def test_mail_and_text_messages_start_change_and_stop(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    form = fields(me.get("/me/settings").text, "/me/messages")
    bad = me.post("/me/messages", data=form | {"channel": "sms", "address": "abc"})
    assert bad.status_code == 422 and "这不像手机号" in bad.text and 'value="abc"' in bad.text
    me.post("/me/messages", data=form | {"channel": "sms", "address": "13800000001", "hour": "10"})
    live = made.subscriptions.live(joined.profile.id, "sms")
    assert live is not None and live.local_hour == 10
    assert "+8613800000001" in me.get("/me/settings").text
    me.post("/me/messages", data=form | {"channel": "email", "stop": "1"})
    assert made.subscriptions.live(joined.profile.id, "email") is None
    assert made.contacts.get(joined.profile.id, "email") is None
    assert me.post("/me/messages", data=form | {"channel": "pigeon"}).status_code == 422


def test_export_shows_everything_and_forget_and_erase_remove_it(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    form = fields(me.get("/me").text, "/me/feedback")
    me.post("/me/feedback", data=form | {"kind": "hide"})
    answer = me.get("/me/export")
    assert answer.headers["content-disposition"].startswith("attachment")
    held = json.loads(answer.text)
    assert held["contacts"][0]["address"] == "lin@shili.example"
    assert held["profile"]["roles"] == ["citizen"] and held["feedback"] and held["editions"]
    submit(me, "/me/settings", "/me/forget")
    assert acts(made, joined.profile.id) == []
    unsure = submit(me, "/me/erase", "/me/erase")
    assert unsure.status_code == 422 and made.profiles.count() == 1
    gone = submit(me, "/me/erase", "/me/erase", sure="on")
    assert gone.status_code == 200 and "已全部删除" in gone.text
    assert made.profiles.count() == 0
    assert me.get("/me").headers["location"] == "/me/enter"
    assert me.get(f"/f/{joined.feed_token}").status_code == 404


def test_a_stop_address_asks_first_and_acts_on_a_post(made: Services, joined: joining.Joined) -> None:
    browser = visitor(made)
    token = joining.stop_token(made, joined.profile.id, "email", at=NOW)
    for method in ("GET", "HEAD"):
        assert browser.request(method, f"/u/{token}").status_code == 200
    assert made.subscriptions.live(joined.profile.id, "email") is not None
    check_bones(browser.get(f"/u/{token}").text)
    assert "紧急预警也不再通过" in browser.get(f"/u/{token}").text
    english = browser.get(f"/u/{token}", headers={"accept-language": "en"}).text
    assert "Urgent warnings no longer come by" in english
    headers = {"origin": "https://mail.example", "sec-fetch-site": "cross-site"}
    answer = browser.post(f"/u/{token}", data={"List-Unsubscribe": "One-Click"}, headers=headers)
    assert answer.status_code == 200 and "已经停止" in answer.text
    assert made.subscriptions.live(joined.profile.id, "email") is None
    assert made.contacts.get(joined.profile.id, "email") is None
    assert browser.post(f"/u/{token}").status_code == 200  # twice is fine
    assert browser.post("/u/unknown").status_code == 404
    assert made.tokens.resolve(joined.feed_token, now=NOW) == joined.profile.id  # the feed goes on


def test_each_other_way_has_a_line_of_its_own_in_the_settings(me: TestClient) -> None:
    text = me.get("/me/settings").text
    check_bones(text)
    for way in ("channels", "webhook", "copies", "receipts"):
        assert re.search(rf'<li><a href="/me/{way}">[^<]+</a><br><span class="hint">[^<]+</span></li>', text)


def test_an_address_is_confirmed_by_a_press_and_stays_so(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = joined.profile.id
    token = derived_secret(made.key, "confirm", number, "email", "lin@shili.example")
    assert "我们发了一封确认信" in me.get("/me/settings").text
    check_bones(me.get(f"/c/{token}").text)
    assert made.contacts.get(number, "email").verified_at is None  # type: ignore[union-attr]
    form = me.get(f"/c/{token}").text
    hidden = LexborHTMLParser(form).css_first("main input[name=_form]").attributes["value"]  # type: ignore[union-attr]
    assert me.post(f"/c/{token}").status_code == 403
    assert "已确认" in me.post(f"/c/{token}", data={"_form": hidden}).text
    settings = me.get("/me/settings").text
    assert "我们发了一封确认信" not in settings
    sent = fields(settings, "/me/messages") | {
        "channel": "email",
        "address": "lin@SHILI.example",
        "hour": "11",
    }
    me.post("/me/messages", data=sent)
    assert made.contacts.get(number, "email").verified_at is not None  # type: ignore[union-attr]
    me.post("/me/messages", data=sent | {"address": "other@shili.example"})
    assert made.contacts.get(number, "email").verified_at is None  # type: ignore[union-attr]
    assert (
        me.post(f"/c/{token}", data={"_form": hidden}).status_code == 404
    )  # of an address that was replaced
    assert me.get("/c/unknown").status_code == 404


def test_another_profile_is_out_of_reach(made: Services, me: TestClient, joined: joining.Joined) -> None:
    other = joining.join(made, replace(joined.profile, roles=("tourist",)))
    theirs: list[Any] = made.editions.shelf(other.profile.id).picks  # type: ignore[assignment]
    mine = {item.pick.notice_id for item in made.editions.shelf(joined.profile.id).picks}
    form = fields(me.get("/me").text, "/me/feedback")
    for item in theirs:
        if item.pick.notice_id not in mine:
            me.post("/me/feedback", data=form | {"notice": str(item.pick.notice_id), "kind": "like"})
    assert acts(made, joined.profile.id) == [] and acts(made, other.profile.id) == []

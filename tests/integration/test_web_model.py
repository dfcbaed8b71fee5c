"""What the system knows of a resident: seen, changed and deleted by them; opinions, saved notices, reset."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.jobs import holding, joining
from api.wiring import Services
from profiles.editions import NewEdition
from profiles.feedback import FeedbackRow
from profiles.taste import TasteTag
from profiles.types import FollowedPlace, Pick, Profile, Reason
from recommender.model_file import Model, ModelInfo
from recommender.types import FeatureSpace
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import NOW, fields, find, shelve, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client


@pytest.fixture
def joined(made: Services) -> joining.Joined:
    wish = Profile(
        0, NOW, roles=("citizen",), places=(FollowedPlace("sl03", "parents"),), interests=("life:housing",),
        mutes=("theme:1301",),
    )  # fmt: skip
    return joining.join(made, wish)


@pytest.fixture
def me(made: Services, client: TestClient, joined: joining.Joined) -> TestClient:
    submit(client, f"/me/enter/{joined.manage_secret}", "/me/enter")
    shelve(made, joined.profile)
    return client


def acts(made: Services, profile_id: int) -> list[tuple[int, str, float]]:
    """What a resident did, oldest first; that pages were shown is another matter."""
    rows = made.feedback.of(profile_id)
    return [(row.notice_id, row.kind, row.value) for row in rows if row.kind != "impression"]


def say(browser: TestClient, notice: int, kind: str, **more: str) -> Any:
    """Press a button on the page of picks."""
    form = fields(browser.get("/me").text, "/me/feedback")
    return browser.post("/me/feedback", data=form | {"notice": str(notice), "kind": kind} | more)


def likable(made: Services, profile: Profile) -> list[int]:
    """Picks that may be liked and teach something."""
    ids = [item.pick.notice_id for item in made.editions.shelf(profile.id).picks]
    notices = made.notices.many(ids)
    return [
        number
        for number in ids
        if holding.takes(notices[number], "like") and holding.lessened(made, profile, notices[number])
    ]


def trained(made: Services, profile: Profile, at: Any = NOW) -> Model:
    """A model in use that has a feature of its own for this resident."""
    info: dict[str, Any] = {
        "version": "20261012T000000Z",
        "trained_at": at,
        "rows": 60,
        "users": 2,
        "items": 9,
    }
    info |= {"simulated_share": 0.9, "seed": 1, "dim": 2, "epochs": 1}
    model = Model(
        info=ModelInfo(**info),
        users=FeatureSpace.of((f"id:{profile.id}", "id:999", "role:citizen")),
        items=FeatureSpace.of(("theme:0402", "theme:1301", "w:x")),
        user_vectors=np.asarray([[1, 0], [0, 1], [0, 0]], np.float32),
        user_biases=np.zeros(3, np.float32),
        item_vectors=np.asarray([[1, 0], [0, 1], [5, 5]], np.float32),
        item_biases=np.zeros(3, np.float32),
    )
    made.models.save(model)
    return model


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_page_says_everything_that_is_held(
    made: Services, me: TestClient, joined: joining.Joined, lang: str
) -> None:
    first, second = likable(made, joined.profile)[:2]
    say(me, first, "like"), say(me, second, "save")
    made.taste.set(joined.profile.id, "theme:0805", -2.0)
    made.taste.drop(joined.profile.id, "type:news")
    trained(made, joined.profile)
    text = me.get(f"/me/model?lang={lang}").text
    check_bones(text)
    page = LexborHTMLParser(text)
    said = page.css_first("main").text()  # type: ignore[union-attr]
    label = lambda tag: made.city.label(tag, lang)  # noqa: E731
    for tag in ("role:citizen", "place:sl03", "life:housing", "theme:1301", "theme:0805", "type:news"):
        assert label(tag) in said, tag
    for item in made.taste.of(joined.profile.id):
        assert label(item.tag) in said
    assert label("theme:0402") in said  # what the model leans to
    assert ("打开" if lang == "zh" else "Useful") in said
    assert len(page.css(".latest li")) == 2
    assert page.css("svg[aria-hidden=true]") and not page.css("svg:not([aria-hidden])")


def test_a_stranger_sees_none_of_it(made: Services, me: TestClient, joined: joining.Joined) -> None:
    """Neither who has not entered, nor another resident on pages of their own."""
    for path in ("/me/model", "/me/saved"):
        answer = visitor(made).get(path)
        assert answer.headers["location"] == "/me/enter" and not answer.text
        assert me.get(path).headers["cache-control"] == "private, no-store"
    first = joined.profile
    made.taste.set(first.id, "theme:0805", 2.0)
    number = likable(made, first)[0]
    say(me, number, "save")
    other = joining.join(made, Profile(0, NOW, roles=("citizen",), places=(FollowedPlace("sl03"),)))
    stranger = visitor(made)
    submit(stranger, f"/me/enter/{other.manage_secret}", "/me/enter")
    assert 'id="tag-theme-0805"' in me.get("/me/model").text
    assert 'id="tag-theme-0805"' not in stranger.get("/me/model").text
    assert f'id="n{number}"' in me.get("/me/saved").text
    assert f'id="n{number}"' not in stranger.get("/me/saved").text
    deleting = {"tag": "theme:0805", "do": "delete"}
    stranger.post("/me/taste", data=fields(stranger.get("/me/model").text, "/me/taste") | deleting)
    assert TasteTag("theme:0805", 2.0, own=True) in made.taste.of(first.id)
    assert json.loads(stranger.get("/me/export").text)["taste"] == []


def test_a_tag_is_set_stronger_weaker_deleted_and_allowed_again(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = joined.profile.id
    made.taste.set(number, "theme:0805", 1.0)
    form = fields(me.get("/me/model").text, "/me/taste") | {"tag": "theme:0805"}

    def now() -> dict[str, TasteTag]:
        return {item.tag: item for item in made.taste.of(number)}

    answer = me.post("/me/taste", data=form | {"do": "stronger"})
    assert answer.headers["location"] == "/me/model?done=stronger&tag=theme:0805#tag-theme-0805"
    assert now()["theme:0805"] == TasteTag("theme:0805", 2.0, own=True)
    assert "调高了" in me.get("/me/model?done=stronger&tag=theme:0805").text
    for _ in range(3):
        me.post("/me/taste", data=form | {"do": "weaker"})
    assert now()["theme:0805"].weight == -2.0  # 2, 1, -1, -2: nought means "never", so it is left out
    me.post("/me/taste", data=form | {"do": "delete"})
    assert now()["theme:0805"] == TasteTag("theme:0805", 0.0, own=True)
    page = LexborHTMLParser(me.get("/me/model").text)
    assert [node.attributes["value"] for node in page.css("button[value=release]")] == ["release"]
    me.post("/me/taste", data=form | {"do": "release"})
    assert "theme:0805" not in now()
    me.post("/me/taste", data=form | {"do": "add", "weight": "3"})
    assert now()["theme:0805"] == TasteTag("theme:0805", 3.0, own=True)
    assert me.post("/me/taste", data=form | {"do": "stronger", "tag": "theme:0402"}).status_code == 303
    assert "theme:0402" not in now()
    assert me.post("/me/taste", data=form | {"do": "explode"}).status_code == 422


@pytest.mark.parametrize(
    ("tag", "weight"),
    [("life:illness", "2"), ("theme:9999", "2"), ("role:citizen", "2"), ("word:电梯", "2"),
     ("theme:0402", "0"), ("theme:0402", "nan"), ("theme:0402", "99"), ("x" * 500, "2")],
)  # fmt: skip
def test_what_may_not_be_added_is_refused_with_a_sentence(
    made: Services, me: TestClient, joined: joining.Joined, tag: str, weight: str
) -> None:
    form = fields(me.get("/me/model").text, "/me/taste")
    answer = me.post("/me/taste", data=form | {"do": "add", "tag": tag, "weight": weight})
    assert answer.status_code == 422 and "这一项加不了" in answer.text
    check_bones(answer.text)
    assert made.taste.of(joined.profile.id) == []


def test_a_sensitive_tag_takes_a_weight_only_with_its_consent(made: Services) -> None:
    wish = Profile(0, NOW, interests=("life:illness",), discreet=True)
    joined = joining.join(made, wish)
    profile = made.profiles.get(joined.profile.id)
    holding.set_taste(made, profile, "life:illness", 2.0)
    browser = visitor(made)
    submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter")
    page = LexborHTMLParser(browser.get("/me/model").text)
    name = made.city.label("life:illness", "zh")
    open_text = page.css_first("main")
    assert open_text is not None
    for closed in open_text.css("details"):
        closed.decompose()
    assert name not in open_text.text()  # who looks over the shoulder sees it only after a click
    assert name in browser.get("/me/model").text
    # It ends with what it was for.
    joining.change(made, replace(profile, interests=()))
    assert made.taste.of(profile.id) == []


def test_less_says_what_changes_and_can_be_undone_or_muted(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    answer = say(me, number, "less")
    assert answer.headers["location"] == f"/me?done=less&n={number}#n{number}"
    page = LexborHTMLParser(me.get(answer.headers["location"]).text)
    check_bones(page.html or "")
    done = page.css_first(f"#n{number} .done")
    assert done is not None and "下一期会少些" in done.text()
    learned = {item.tag: item.weight for item in made.taste.of(joined.profile.id)}
    assert learned and all(weight < 0 for weight in learned.values())
    rarer = holding.lessened(made, joined.profile, made.notices.get(number))
    assert rarer and set(rarer) <= set(learned)
    assert all(made.city.label(tag, "zh") in done.text() for tag in rarer)
    mutes = [node.attributes["value"] for node in done.css("form[action='/me/mute'] button")]
    assert mutes == [tag for tag in rarer if tag != "theme:1301"]
    say(me, number, "-less")
    assert acts(made, joined.profile.id) == []
    assert all(abs(item.weight) < 0.05 for item in made.taste.of(joined.profile.id))


def test_less_promises_nothing_about_tags_that_the_resident_set(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    notice = made.notices.get(number)
    everything = {f"{tag.kind}:{tag.code}" for tag in notice.tags}
    for tag in everything:
        made.taste.set(joined.profile.id, tag, 1.0)
    before = made.taste.of(joined.profile.id)
    text = me.get(say(me, number, "less").headers["location"]).text
    assert "下一期会少些" not in text and "系统不从这条学习" in text
    assert made.taste.of(joined.profile.id) == before


def test_what_was_said_later_stands_in_place_of_less(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    say(me, number, "less"), say(me, number, "save")
    said = holding.said(made, joined.profile)[number]
    assert (said.opinion, said.saved) == ("", True)
    say(me, number, "like"), say(me, number, "rating", value="5")
    said = holding.said(made, joined.profile)[number]
    assert (said.opinion, said.saved, said.rating) == ("like", True, 5)


def test_a_pressed_button_is_pressed_out_again(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    say(me, number, "like")
    [pressed] = LexborHTMLParser(me.get("/me").text).css(f"#n{number} button[aria-pressed=true]")
    assert pressed.attributes["value"] == "-like"
    say(me, number, "-like")
    assert acts(made, joined.profile.id) == []
    assert not LexborHTMLParser(me.get("/me").text).css("button[aria-pressed=true]")


def test_what_is_hidden_goes_and_is_put_back(made: Services, me: TestClient, joined: joining.Joined) -> None:
    number = likable(made, joined.profile)[0]
    assert say(me, number, "hide").headers["location"] == f"/me?done=hide&n={number}"
    page = LexborHTMLParser(me.get(f"/me?done=hide&n={number}").text)
    assert not page.css(f"#n{number}") and "不再显示" in page.css_first(".done").text()  # type: ignore[union-attr]
    say(me, number, "-hide")
    assert LexborHTMLParser(me.get("/me").text).css(f"#n{number}")


def test_saved_notices_have_a_page_and_leave_it(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    first, second = likable(made, joined.profile)[:2]
    check_bones(me.get("/me/saved").text)
    say(me, first, "save"), made.clock.advance(timedelta(minutes=1)), say(me, second, "save")  # type: ignore[attr-defined]
    text = me.get("/me/saved").text
    check_bones(text)
    shown = [str(node.attributes["id"]) for node in LexborHTMLParser(text).css(".notice")]
    assert shown == [f"n{second}", f"n{first}"]
    form = fields(text, "/me/feedback")
    answer = me.post("/me/feedback", data=form | {"kind": "-save"})
    assert answer.headers["location"].startswith("/me/saved?done=undone")
    assert holding.saved(made, joined.profile) == [first]
    made.notices.set_state(first, "purged", at=NOW)
    assert "还没有收藏" in me.get("/me/saved").text


def test_the_notice_page_gives_its_holder_reasons_buttons_and_a_rating(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    assert "/me/feedback" not in visitor(made).get(f"/notices/{number}").text
    answer = me.get(f"/notices/{number}?from=me")
    check_bones(answer.text)
    assert answer.headers["cache-control"] == "private, no-store"
    forms = LexborHTMLParser(answer.text).css("form[action='/me/feedback']")
    assert [len(form.css("button")) for form in forms] == [4, 5]
    rate = {"_form": forms[1].css_first("[name=_form]").attributes["value"], "notice": str(number)}  # type: ignore[union-attr]
    rate |= {"back": "notice", "kind": "rating", "value": "4"}
    answer = me.post("/me/feedback", data=rate)
    assert answer.headers["location"] == f"/notices/{number}?done=rating&n={number}#mine"
    assert (number, "rating", 4.0) in acts(made, joined.profile.id)
    pressed = LexborHTMLParser(me.get(f"/notices/{number}").text).css("#mine button[aria-pressed=true]")
    assert [node.attributes["value"] for node in pressed] == ["4"]
    for value in ("0", "6", "", "x", "45", "²"):
        me.post("/me/feedback", data=rate | {"value": value})
    assert [row for row in acts(made, joined.profile.id) if row[1] == "rating"] == [(number, "rating", 4.0)]
    other = find(made, "停水通告").id
    if other not in made.editions.shelf(joined.profile.id).picked:
        assert "/me/feedback" not in me.get(f"/notices/{other}").text  # not one of theirs


def test_mourning_and_disaster_take_no_opinion_on_any_way(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    warning = find(made, "台风红色预警")
    picks = (Pick(warning.id, 1, "new", (Reason("fresh"),)),)
    version = made.editions.shelf_version(joined.profile.id)
    made.editions.append([NewEdition(joined.profile.id, "alert", picks, made.clock.now(), version)])
    buttons = LexborHTMLParser(me.get(f"/notices/{warning.id}").text).css("#mine button")
    assert [node.attributes["value"] for node in buttons] == ["save", "hide"]
    key = {"authorization": f"Bearer {joined.manage_secret}"}
    for kind in ("like", "less", "rating"):
        say(me, warning.id, kind, value="5")
        body = {"notice_id": warning.id, "kind": kind} | ({"value": 5} if kind == "rating" else {})
        assert me.post("/api/v1/profile/feedback", headers=key, json=body).status_code == 422
    assert acts(made, joined.profile.id) == []


def test_buttons_stand_on_the_feed_page_only_for_who_entered(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    path = f"/f/{joined.feed_token}"
    assert "/me/feedback" not in visitor(made).get(path).text
    text = me.get(path).text
    check_bones(text)
    number = likable(made, joined.profile)[0]
    answer = me.post(
        "/me/feedback", data=fields(text, "/me/feedback") | {"notice": str(number), "kind": "like"}
    )
    assert answer.headers["location"] == f"{path}?done=like&n={number}#n{number}"
    assert "记下了" in me.get(answer.headers["location"]).text
    form = fields(text, "/me/feedback") | {"notice": str(number), "kind": "save"}
    for foreign in ("f/" + "x" * 24, "//evil.example", "https://evil.example", "f/../../x"):
        assert me.post("/me/feedback", data=form | {"back": foreign}).headers["location"].startswith("/me?")
    other = joining.join(made, Profile(0, NOW, roles=("tourist",)))
    assert "/me/feedback" not in me.get(f"/f/{other.feed_token}").text  # somebody else's feed


def test_reasons_have_bars_as_long_as_they_count(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = find(made, "停水通告").id
    reasons = (
        Reason("learned", ("role:citizen",), 0.5),
        Reason("interest", ("theme:0805",), 2.0),
        Reason("fresh", (), 1.0),
    )
    version = made.editions.shelf_version(joined.profile.id)
    picks = (Pick(number, 1, "new", reasons, 3.7),)
    made.editions.append([NewEdition(joined.profile.id, "daily", picks, made.clock.now(), version)])
    lines = LexborHTMLParser(me.get("/me").text).css(f"#n{number} .why-bars li")
    assert [line.css_first(".fill").attributes["width"] for line in lines] == ["100", "50", "25"]  # type: ignore[union-attr]
    assert ["inferred" in str(line.attributes.get("class")) for line in lines] == [False, False, True]
    assert [line.css_first(".points").text() for line in lines] == ["2.0分", "1.0分", "0.5分"]  # type: ignore[union-attr]
    submit(me, "/me/model", "/me/personalise", on="0")
    page = LexborHTMLParser(me.get("/me?all=1").text)
    assert len(page.css(f"#n{number} .reasons li")) == 2 and not page.css(".why-bars")


def test_switched_off_from_the_page_at_once_newest_first_and_nothing_kept(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    say(me, number, "like")
    form = fields(me.get("/me").text, "/me/feedback") | {"notice": str(number), "kind": "save"}
    answer = submit(me, "/me/model", "/me/personalise", on="0")
    assert answer.headers["location"] == "/me/model?done=off"
    text = me.get("/me/model?done=off").text
    check_bones(text)
    assert "个性化：已关闭" in text and 'value="stronger"' not in text and 'value="delete"' in text
    before = acts(made, joined.profile.id)
    me.post("/me/feedback", data=form)
    me.get(f"/notices/{number}?from=me")
    assert acts(made, joined.profile.id) == before
    taste = fields(text, "/me/taste") | {"do": "add", "tag": "theme:0805", "weight": "2"}
    assert me.post("/me/taste", data=taste).status_code == 422
    order = [str(node.attributes["id"])[1:] for node in LexborHTMLParser(me.get("/me").text).css(".pick")]
    fresh = [made.notices.get(int(item)).fresh_at for item in order]
    assert fresh == sorted(fresh, reverse=True)
    submit(me, "/me/model", "/me/personalise", on="1")
    assert made.profiles.get(joined.profile.id).personalised


def test_single_events_are_deleted_with_what_they_taught(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    say(me, number, "like")
    assert made.taste.of(joined.profile.id)
    form = fields(me.get("/me/model").text, "/me/events")
    answer = me.post("/me/events", data=form | {"kind": "like"})
    assert answer.headers["location"] == "/me/model?done=event#events"
    assert acts(made, joined.profile.id) == []
    for odd in ({"kind": "impression"}, {"kind": "x"}, {"notice": "²"}, {"notice": "9" * 40}):
        assert me.post("/me/events", data=form | odd).status_code == 303


def test_reset_clears_what_was_learned_and_keeps_what_was_chosen(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    say(me, number, "like"), say(me, number, "save")
    made.taste.set(joined.profile.id, "theme:0805", 2.0)
    trained(made, joined.profile)
    answer = submit(me, "/me/model", "/me/forget")
    assert answer.headers["location"] == "/me/model?done=forgot"
    assert made.taste.of(joined.profile.id) == [TasteTag("theme:0805", 2.0, own=True)]
    assert made.feedback.of(joined.profile.id) == []
    model = made.models.load_current()
    assert model is not None and f"id:{joined.profile.id}" not in model.users.columns
    held = holding.held(made, made.profiles.get(joined.profile.id))
    assert not held.model.own and held.model.missing == 5 and held.counts.total == 0
    assert made.profiles.get(joined.profile.id).interests == ("life:housing",)


def test_control_and_trials_are_disclosed_and_spare_who_must_be_spared(made: Services, tmp_path: Any) -> None:
    made.settings = made.settings.model_copy(update={"control_share": 0.2, "explore": True})
    wish = Profile(0, NOW, roles=("citizen",))
    people = [made.profiles.create(wish, at=NOW)[0] for _ in range(60)]
    views = [holding.held(made, person) for person in people]
    inside = sum(view.in_control for view in views)
    assert 0 < inside < 30
    assert all(view.tried != view.in_control for view in views)
    for spared in (
        replace(people[0], roles=("aid",)),
        replace(people[0], discreet=True),
        replace(people[0], personalised=False),
    ):
        view = holding.held(made, spared)
        assert not view.in_control and not view.tried
    text = visitor(made).get("/about/privacy").text
    assert "每个月有 20% 的人" in text and "第二十四条" in text and "第十七条" in text
    english = visitor(made, "en").get("/about/privacy").text
    assert "Each month 20 % of people" in english and "built to support" in english


@pytest.mark.parametrize(("weight", "level", "up", "down"), [
    (0.04, 1, 2, -1), (-0.2, -1, 1, -2), (1.0, 1, 2, -1), (1.6, 2, 3, 1), (3.0, 3, 3, 2), (-3.0, -3, -2, -3),
])  # fmt: skip
def test_steps_leave_nought_out_and_stop_at_the_ends(weight: float, level: int, up: int, down: int) -> None:
    assert holding.level_of(weight) == level
    assert (holding.step(weight, up=True), holding.step(weight, up=False)) == (up, down)


def test_the_interface_gives_and_takes_the_same(
    made: Services, client: TestClient, joined: joining.Joined
) -> None:
    key, api = {"authorization": f"Bearer {joined.manage_secret}"}, "/api/v1/profile"
    shelve(made, joined.profile)
    first, second = likable(made, joined.profile)[:2]
    for body in ({"kind": "like"}, {"kind": "save"}, {"kind": "rating", "value": 5}):
        answer = client.post(f"{api}/feedback", headers=key, json={"notice_id": first} | body)
        assert answer.json() == {"kept": True}
    for bad in (
        {"notice_id": first, "kind": "rating"}, {"notice_id": first, "kind": "like", "value": 3},
        {"notice_id": first, "kind": "impression"}, {"notice_id": 10**9, "kind": "like"},
    ):  # fmt: skip
        answer = client.post(f"{api}/feedback", headers=key, json=bad)
        assert answer.status_code == 422 and answer.json()["error"].endswith(".")
    assert (
        client.put(f"{api}/taste", headers=key, json={"tag": "theme:0805", "weight": -1.5}).status_code == 200
    )
    tags = {item["tag"]: item for item in client.get(f"{api}/taste", headers=key).json()["taste"]}
    assert tags["theme:0805"]["own"] and tags["theme:0805"]["weight"] == -1.5
    assert any(not item["own"] for item in tags.values())
    for bad in (
        {"tag": "theme:0805", "weight": 0},
        {"tag": "life:illness", "weight": 1},
        {"tag": "x", "weight": 1},
    ):
        answer = client.put(f"{api}/taste", headers=key, json=bad)
        assert answer.status_code == 422 and answer.json()["error"].endswith("."), bad
    trained(made, joined.profile)
    held = client.get(f"{api}/model", headers=key).json()
    assert held["events"] == {"like": 1, "rating": 1, "save": 1} and held["choices"]["mutes"] == [
        "theme:1301"
    ]
    assert held["model"]["own_feature"] and held["model"]["leaning"][0] == {
        "tag": "theme:0402",
        "weight": 0.5,
    }
    assert client.delete(f"{api}/feedback/{first}", headers=key, params={"kind": "save"}).status_code == 204
    assert holding.saved(made, joined.profile) == []
    assert client.delete(f"{api}/taste/theme:0805", headers=key).status_code == 204
    assert client.delete(f"{api}/taste/theme:9999", headers=key).status_code == 404
    assert TasteTag("theme:0805", 0.0, own=True) in made.taste.of(joined.profile.id)
    assert client.delete(f"{api}/taste/theme:0805", headers=key, params={"relearn": 1}).status_code == 204
    assert client.post(f"{api}/reset", headers=key, json={"own_weights": True}).json() == {"events": 2}
    assert made.taste.of(joined.profile.id) == [] and second


def test_export_holds_taste_and_model(made: Services, me: TestClient, joined: joining.Joined) -> None:
    say(me, likable(made, joined.profile)[0], "like")
    trained(made, joined.profile)
    held = json.loads(me.get("/me/export").text)
    assert held["taste"] and held["model"]["identity"] and held["feedback"]


def test_a_saved_notice_is_found_behind_five_thousand_acts(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = likable(made, joined.profile)[0]
    made.feedback.record([FeedbackRow(joined.profile.id, number, "save", NOW - timedelta(days=600))])
    rows = [FeedbackRow(joined.profile.id, 1 + n % 90, "open", NOW) for n in range(5100)]
    made.feedback.record(rows)
    assert holding.saved(made, joined.profile) == [number]
    assert holding.said(made, joined.profile)[number].saved
    assert f'id="n{number}"' in me.get("/me/saved").text


def test_five_thousand_acts_and_forty_tags_still_make_a_page(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    rows = [
        FeedbackRow(joined.profile.id, 1 + n % 90, "open", NOW - timedelta(minutes=n)) for n in range(5000)
    ]
    made.feedback.record(rows)
    for code in list(made.city.themes)[:60]:
        if not made.city.is_sensitive(f"theme:{code}"):
            made.taste.set(joined.profile.id, f"theme:{code}", 1.0)
    text = me.get("/me/model").text
    check_bones(text)
    assert len(LexborHTMLParser(text).css(".latest li")) == 50 and "5000" in text

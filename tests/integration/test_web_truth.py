"""The residents' pages promise what selection does and say nothing that is untrue of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.jobs import holding, joining
from api.ops.commands_people import _about
from api.views import shelf_view
from api.wiring import Services
from profiles.editions import NewEdition
from profiles.feedback import FeedbackRow
from profiles.taste import TasteTag
from profiles.types import FollowedPlace, Pick, PickKind, Profile, Reason
from recommender.model_file import Model, ModelInfo
from recommender.types import FeatureSpace
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import NOW, fields, find, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client


@pytest.fixture
def joined(made: Services) -> joining.Joined:
    places = (FollowedPlace("sl0301", "home"),)
    # Everything is muted while they join, so that only what a test puts there is on the shelf.
    wish = Profile(0, NOW, roles=("citizen",), places=places, interests=("theme:1102",), mutes=("place:sl",))
    found = joining.join(made, wish)
    return replace(found, profile=joining.change(made, replace(found.profile, mutes=())))


@pytest.fixture
def me(made: Services, client: TestClient, joined: joining.Joined) -> TestClient:
    submit(client, f"/me/enter/{joined.manage_secret}", "/me/enter")
    return client


def put(
    made: Services, profile: Profile, words: str, *reasons: Reason, kind: PickKind = "new", score: float = 4.0
) -> int:
    """Put one notice on the shelf; return its id."""
    number = find(made, words).id
    version = made.editions.shelf_version(profile.id)
    pick = Pick(number, 1, kind, reasons, score)
    made.editions.append([NewEdition(profile.id, "daily", (pick,), made.clock.now(), version)])
    return number


def page(browser: TestClient, path: str) -> Any:
    text = browser.get(path).text
    check_bones(text)
    return LexborHTMLParser(text)


def give(browser: TestClient, number: int, kind: str) -> Any:
    form = fields(browser.get("/me").text, "/me/feedback")
    return browser.post("/me/feedback", data=form | {"notice": str(number), "kind": kind})


def model(made: Services, simulated: float) -> None:
    """A small model in use."""
    info = ModelInfo(
        version="20261012T000000Z", trained_at=NOW, rows=60, users=2, items=1, simulated_share=simulated,
        seed=1, dim=1, epochs=1,
    )  # fmt: skip
    one, space = np.ones((1, 1), np.float32), FeatureSpace.of(("role:citizen",))
    made.models.save(
        Model(info=info, users=space, items=FeatureSpace.of(("theme:0402",)), user_vectors=one,
              user_biases=one[0], item_vectors=one, item_biases=one[0])
    )  # fmt: skip


def test_less_of_something_followed_says_so_and_offers_to_stop_following(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = put(made, joined.profile, "普通高校招生考试报名", Reason("interest", ("theme:1102",), 2.0))
    done = page(me, give(me, number, "less").headers["location"]).css_first(f"#n{number} .done")
    name = made.city.label("theme:1102", "zh")
    assert "排到后面" in done.text() and f"您自己关注了“{name}”" in done.text()
    (button,) = done.css("form[action='/me/unfollow'] button")
    assert button.attributes["value"] == "theme:1102"
    token = fields(me.get(f"/me?done=less&n={number}").text, "/me/unfollow")
    answer = me.post("/me/unfollow", data=token | {"tag": "theme:1102"})
    assert answer.headers["location"] == "/me?done=unfollow"
    assert made.profiles.get(joined.profile.id).interests == ()
    assert "已不再关注" in me.get("/me?done=unfollow").text
    other = page(me, f"/me?done=less&n={number}").css_first(f"#n{number} .done")
    assert "您自己关注了" not in other.text()


def test_no_bars_for_what_no_score_decided(made: Services, me: TestClient, joined: joining.Joined) -> None:
    profile, interest = joined.profile, Reason("interest", ("theme:1102",), 2.0)
    trial = put(made, profile, "停水通告", Reason("explored", (), 1.0), kind="explored")
    again = Reason("reminder", ("2026-10-19", "5"), 1.0)
    recalled = put(made, profile, "柘溪里码头路", again, kind="reminder", score=0)
    compared = put(made, profile, "普通高校招生考试报名", interest, Reason("control", (), 1.0))
    scored = put(made, profile, "生源地助学贷款", interest, Reason("deadline", ("2026-10-15", "3"), 0.5))
    found = page(me, "/me")
    for number in (trial, recalled, compared):
        assert found.css_first(f"#n{number} .reasons") and not found.css(f"#n{number} .why-bars")
    bars = found.css_first(f"#n{scored} .why-bars")
    assert len(bars.css(".fill")) == 2 and "总分4.0分" in bars.text() and "占" not in bars.text()


def test_switched_off_nothing_stands_there_that_the_order_makes_untrue(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    reasons = (
        Reason("interest", ("theme:1102",), 2.0), Reason("deadline", ("2026-10-15", "3"), 0.5),
        Reason("editor", (), 0.5),
    )  # fmt: skip
    number = put(made, joined.profile, "生源地助学贷款", *reasons)
    assert len(page(me, "/me").css(f"#n{number} .reasons li")) == 3
    submit(me, "/me/settings", "/me/personalise", on="0")
    found = page(me, "/me")
    assert [node.text() for node in found.css(f"#n{number} .reasons li")] == [
        f"您关注“{made.city.label('theme:1102', 'zh')}”"
    ]
    assert "批在前" not in found.css_first(".lead").text() and "个性化已关闭" in found.html
    off, shelf = made.profiles.get(joined.profile.id), made.editions.shelf(joined.profile.id)
    for surface in ("feed", "mail"):
        (view,) = shelf_view(made, off, shelf, lang="zh-Hans", surface=surface)
        assert not any("截止" in said for said in view.reasons)


def test_a_place_around_is_worded_for_each_surface(made: Services, joined: joining.Joined) -> None:
    own = replace(joined.profile, places=(FollowedPlace("sl0301", "海边小屋"),))
    put(made, own, "停水通告", Reason("place", ("place:sl03", "海边小屋", "around"), 1.0))
    name, shelf = made.city.label("place:sl03", "zh"), made.editions.shelf(own.id)
    for surface in ("page", "feed", "mail"):
        (view,) = shelf_view(made, own, shelf, lang="zh-Hans", surface=surface)
        assert view.reasons == (f"您关注的地点所在的{name}",)


@pytest.mark.parametrize(("share", "said"), [(0.9, "模拟数据推断"), (0.1, "模型推断")])
@pytest.mark.parametrize("demo", [True, False])
def test_inferred_is_called_simulated_as_the_model_is(
    made: Services, joined: joining.Joined, share: float, said: str, demo: bool
) -> None:
    model(made, share)
    put(made, joined.profile, "停水通告", Reason("popular", (), 1.0))
    services = replace(made, demo=demo)
    (view,) = shelf_view(services, joined.profile, made.editions.shelf(joined.profile.id), lang="zh-Hans")
    assert f"（{said}）" in view.reasons[0]


def test_the_page_of_taste_shows_ten_and_calls_next_to_nothing_so(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number, profile = joined.profile.id, joined.profile
    tags = [f"theme:{code}" for code in list(made.city.themes)[:14]]
    with made.database.write() as connection:
        from sqlalchemy import insert

        from profiles.tables import profile_taste

        rows = [(tag, 1.0 + place / 10) for place, tag in enumerate(tags[:12])] + [(tags[12], 0.02)]
        for tag, weight in rows:
            connection.execute(
                insert(profile_taste).values(profile_id=number, tag=tag, weight=weight, own=False)
            )
    assert TasteTag(tags[12], 0.02) in made.taste.of(profile.id)
    found = page(me, "/me/model")
    assert len(found.css("section > ul.taste > li")) == 10
    folded = found.css("section > details > ul.taste > li")
    assert len(folded) == 3
    faint = next(node for node in folded if made.city.label(tags[12], "zh") in node.text())
    assert "几乎没有" in faint.text() and "稍多" not in faint.text()


def test_settings_tell_acts_from_what_was_only_shown(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    numbers = [find(made, words).id for words in ("停水通告", "普通高校招生考试报名")]
    seen = [FeedbackRow(joined.profile.id, n, "impression", NOW, "web", 1, 1.0, sure=0.9) for n in numbers]
    made.feedback.record_shown(seen)
    assert (
        "您自己做的（打开、觉得有用、隐藏等）0条，只记着公告显示给您过的2条" in page(me, "/me/settings").html
    )


def test_who_must_be_spared_is_told_never(made: Services) -> None:
    asking = joining.join(made, Profile(0, NOW, roles=("aid",)))
    compared = replace(made, settings=made.settings.model_copy(update={"control_share": 0.2}))
    known = holding.held(compared, asking.profile)
    assert known.spared and not known.in_control
    said = " ".join(_about(compared, known, "zh-Hans"))
    assert "Never in the control group" in said and "20%" not in said
    other = joining.join(made, Profile(0, NOW, roles=("citizen",)))
    assert "20%" in " ".join(_about(compared, holding.held(compared, other.profile), "zh-Hans"))


def test_less_may_be_said_of_a_warning_and_what_is_missing_is_explained(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    number = put(made, joined.profile, "解除台风预警", Reason("citywide", (), 0.2))
    entry = page(me, "/me").css_first(f"#n{number}")
    assert [node.attributes["value"] for node in entry.css("button[name=kind]")] == ["save", "less", "hide"]
    assert "不收“有用”和打分" in entry.text()
    assert give(me, number, "less").headers["location"].startswith("/me?done=less")
    give(me, number, "like")
    kinds = {row.kind for row in made.feedback.of(joined.profile.id)} - {"impression"}
    assert kinds == {"less"}


def test_who_is_here_already_is_not_asked_to_join(made: Services, me: TestClient) -> None:
    path = f"/notices/{find(made, '停水通告').id}"
    assert "想收到这样的公告" in visitor(made).get(path).text
    assert "想收到这样的公告" not in me.get(path).text

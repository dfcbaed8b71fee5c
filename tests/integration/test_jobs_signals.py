"""What residents do, from the entrances to feedback and taste: kept, learned, taken back, or never kept."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from api.jobs import joining, signals
from api.jobs.digests import plan
from api.jobs.sending import send
from api.jobs.training import _known
from api.settings import read_settings
from api.wiring import Services, build
from delivery.channels.capture import CaptureChannel
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from profiles.feedback import SURE, FeedbackRow
from profiles.types import FollowedPlace, Pick, Profile, Reason
from recommender.model_file import Model, ModelInfo
from recommender.types import FeatureSpace
from tests.factories import NOW, new_notice, profile

WHERE = {"level": "city", "place": "sl"}
TAX, AID, LEFT, STRANGE = 1, 2, 3, 4
TAX_TAGS, AID_TAGS = ("theme:04", "theme:0402", "place:sl"), ("theme:17", "theme:1706", "role:aid")


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    """Four notices: two on the shelf, one picked long ago, one never picked."""
    made = build(
        read_settings({}, home=tmp_path, city="shili"), clock=FixedClock(NOW), database=database, demo=True
    )
    made.notices.add(
        [
            new_notice("tax", title="【示例】纳税申报提醒", tags=TAX_TAGS, **WHERE),
            new_notice("aid", title="【示例】临时救助办法", tags=AID_TAGS, **WHERE),
            new_notice("left", title="【示例】春季税收宣传", tags=("theme:0402",), **WHERE),
            new_notice("strange", title="【示例】步道开放", tags=("theme:08",), **WHERE),
        ],
        at=NOW,
    )
    yield made
    made.close()


@pytest.fixture
def reader(services: Services) -> Profile:
    return with_picks(services, profile(places=(FollowedPlace("sl"),), interests=()))


def with_picks(services: Services, wish: Profile) -> Profile:
    stored, _ = services.profiles.create(wish, at=NOW)
    reasons = (Reason("citywide"),)
    picks = (Pick(TAX, 1, "new", reasons, 1.0), Pick(AID, 1, "explored", reasons, 0.5, propensity=0.125))
    services.editions.append([NewEdition(stored.id, "daily", picks, NOW, 0)])
    return stored


def taste(services: Services, who: Profile) -> dict[str, float]:
    return {item.tag: round(item.weight, 3) for item in services.taste.of(who.id)}


def kinds(services: Services, who: Profile) -> list[str]:
    return [row.kind for row in services.feedback.of(who.id)]


def test_an_opinion_is_kept_with_its_place_and_learned(services: Services, reader: Profile) -> None:
    assert signals.opinion(services, reader.id, TAX, "like")
    assert services.feedback.of(reader.id) == [FeedbackRow(reader.id, TAX, "like", NOW, "web", 1)]
    assert taste(services, reader) == {"theme:0402": 1.0, "theme:04": 0.5}
    assert signals.opinion(services, reader.id, AID, "less", channel="api")
    last = services.feedback.of(reader.id)[-1]
    assert (last.position, round(last.propensity, 3), last.channel) == (2, 0.125, "api")


def test_only_what_was_picked_for_them_counts(services: Services, reader: Profile) -> None:
    assert not signals.opinion(services, reader.id, STRANGE, "like")
    assert not signals.opened(services, reader.id, 10**9)
    assert not signals.opinion(services, 10**6, TAX, "like")
    assert services.feedback.counts()["all"] == 0


def test_a_pick_that_left_the_shelf_still_counts(services: Services, reader: Profile) -> None:
    version = services.editions.shelf_version(reader.id)
    old = (Pick(LEFT, 1, "new", (Reason("citywide"),)),)
    services.editions.append([NewEdition(reader.id, "daily", old, NOW, version)])
    many = tuple(Pick(n, 1, "new", (Reason("citywide"),)) for n in range(100, 150))
    services.editions.append([NewEdition(reader.id, "welcome", many, NOW, version + 1)])
    assert signals.opinion(services, reader.id, LEFT, "save")
    assert services.feedback.of(reader.id)[0].position == 0
    assert taste(services, reader) == {"theme:0402": 1.0}


def test_the_latest_opinion_holds_and_the_same_says_nothing(services: Services, reader: Profile) -> None:
    for _ in range(3):
        assert signals.opinion(services, reader.id, TAX, "like")
    assert kinds(services, reader) == ["like"]
    liked = taste(services, reader)
    signals.opinion(services, reader.id, TAX, "save")  # worth as much: kept, and nothing to learn
    assert taste(services, reader) == liked
    signals.opinion(services, reader.id, TAX, "dislike")
    assert kinds(services, reader) == ["like", "save", "dislike"]
    assert taste(services, reader)["theme:0402"] == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize(("stars", "worth"), [(1, -1.0), (2, -0.5), (4, 0.5), (5, 1.0)])
def test_a_rating_says_more_or_less(services: Services, reader: Profile, stars: int, worth: float) -> None:
    signals.opinion(services, reader.id, TAX, "rating", stars)
    assert services.feedback.of(reader.id)[0].value == stars
    assert taste(services, reader)["theme:0402"] == worth


def test_nonsense_is_refused(services: Services, reader: Profile) -> None:
    for kind, value in (
        ("rating", 0),
        ("rating", 6),
        ("rating", float("nan")),
        ("impression", 0),
        ("love", 0),
    ):
        with pytest.raises(UsageError):
            signals.opinion(services, reader.id, TAX, kind, value)  # type: ignore[arg-type]
    assert services.feedback.counts()["all"] == 0


def test_opening_often_teaches_once(services: Services, reader: Profile) -> None:
    clock = services.clock
    assert isinstance(clock, FixedClock)
    assert signals.opened(services, reader.id, TAX)
    assert signals.opened(services, reader.id, TAX)  # a reload
    assert kinds(services, reader) == ["open"]
    clock.advance(timedelta(hours=1))
    assert signals.opened(services, reader.id, TAX)
    assert kinds(services, reader) == ["open", "open"]
    assert taste(services, reader)["theme:0402"] == 0.3
    signals.clicked(services, reader.id, TAX)
    assert taste(services, reader)["theme:0402"] == pytest.approx(0.8, abs=0.01)


def test_taking_back_deletes_and_turns_taste_back(services: Services, reader: Profile) -> None:
    signals.opened(services, reader.id, TAX)
    signals.opinion(services, reader.id, TAX, "like")
    assert signals.take_back(services, reader.id, TAX, "like")
    assert not signals.take_back(services, reader.id, TAX, "like")
    assert kinds(services, reader) == ["open"]
    assert taste(services, reader)["theme:0402"] == pytest.approx(0.3, abs=0.05)


def test_the_shelf_is_touched_only_where_what_is_shown_changes(services: Services, reader: Profile) -> None:
    def version() -> int:
        return services.editions.shelf_version(reader.id)

    start = version()
    for kind in ("like", "less", "dislike", "save"):
        signals.opinion(services, reader.id, TAX, kind)  # type: ignore[arg-type]
    assert version() == start
    signals.opinion(services, reader.id, TAX, "hide")
    assert version() == start + 1
    signals.opinion(services, reader.id, TAX, "less")  # still hidden
    assert version() == start + 1
    signals.take_back(services, reader.id, TAX, "hide")
    assert version() == start + 2
    assert services.feedback.hidden(reader.id) == frozenset()


def test_something_sensitive_is_learned_only_with_consent(services: Services, reader: Profile) -> None:
    assert signals.opinion(services, reader.id, AID, "like")
    assert kinds(services, reader) == ["like"]
    assert taste(services, reader) == {}
    agreeing = with_picks(services, profile(interests=()))
    services.consents.give(agreeing.id, "sensitive:theme:1706", at=NOW)
    signals.opinion(services, agreeing.id, AID, "like")
    assert taste(services, agreeing) == {"theme:1706": 1.0, "theme:17": 0.5}


def test_taste_of_something_sensitive_ends_with_the_consent(services: Services) -> None:
    wish = profile(places=(FollowedPlace("sl"),), interests=("theme:1706",))
    reader = joining.join(services, wish).profile
    assert signals.opinion(services, reader.id, AID, "like")
    assert "theme:1706" in taste(services, reader)
    joining.change(services, replace(reader, interests=()))
    assert "theme:1706" not in taste(services, reader)


def test_a_consent_that_ends_takes_along_what_it_taught_and_nothing_else(services: Services) -> None:
    """Also the theme above it: of the learned tags only those stay that other notices taught."""
    wish = profile(places=(FollowedPlace("sl"),), interests=("theme:1706",), roles=("aid",))
    reader = joining.join(services, wish).profile
    signals.opinion(services, reader.id, TAX, "like")
    without = taste(services, reader)
    signals.opinion(services, reader.id, AID, "like")
    services.taste.set(reader.id, "theme:08", 2.0)
    assert {"theme:1706", "theme:17"} <= set(taste(services, reader))
    joining.change(services, replace(reader, interests=(), roles=()))
    assert taste(services, reader) == pytest.approx(without | {"theme:08": 2.0}, abs=0.05)  # faded a little
    assert signals.take_back(services, reader.id, TAX, "like")
    left = taste(services, reader)
    assert left.pop("theme:08") == 2.0 and all(abs(weight) < 0.05 for weight in left.values())


def test_a_consent_that_ends_teaches_nothing_to_who_was_just_pressing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button was pressed with the consent, and comes to be learned from without it."""
    reader = joining.join(services, profile(interests=("theme:1706",))).profile
    read = services.notices.tags

    def slow(ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
        found = read(ids)
        monkeypatch.setattr(services.notices, "tags", read)
        joining.change(services, replace(reader, interests=()))
        return found

    monkeypatch.setattr(services.notices, "tags", slow)
    assert signals.opinion(services, reader.id, AID, "like")
    assert taste(services, reader) == {}


def test_what_was_learned_goes_with_its_act_while_it_is_switched_off(
    services: Services, reader: Profile
) -> None:
    signals.opinion(services, reader.id, TAX, "like")
    joining.change(services, replace(reader, personalised=False))
    assert signals.take_back(services, reader.id, TAX, "like")
    assert all(abs(weight) < 0.05 for weight in taste(services, reader).values())
    assert kinds(services, reader) == []


def test_hiding_takes_nothing_from_less(services: Services, reader: Profile) -> None:
    signals.opinion(services, reader.id, TAX, "less")
    before = taste(services, reader)
    signals.opinion(services, reader.id, TAX, "hide")
    assert taste(services, reader) == before
    assert services.feedback.hidden(reader.id) == {TAX}


def test_a_training_in_between_leaves_nobody_in_the_model(
    services: Services, reader: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks who is still known before the events are gone, and saves."""

    def save_known() -> None:
        services.models.save(model_of(reader.id), known=_known(services))

    for leave in (joining.forget_behaviour, joining.erase):
        signals.opinion(services, reader.id, TAX, "like")
        forget = services.models.forget
        first = [True]

        def and_train(names: Iterable[str], forget: Any = forget, first: list[bool] = first) -> int:
            gone = forget(names)
            if first.pop() if first else False:
                save_known()
            return int(gone)

        with monkeypatch.context() as patch:
            patch.setattr(services.models, "forget", and_train)
            leave(services, reader.id)
        model = services.models.load_current()
        assert model is not None and model.residents() == set()


def model_of(profile_id: int) -> Model:
    info = ModelInfo("20261012T000000Z", NOW, 1, 1, 1, 0, 1, 2, 1)
    users, items = FeatureSpace.of([f"id:{profile_id}"]), FeatureSpace.of(["theme:04"])
    ones = np.ones((1, 2), np.float32)
    return Model(info, users, items, ones, ones[0, :1], ones, ones[0, :1])


def test_nothing_is_kept_of_who_switched_it_off(services: Services, reader: Profile) -> None:
    waiting = signals.impressions(reader.id, [(TAX, 1.0)], "feed", NOW)
    joining.change(services, replace(reader, personalised=False))
    for kind in ("open", "click", "like", "save", "hide", "less", "dislike"):
        assert not signals.opinion(services, reader.id, TAX, kind)  # type: ignore[arg-type]
    assert not signals.opinion(services, reader.id, TAX, "rating", 5)
    assert signals.shown(services, reader.id, [TAX, AID]) == 0
    assert signals.keep_shown(services, waiting) == 0  # buffered before, written after
    assert services.feedback.counts()["all"] == 0
    assert services.taste.of(reader.id) == []


def test_what_is_held_stays_theirs_to_see_and_delete_after_the_switch(
    services: Services, reader: Profile
) -> None:
    signals.opinion(services, reader.id, TAX, "like")
    joining.change(services, replace(reader, personalised=False))
    held = joining.export(services, reader.id)
    assert [item["kind"] for item in held["feedback"]] == ["like"]  # type: ignore[attr-defined]
    assert {item["tag"] for item in held["taste"]} == {"theme:04", "theme:0402"}  # type: ignore[attr-defined]
    assert signals.take_back(services, reader.id, TAX, "like")
    assert joining.forget_behaviour(services, reader.id) == 0
    assert taste(services, reader) == {}


def test_forgetting_empties_all_but_what_they_set(services: Services, reader: Profile) -> None:
    signals.opinion(services, reader.id, TAX, "like")
    signals.shown(services, reader.id, [TAX, AID])
    services.taste.set(reader.id, "theme:08", 2.0)
    before = services.editions.shelf_version(reader.id)
    assert joining.forget_behaviour(services, reader.id) == 3
    assert taste(services, reader) == {"theme:08": 2.0}
    assert services.feedback.of(reader.id) == []
    assert services.editions.shelf_version(reader.id) == before + 1
    assert joining.forget_behaviour(services, reader.id, own=True) == 0
    assert taste(services, reader) == {}


def test_impressions_carry_position_propensity_and_how_sure(services: Services, reader: Profile) -> None:
    assert signals.shown(services, reader.id, [AID, TAX], "web") == 2
    found = [(r.notice_id, r.position, r.propensity, r.sure) for r in services.feedback.of(reader.id)]
    assert found == [(AID, 1, 0.125, SURE["web"]), (TAX, 2, 1.0, SURE["web"])]
    assert signals.shown(services, reader.id, [TAX, AID], "web") == 0


def test_a_write_that_fails_is_logged_and_breaks_nothing(
    services: Services, reader: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rows: object) -> int:
        raise OSError("the disk is full")

    monkeypatch.setattr(services.feedback, "record_shown", full)
    with capture_logs() as logs:
        assert signals.shown(services, reader.id, [TAX]) == 0
    assert [(line["event"], line["rows"]) for line in logs] == [("impressions_lost", 1)]


def test_two_at_once_teach_once(services: Services, reader: Profile) -> None:
    """A double press: both see the same page, one of them finds it said already."""
    start = threading.Barrier(4)

    def press() -> None:
        start.wait()
        signals.opinion(services, reader.id, TAX, "like")

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds(services, reader) == ["like"]
    assert taste(services, reader)["theme:0402"] == 1.0


class Provider(CaptureChannel):
    """Takes mails as a provider does, and keeps them in files."""

    name = "smtp"


@pytest.mark.parametrize("captured", [False, True])
def test_a_mail_that_was_taken_is_an_impression(services: Services, captured: bool) -> None:
    if not captured:
        channel = Provider(services.settings.captured)
        services.channels = {**services.channels, "email": channel}
    clock = services.clock
    assert isinstance(clock, FixedClock)
    wish = profile(places=(FollowedPlace("sl"),), interests=())
    addresses = {"verified": True, "digest_hour": 9}
    readers = [
        joining.join(services, wish, email="li@shili.example", **addresses).profile,
        joining.join(services, replace(wish, discreet=True), email="wu@shili.example", **addresses).profile,
        joining.join(services, wish, phone="13800000001", **addresses).profile,
    ]
    services.notices.add(
        [new_notice(f"m{n}", title=f"【示例】公告{n}", tags=TAX_TAGS, **WHERE) for n in range(2)],
        at=NOW,
    )
    first, second = (services.notices.latest(_all())[n].id for n in range(2))
    picks = (
        Pick(second, 1, "new", (Reason("citywide"),)),
        Pick(first, 1, "explored", (Reason("explored"),), propensity=0.25),
    )
    later = NOW + timedelta(hours=2)
    for reader in readers:
        version = services.editions.shelf_version(reader.id)
        services.editions.append([NewEdition(reader.id, "daily", picks, later, version)])
    clock.advance(timedelta(days=1))
    assert plan(services).planned == 3
    assert services.feedback.counts()["all"] == 0  # planned is not sent
    assert send(services).sent == 3
    rows = services.feedback.of(readers[0].id)
    assert [(r.notice_id, r.position, r.propensity, r.channel, r.sure) for r in rows] == (
        []  # a captured mail reaches nobody
        if captured
        else [(second, 1, 1.0, "email", SURE["email"]), (first, 2, 0.25, "email", SURE["email"])]
    )
    assert services.feedback.of(readers[1].id) == []  # a discreet mail names no notice
    assert services.feedback.of(readers[2].id) == []  # nor does a text message show a list


def _all() -> object:
    from feeds.catalogue.store import NoticeFilter

    return NoticeFilter()

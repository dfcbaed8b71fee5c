"""An installation's feedback as a log, and its exploration against filling the slot evenly."""

from __future__ import annotations

import numpy as np
import pytest

from feeds.catalogue.notices import Notice
from profiles.feedback import FeedbackRow
from profiles.types import FollowedPlace
from recommender.replay.own import exploration, log_of, split_of
from tests.unit.recommender_world import DAY, NOW, city, notice, person


def act(
    profile: int, number: int, kind: str = "open", *, after: float = 1.0, **changes: object
) -> FeedbackRow:
    return FeedbackRow(profile, number, kind, NOW + after * DAY, **changes)  # type: ignore[arg-type]


def notices() -> list[Notice]:
    slug = next(iter(city().agencies))
    first = notice(
        1, "place:sl01", "type:news", "theme:0402", f"agency:{slug}", title="【示例】增值税申报期限"
    )
    return [first, notice(2, "theme:1001", title="【示例】社区用水", released_at=NOW + DAY), notice(3)]


def test_feedback_becomes_a_log() -> None:
    people = [
        person(7, roles=("citizen",), interests=("theme:0402",), places=(FollowedPlace("sl0101"),)),
        person(8, personalised=False),
        person(9),
    ]
    rows = [
        act(7, 1, "impression"), act(7, 1, after=2), act(7, 2, "save", after=3), act(8, 1),
        act(9, 2, after=1.5), act(9, 1, after=4), act(9, 1, "hide", after=5), act(9, 99), act(77, 1),
    ]  # fmt: skip
    log = log_of(rows, people, notices(), city())
    assert log.users == ("7", "9")
    assert {"role:citizen", "interest:theme:0402", "place:sl0101"} <= set(log.user_tokens[0])
    assert log.items == ("1", "3", "2")
    assert log.item_tokens[0][:3] == ("t:theme:0402", "t:type:news", "t:place:sl01")
    assert "t:theme:04" in log.item_tokens[0]
    assert any(token.startswith("w:") for token in log.item_tokens[0])
    told = [(log.users[u], log.items[i]) for u, i in zip(log.event_user, log.event_item, strict=True)]
    assert told == [("9", "2"), ("7", "1"), ("7", "2")]
    assert [log.items[i] for i in log.kept_item] == ["2"]
    assert log.authors[log.item_author[0]] == next(iter(city().agencies))
    assert log.item_author.tolist()[1:] == [-1, -1]
    assert (log.author_user == -1).all()
    assert log.kinds == (city().agencies[log.authors[0]].place,)
    assert (np.diff(log.event_time) >= 0).all()


def test_an_event_stands_where_it_happened_and_later_words_do_not_move_it() -> None:
    who = [person(7)]
    rows = [
        act(7, 1, after=2), act(7, 1, "like", after=9), act(7, 1, "hide", after=60),
        act(7, 2, after=3), act(7, 2, "hide", after=8),
        act(7, 3, after=4), act(7, 3, "rating", after=30, value=1.0),
    ]  # fmt: skip
    log = log_of(rows, who, notices(), city())
    at = [int((NOW + n * DAY).timestamp()) for n in (2, 4, 9)]
    assert [log.items[i] for i in log.event_item] == ["1", "3"] and log.event_time.tolist() == at[:2]
    assert [log.items[i] for i in log.kept_item] == ["1"] and log.kept_time.tolist() == at[2:]
    early = log_of([row for row in rows if row.at <= NOW + 10 * DAY], who, notices(), city())
    assert early.event_time.tolist() == log.event_time.tolist()


def test_simulated_events_are_said() -> None:
    rows = [act(7, 1, simulated=True), act(7, 2, after=3)]
    assert log_of(rows, [person(7)], notices(), city()).remarks == ("1 of 2 events are simulated.",)


def test_nothing_becomes_an_empty_log_that_cannot_be_split() -> None:
    for rows, people, items in (([], [], []), ([act(7, 1)], [person(7)], notices()), ([act(7, 1)], [], [])):
        log = log_of(rows, people, items, city())
        assert len(log.event_user) == (1 if people else 0)
        assert split_of(log) is None


def test_a_feed_of_some_weeks_is_split_at_quantiles() -> None:
    many = [notice(n, "theme:0402", released_at=NOW + n * DAY / 10) for n in range(1, 600)]
    rows = [act(7 + n % 3, n, after=n / 10 + 0.2) for n in range(1, 600)]
    log = log_of(rows, [person(7), person(8), person(9)], many, city())
    split = split_of(log)
    assert split is not None
    assert not split.given
    assert log.events_before(split.test) == pytest.approx(0.7 * 599, abs=10)
    assert split.test % 86_400 == split.frozen % 86_400 == 0


def test_only_what_was_explored_tells_of_exploration() -> None:
    def shown(profile: int, number: int, chance: float, **changes: object) -> FeedbackRow:
        return act(profile, number, "impression", after=0, propensity=chance, **changes)

    rows = [
        shown(1, 1, 0.5), shown(1, 1, 0.5, channel="feed"), shown(1, 2, 1.0), shown(2, 1, 0.1),
        shown(3, 1, 0.1), shown(4, 3, 0.5),
    ]  # fmt: skip
    acts = [
        act(1, 1, after=3), act(1, 2), act(2, 1, after=40), act(3, 1, "hide"), act(4, 3, "save", after=13),
        act(3, 1, after=-1),
    ]  # fmt: skip
    found = exploration(rows, acts)
    assert found.rows == 4
    assert found.logged == 0.5
    assert found.snips == pytest.approx((0.2 + 0.2) / (0.2 + 1 + 1 + 0.2))
    assert exploration([], acts).rows == 0
    assert exploration([shown(1, 2, 1.0)], acts).rows == 0

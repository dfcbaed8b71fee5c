"""What counts as an alarm, as a table: every source is judged against its own past."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from feeds.intake.health import _SENTENCES, ALARMS, History, State, health
from feeds.intake.sources import Source

NOW = datetime(2026, 10, 12, 2, tzinfo=UTC)
GOOD = Source(
    id=1, slug="sl-gov", name="示例市政务公开", kind="html", url="https://www.sl.example/", agency="",
    lang="", timezone="", licence="", place=None, trust=50, interval_s=3600, paused=False,
    created_at=NOW - timedelta(days=200), next_poll_at=NOW + timedelta(minutes=30), last_polled_at=NOW,
    last_ok_at=NOW, held_at=None, etag="", last_modified="", failures=0, last_error="", polls=900, recipe={},
    rules=(), tags=(), release="publish", full_text=False, ttl_s=0, hub="", topic="", moved_to="",
    moved_count=0, gone_at=None, last_status=200, last_new_at=NOW, last_entries=30, body_hash="", alarm="",
    alarm_at=None,
)  # fmt: skip
BUSY = (20,) * 13
USUAL = History(BUSY, usual=30)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def since(days: int, per_week: int = 20) -> History:
    """A history of a source that stopped some days ago."""
    quiet = days // 7
    return History((0,) * quiet + (per_week,) * (13 - quiet), usual=30)


@pytest.mark.parametrize(
    ("changes", "history", "state"),
    [
        ({}, USUAL, "fine"),
        ({}, History(), "fine"),
        # What people decided comes first.
        ({"paused": True, "gone_at": NOW, "failures": 9}, USUAL, "paused"),
        ({"gone_at": NOW}, USUAL, "gone"),
        ({"held_at": NOW, "failures": 9}, USUAL, "held"),
        ({"polls": 0, "last_ok_at": None, "created_at": NOW, "last_new_at": None}, History(), "new"),
        (
            {"kind": "file", "url": None, "polls": 0, "last_ok_at": None, "next_poll_at": None},
            History(),
            "fine",
        ),
        # Failing: for three hours and an interval, in three attempts.
        ({"failures": 1, "last_status": 0}, USUAL, "fine"),
        ({"failures": 9, "last_status": 0, "last_ok_at": ago(hours=3)}, USUAL, "fine"),
        ({"failures": 3, "last_status": 0, "last_ok_at": ago(hours=4)}, USUAL, "failing"),
        ({"failures": 2, "last_status": 0, "last_ok_at": ago(days=4)}, USUAL, "fine"),
        ({"failures": 3, "last_status": 404, "last_ok_at": None}, USUAL, "failing"),
        # A new source whose first poll failed; one that an editor released starts at no polls, too.
        ({"failures": 1, "polls": 0, "last_ok_at": None, "last_status": 0}, History(), "failing"),
        ({"failures": 1, "polls": 0, "last_status": 0}, History(), "new"),
        # It answers, twice in a row, with something else.
        ({"failures": 1, "last_status": 200}, USUAL, "fine"),
        ({"failures": 2, "last_status": 200}, USUAL, "unreadable"),
        # Suddenly empty: at once; a source that never had any is no surprise.
        ({"last_entries": 0}, USUAL, "empty"),
        ({"last_entries": 0}, History(usual=1), "empty"),
        ({"last_entries": 0}, History(), "fine"),
        ({"last_entries": 0, "alarm": "empty"}, History(), "empty"),
        ({"last_entries": 1, "alarm": "empty"}, History(usual=1), "fine"),
        ({"last_entries": 0, "kind": "cap"}, USUAL, "fine"),
        ({"last_entries": 5}, USUAL, "shrunk"),
        ({"last_entries": 6}, USUAL, "fine"),
        ({"last_entries": 1}, History(usual=4), "fine"),
        ({"last_entries": 1, "kind": "cap"}, USUAL, "fine"),
        # Silent, against its own rate.
        ({"last_new_at": ago(days=10)}, since(10), "silent"),
        ({"last_new_at": ago(days=8)}, since(8), "fine"),  # a public holiday
        ({"last_new_at": ago(days=10)}, since(10, per_week=5), "silent"),
        ({"last_new_at": ago(days=10)}, since(10, per_week=4), "fine"),
        ({"last_new_at": ago(days=30)}, since(30, per_week=1), "fine"),
        ({"last_new_at": ago(days=60)}, since(60, per_week=1), "silent"),
        ({"last_new_at": ago(days=60)}, History((0,) * 9 + (0, 0, 1, 0)), "fine"),  # one a month
        ({"last_new_at": ago(days=12)}, History((0, 20, 20, 20)), "fine"),  # two weeks are no history
        ({"last_new_at": ago(days=12)}, History((0, 20, 20, 20, 20)), "silent"),
        (
            {"last_new_at": ago(days=20)},
            History((0, 0, 20, 0, 0, 40, 40, 20, 30)),
            "fine",
        ),  # has paused before
        ({"last_new_at": ago(days=22)}, History((0, 0, 0, 20, 0, 0, 40, 40, 20)), "silent"),
        ({"last_new_at": ago(days=10)}, History((0, 0, 0, 0, 400, 0, 0)), "fine"),  # one flood is no rate
        (
            {"last_new_at": ago(days=90), "alarm": "silent", "alarm_at": ago(days=80)},
            History((0,) * 13),
            "silent",
        ),
        ({"last_new_at": ago(days=1), "alarm": "silent", "alarm_at": ago(days=80)}, since(0), "fine"),
        ({"last_new_at": ago(days=10), "kind": "cap"}, since(10), "fine"),
        ({"last_new_at": None}, History((0,) * 13), "fine"),
        # On and off; nobody polls.
        ({}, History(BUSY, 30, failed=20), "flapping"),
        ({}, History(BUSY, 30, failed=19), "fine"),
        ({"next_poll_at": ago(hours=6)}, USUAL, "overdue"),
        ({"next_poll_at": ago(hours=5)}, USUAL, "fine"),
        ({"next_poll_at": None}, USUAL, "fine"),
        # Without a look at its past, the alarm that is stored is believed.
        ({"alarm": "shrunk", "last_entries": 5}, None, "shrunk"),
        ({"alarm": "shrunk", "last_entries": 5}, USUAL, "shrunk"),
        ({"alarm": "shrunk"}, USUAL, "fine"),
        ({"alarm": "flapping"}, None, "flapping"),
        ({"alarm": "flapping"}, USUAL, "fine"),
        ({"alarm": "empty", "last_entries": 0}, None, "empty"),
        ({"alarm": "silent", "alarm_at": ago(days=1), "last_new_at": ago(days=20)}, None, "silent"),
        ({"alarm": "held"}, None, "fine"),
        ({}, None, "fine"),
    ],
)
def test_states(changes: dict[str, Any], history: History | None, state: str) -> None:
    found = health(replace(GOOD, **changes), history, NOW)
    assert found.state == state
    assert found.alarm == (state if state in ALARMS else "")


def test_the_first_alarm_counts() -> None:
    worst = replace(GOOD, failures=5, last_status=200, last_entries=0, last_new_at=ago(days=50))
    assert health(worst, since(50), NOW).state == "unreadable"
    assert health(replace(worst, failures=0), since(50), NOW).state == "empty"


@pytest.mark.parametrize("state", get_args(State))
def test_every_state_has_its_sentence_in_both_languages(state: State) -> None:
    zh, en = _SENTENCES[state]
    assert zh.endswith(("。", "}")) and en.endswith((".", "}"))


def test_the_sentence_says_what_happened() -> None:
    found = health(replace(GOOD, last_entries=0), USUAL, NOW)
    assert "usually about 30" in found.en and "平常约 30 条" in found.zh
    assert (found.per_week, found.this_week) == (20.0, 20)
    first = health(
        replace(GOOD, polls=0, last_ok_at=None, failures=1, last_error="It answered 404."), History(), NOW
    )
    assert first.zh == "第一次抓取就失败，至今没有成功过：It answered 404."
    young = health(GOOD, History((3, 4)), NOW)
    assert (young.per_week, young.this_week) == (None, 3)

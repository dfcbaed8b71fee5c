"""Codes in counted addresses, and what tells a machine from a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.engagement_rules import BURST, EARLY, Event, Kind, at_once, code_for, pair_of, settled

KEY = b"a key for tests only, long enough"
NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)
WECHAT = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/126 Mobile Safari MicroMessenger/8.0"


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_code_leads_back_to_its_pair_and_no_other_does(delivery_id: int, notice_id: int) -> None:
    code = code_for(KEY, delivery_id, notice_id)
    assert pair_of(KEY, code) == (delivery_id, notice_id)
    assert code == code_for(KEY, delivery_id, notice_id)
    assert pair_of(KEY + b"x", code) is None
    assert code.isascii() and len(code) <= 48


@given(st.text(max_size=70))
def test_no_other_text_is_a_code(text: str) -> None:
    assert pair_of(KEY, text) is None


@pytest.mark.parametrize("place", range(26))
def test_one_changed_character_is_enough(place: int) -> None:
    code = code_for(KEY, 123_456, 789)
    for letter in "AQZaz09_-":
        if letter != code[place % len(code)]:
            assert pair_of(KEY, code[:place] + letter + code[place + 1 :]) is None


def judged(kind: Kind = "click", agent: str = PHONE, after: float = 600, **headers: str) -> str:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    sent = NOW - timedelta(seconds=after)
    return at_once(kind, {"user-agent": agent} | named, head=False, sent_at=sent, now=NOW)


@pytest.mark.parametrize("agent", [PHONE, WECHAT, PHONE + " QQMail/6.6", PHONE + " Outlook-iOS/2.0"])
@pytest.mark.parametrize("kind", ["open", "click"])
def test_people_wait_for_what_comes_after(kind: Kind, agent: str) -> None:
    assert judged(kind, agent) == "waiting"


@pytest.mark.parametrize(
    ("agent", "verdict"),
    [
        ("", "agent"),
        ("Mozilla/5.0", "agent"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1)", "agent"),
        ("curl/8.5.0", "agent"),
        ("python-httpx/0.28", "agent"),
        ("Barracuda Sentinel (EE)", "agent"),
        ("Mozilla/5.0 (Windows) Proofpoint", "agent"),
        ("Microsoft Office Existence Discovery", "agent"),
        ("Slackbot-LinkExpanding 1.0", "agent"),
    ],
)
def test_programs_name_themselves(agent: str, verdict: str) -> None:
    assert judged(agent=agent) == verdict


def test_what_a_provider_fetches_is_no_open() -> None:
    assert judged("open", "Mozilla/5.0") == "proxy"
    assert (
        judged("open", "Mozilla/5.0 (Windows; ...) Firefox/11.0 (via ggpht.com GoogleImageProxy)") == "proxy"
    )
    assert judged("open", "YahooMailProxy; https://help.yahoo.com/") == "proxy"


def test_what_is_loaded_in_advance_is_nobodys() -> None:
    for headers in (
        {"purpose": "prefetch"},
        {"sec_purpose": "prefetch;prerender"},
        {"x_moz": "prefetch"},
        {"x_purpose": "preview"},
    ):
        assert judged(**headers) == "prefetch"
    assert judged(sec_fetch_dest="image") == "agent"
    assert judged(sec_fetch_dest="document") == "waiting"


def test_head_early_and_unsent() -> None:
    at = {"user-agent": PHONE}
    assert at_once("click", at, head=True, sent_at=NOW, now=NOW + timedelta(hours=1)) == "head"
    assert at_once("click", at, head=False, sent_at=None, now=NOW) == "unsent"
    assert judged(after=EARLY.total_seconds() - 0.1) == "early"
    assert judged(after=EARLY.total_seconds()) == "waiting"
    assert judged("open", after=-5) == "early"  # the clock went back


def event(number: int, notice: int, seconds: float, **changes: str) -> Event:
    values = {"kind": "click", "verdict": "waiting"} | changes
    return Event(number, 1, notice, 7, at=NOW + timedelta(seconds=seconds), **values)  # type: ignore[arg-type]


def test_several_links_at_once_are_followed_by_a_machine() -> None:
    events = [event(1, 5, 0), event(2, 6, 1), event(3, 7, 1.5), event(4, 5, 600)]
    assert settled(events) == {1: "burst", 2: "burst", 3: "burst", 4: "person"}


def test_the_same_link_twice_is_a_double_tap() -> None:
    assert settled([event(1, 5, 0), event(2, 5, 1)]) == {1: "person", 2: "person"}


def test_what_a_machine_did_makes_its_neighbours_one_too() -> None:
    events = [event(1, 5, 0, verdict="agent"), event(2, 6, 2)]
    assert settled(events) == {2: "burst"}
    assert settled([events[0], event(2, 6, BURST.total_seconds() + 0.1)]) == {2: "person"}


def test_an_open_is_no_neighbour() -> None:
    events = [event(1, 0, 0, kind="open"), event(2, 6, 0.5)]
    assert settled(events) == {1: "person", 2: "person"}

"""New, changed, the same or said twice; major or minor; and how an entry gets its name. Tables only."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.catalogue.notices import NoticeContent, StoredKey
from feeds.intake.decide import (
    canonical_url,
    decide,
    difference,
    feed_guids,
    guid_of,
    is_flood,
    is_major,
    nth_guid,
)
from feeds.intake.types import Decision

KEY = StoredKey(7, "aaaa", 1, "released")


@pytest.mark.parametrize(("key", "digest", "changes", "expected"), [
    (None, "aaaa", 0, ("new", None)),
    (KEY, "aaaa", 0, ("same", 7)),
    (KEY, "bbbb", 0, ("changed", 7)),
    (KEY, "bbbb", 23, ("changed", 7)),
    (KEY, "bbbb", 24, ("same", 7)),
    (None, "aaaa", 24, ("new", None)),
    (replace(KEY, state="draft"), "bbbb", 0, ("changed", 7)),
    (replace(KEY, state="expired"), "bbbb", 0, ("changed", 7)),
    (replace(KEY, state="superseded"), "bbbb", 0, ("changed", 7)),
    (replace(KEY, state="withdrawn"), "bbbb", 0, ("same", 7)),
    (replace(KEY, state="purged"), "bbbb", 0, ("same", 7)),
])  # fmt: skip
def test_decide(key: StoredKey | None, digest: str, changes: int, expected: tuple[str, int | None]) -> None:
    found = decide(key, digest, recent_changes=changes)
    assert (found.action, found.notice_id) == expected


def test_a_flapping_entry_says_so() -> None:
    assert decide(KEY, "bbbb", recent_changes=24).reason.startswith("flapping")
    assert decide(KEY, "aaaa", recent_changes=24).reason == ""
    assert decide(replace(KEY, state="withdrawn"), "bbbb", recent_changes=24).reason.startswith("withdrawn")


GUIDS = st.sampled_from("abcdef")
BATCHES = st.lists(st.dictionaries(GUIDS, st.sampled_from(["h1", "h2", "h3"]), max_size=6), max_size=6)


def take_in(stored: dict[str, StoredKey], answer: dict[str, str], order: list[str]) -> list[str]:
    """Decide an answer and do what was decided, as a store would."""
    actions = []
    for guid in order:
        found = decide(stored.get(guid), answer[guid])
        actions.append(found.action)
        if found.action in ("new", "changed"):
            number = found.notice_id or len(stored) + 1
            stored[guid] = StoredKey(number, answer[guid], 1, "released")
    return actions


@given(BATCHES, st.randoms(use_true_random=False))
def test_deciding_twice_changes_nothing_and_order_inside_an_answer_does_not_matter(
    answers: list[dict[str, str]], chosen: random.Random
) -> None:
    one: dict[str, StoredKey] = {}
    other: dict[str, StoredKey] = {}
    for answer in answers:
        take_in(one, answer, list(answer))
        assert set(take_in(one, answer, list(answer))) <= {"same"}
        shuffled = list(answer)
        chosen.shuffle(shuffled)
        take_in(other, answer, shuffled)
    assert {guid: key.content_hash for guid, key in one.items()} == {
        guid: key.content_hash for guid, key in other.items()
    }


@given(
    st.lists(st.tuples(GUIDS, st.sampled_from(["", "u", "v"])), max_size=8), st.randoms(use_true_random=False)
)
def test_the_order_of_a_feed_does_not_change_its_names(
    entries: list[tuple[str, str]], chosen: random.Random
) -> None:
    named = sorted(zip(entries, feed_guids(entries), strict=True))
    shuffled = list(entries)
    chosen.shuffle(shuffled)
    assert sorted(zip(shuffled, feed_guids(shuffled), strict=True)) == named


OLD = NoticeContent(
    "关于提取公积金的通知",
    body="<p>" + "自十月一日起施行，请各单位遵照执行。" * 20 + "</p>",
    doc_no="沪〔2026〕1号",
)


@pytest.mark.parametrize(("change", "major"), [
    ({}, False),
    ({"title": "关于提取 公积金的通知"}, False),
    ({"title": "关于提取公积金的通知（修订）"}, True),
    ({"deadline": datetime(2026, 11, 1, tzinfo=UTC)}, True),
    ({"doc_no": "沪〔2026〕2号"}, True),
    ({"doc_no": "沪〔2026〕 1号"}, False),
    # The old body repeats one sentence, so one new sentence weighs much.
    ({"body": OLD.body.replace("</p>", "联系电话已更新。</p>")}, True),
    ({"body": OLD.body + "<p></p>"}, False),
    ({"body": ""}, True),
    ({"phone": "12345"}, False),
    ({"summary": "x"}, False),
])  # fmt: skip
def test_is_major(change: dict[str, object], major: bool) -> None:
    assert is_major(OLD, replace(OLD, **change)) is major  # type: ignore[arg-type]


def test_a_small_correction_of_a_long_body_is_minor() -> None:
    body = "".join(chr(0x4E00 + (i * 7919) % 8000) for i in range(2000))
    assert not is_major(replace(OLD, body=body), replace(OLD, body=body[:1000] + "更正" + body[1002:]))
    assert is_major(replace(OLD, body=body), replace(OLD, body=body[:1000]))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [("", "", 0), ("a", "", 1), ("", "a", 1), ("abc", "abc", 0), ("abcd", "wxyz", 1)],
)
def test_difference(one: str, other: str, share: float) -> None:
    assert difference(one, other) == share


@pytest.mark.parametrize(("given", "content", "guid"), [
    ("id-1", NoticeContent("t", url="https://a.cn/1"), "id-1"),
    (" id\x00-1 ", NoticeContent("t"), "id-1"),
    ("", NoticeContent("t", url="HTTPS://A.cn:443/1?utm_source=x&b=2#top"), "https://a.cn/1?b=2"),
])  # fmt: skip
def test_guid(given: str, content: NoticeContent, guid: str) -> None:
    assert guid_of(given, content) == guid


def test_guid_without_id_and_address() -> None:
    one = guid_of("", NoticeContent("t", agency="a"))
    assert one == guid_of("", NoticeContent("t", agency="a", body="<p>other</p>"))
    assert one != guid_of("", NoticeContent("t", agency="b"))
    assert one.startswith("hash:")
    assert len(guid_of("长" * 1000, NoticeContent("t"))) < 50


@pytest.mark.parametrize(("url", "canonical"), [
    ("", ""), ("http://a.cn", "http://a.cn/"), ("http://a.cn:8080/x?b=2&a=1", "http://a.cn:8080/x?b=2&a=1"),
    ("http://[::1]:81/x", "http://[::1]:81/x"),
])  # fmt: skip
def test_canonical_url(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical


def test_repeated_ids() -> None:
    assert nth_guid("a", {"a"}) == "a#2"
    assert nth_guid("a", {"a", "a#2"}) == "a#3"
    assert feed_guids([("a", "u"), ("b", "v")]) == ["a", "b"]
    assert feed_guids([("0", "u"), ("0", "v")]) == ["0|u", "0|v"]
    assert feed_guids([("0", "u"), ("0", "u")]) == ["0", "0"]


@pytest.mark.parametrize(
    ("new", "same", "history", "flood"),
    [
        (10, 0, True, True),
        (9, 0, True, False),
        (10, 0, False, False),
        (8, 2, True, False),
        (9, 2, True, True),
        (0, 20, True, False),
    ],
)
def test_flood(new: int, same: int, history: bool, flood: bool) -> None:
    decisions = [Decision("new")] * new + [Decision("same", 1)] * same
    assert is_flood(decisions, has_history=history) is flood

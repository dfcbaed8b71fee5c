"""New, changed, the same or said twice; major or minor; and how an entry gets its name. Tables only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

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


@pytest.mark.parametrize(("key", "digest", "seen", "expected"), [
    (None, "aaaa", False, ("new", None)),
    (KEY, "aaaa", False, ("same", 7)),
    (KEY, "bbbb", False, ("changed", 7)),
    (None, "aaaa", True, ("duplicate", None)),
    (KEY, "bbbb", True, ("duplicate", None)),
    (replace(KEY, state="draft"), "bbbb", False, ("changed", 7)),
    (replace(KEY, state="expired"), "bbbb", False, ("changed", 7)),
    (replace(KEY, state="superseded"), "bbbb", False, ("changed", 7)),
    (replace(KEY, state="withdrawn"), "bbbb", False, ("same", 7)),
    (replace(KEY, state="purged"), "bbbb", False, ("same", 7)),
])  # fmt: skip
def test_decide(key: StoredKey | None, digest: str, seen: bool, expected: tuple[str, int | None]) -> None:
    found = decide(key, digest, seen_in_batch=seen)
    assert (found.action, found.notice_id) == expected


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

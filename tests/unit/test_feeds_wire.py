"""What crosses the line between reading and storing processes arrives as it was."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from feeds.catalogue.identity import Identity
from feeds.catalogue.notices import NoticeContent
from feeds.catalogue.tagging import Tag
from feeds.intake.normalise import Declared
from feeds.intake.prepare import NOTHING, UNCHANGED, Prepared, Row
from feeds.intake.types import Deletion, Oddity
from feeds.intake.wire import pack, unpack
from feeds.kernel.errors import BadInputError

AT = datetime(2026, 10, 12, 10, 0, tzinfo=UTC)
CONTENT = NoticeContent(
    title="【示例】停水通知", body="<p>示例路停水。</p>", lang="zh-Hans", published=AT, audience=("居民",),
    attachments=({"url": "https://example.org/a.pdf"},), extra={"cap": {"id": "x"}}, views=3,
)  # fmt: skip
IDENTITY = Identity(1, 2, 3, 4, None, -5, 6, "zh", (7, 8), 9, (10,), True, True)
FULL = Row(
    4, "guid", 2, CONTENT, Declared(("theme:01",), "alert", "sl", (("updates", "other"),)), CONTENT.hash(),
    "示例路停水。", (Tag("theme", "01", "rule@title:停水", 0.5),), "district", "sl01", ("停水", "通知"),
    IDENTITY, "word:x", True, ("m1",),
)  # fmt: skip
BARE = Row(4, "bare", 1, NoticeContent(title="x"), Declared(), NoticeContent(title="x").hash(), "")


@pytest.mark.parametrize("row", [FULL, BARE, replace(BARE, words=(), identity=None)])
def test_a_row_comes_back_equal(row: Row) -> None:
    ((there,),) = [one.rows for one in unpack(pack([Prepared(NOTHING, rows=(row,))]))]  # type: ignore[union-attr]
    assert there == row
    assert all(type(getattr(there, one.name)) is type(getattr(row, one.name)) for one in fields(Row))
    assert there.content.hash() == row.hash


def test_everything_beside_the_rows_comes_along_in_order() -> None:
    full = Prepared(
        NOTHING, (FULL, BARE), (Oddity(1, "title", "no-title", "It has none."),), (Deletion("a", "b", AT),),
        3, 1, ((2, "rule"),), 4, False, 5, (6,), {"n": ("m",)}, ("old",), {"parse": 0.5},
    )  # fmt: skip
    first, error, last = unpack(pack([full, BadInputError("This is no feed."), UNCHANGED]))
    assert (first, last) == (full, UNCHANGED)
    assert isinstance(error, BadInputError) and str(error) == "This is no feed."

"""The editors' weight of a notice, on both databases: stored, read, and nothing else moves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feeds.catalogue.notices import NewNotice, NoticeContent
from feeds.catalogue.store import NoticeFilter, NoticeStore
from feeds.kernel.db import Database
from feeds.kernel.errors import NotFoundError

AT = datetime(2026, 10, 12, 9, 0, tzinfo=UTC)


def test_the_weight_is_kept_through_revisions_and_moves_nothing(database: Database) -> None:
    store = NoticeStore(database)
    first, second = store.add(
        [NewNotice(NoticeContent(title=title), None, f"desk:{title}") for title in ("甲", "乙")], at=AT
    )
    assert [item.prominence for item in store.many([first, second]).values()] == [0, 0]
    material, edits = store.change_numbers()
    store.set_prominence(first, 1)
    store.set_prominence(second, -1)
    assert {item.id: item.prominence for item in store.latest(NoticeFilter())} == {first: 1, second: -1}
    notice = store.get(first)
    assert (notice.revision, notice.changed_at, len(store.revisions(first))) == (1, AT, 1)
    assert store.change_numbers() == (material, edits + 2)  # candidates are encoded anew, feeds stand
    store.revise(
        first, NoticeContent(title="甲二"), tags=(), level="city", place=None, major=True, actor="a",
        note="n", at=AT,
    )  # fmt: skip
    assert store.get(first).prominence == 1
    store.set_prominence(first, 0)
    assert store.get(first).prominence == 0
    with pytest.raises(NotFoundError):
        store.set_prominence(10**6, 1)

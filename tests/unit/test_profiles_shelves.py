"""Shelves move forward packed and read like shelves that were opened each time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import shelves
from profiles.packing import pack_ids, pack_picks
from profiles.reasons import CODES
from profiles.shelves import StoredShelf
from profiles.types import SHELF_SIZE
from tests.factories import NOW, pick

HOUR = timedelta(hours=1)


def after(shelf: StoredShelf, ids: list[int], at: int) -> StoredShelf:
    known = shelf.picked_ids()
    packed = pack_picks([pick(one) for one in ids], CODES)
    fresh = pack_ids(one for one in ids if one not in known)
    return shelf.after(packed, len(ids), fresh, NOW + at * HOUR, known & set(ids))


@given(st.lists(st.lists(st.integers(1, 120), min_size=1, max_size=60, unique=True), max_size=6))
def test_a_shelf_holds_the_latest_fifty_newest_first(editions: list[list[int]]) -> None:
    shelf, naive = StoredShelf(1, 0, b"", b""), []
    for at, ids in enumerate(editions):
        shelf = after(shelf, ids, at)
        naive = [*((one, at) for one in ids), *((one, when) for one, when in naive if one not in ids)]
    opened = shelf.opened()
    wanted = [(one, NOW + at * HOUR) for one, at in naive][:SHELF_SIZE]
    assert [(item.pick.notice_id, item.picked_at) for item in opened.picks] == wanted
    assert opened.version == len(editions) and opened.picked == {one for ids in editions for one in ids}
    for at in range(len(editions)):
        since = NOW + at * HOUR
        assert shelf.ids_since(since) == [one for one, when in wanted if when >= since]
        assert [item.pick.notice_id for item in shelf.opened(since).picks] == shelf.ids_since(since)


def test_what_was_picked_is_remembered_for_the_latest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "PICKED_KEPT", 40)
    shelf = StoredShelf(1, 0, b"", b"")
    for at in range(60):
        shelf = after(shelf, [1_000_000 + 10 * at + n for n in range(10)], at)
    picked = shelf.picked_ids()
    assert len(shelf.picked) <= 3 * 40 + 40 and len(picked) >= 40
    assert {1_000_590 + n for n in range(10)} <= picked and 1_000_000 not in picked

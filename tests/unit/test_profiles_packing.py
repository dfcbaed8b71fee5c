"""The ledger's packing: lossless where it must be, small as promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.bulk import PickTable, Statements, pack_head, pack_many, unpack_many_ids
from profiles.packing import (
    KINDS,
    PackedPicks,
    add_ids,
    pack_ids,
    pack_picks,
    unpack_ids,
    unpack_pick_ids,
    unpack_picks,
)
from profiles.reasons import CODES, NAMES
from profiles.types import Pick, Reason

_halves = st.floats(width=16, allow_nan=False, allow_infinity=False)
_reasons = st.builds(
    Reason,
    code=st.sampled_from(sorted(CODES)),
    params=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    contribution=_halves,
)
_picks = st.builds(
    Pick,
    notice_id=st.integers(0, 2**62),
    revision=st.integers(0, 1000),
    kind=st.sampled_from(["new", "update", "reminder", "mandatory", "explored"]),
    reasons=st.lists(_reasons, max_size=3).map(tuple),
    score=_halves,
    propensity=_halves,
)


@given(st.lists(_picks, max_size=60))
def test_picks_survive_packing(picks: list[Pick]) -> None:
    assert unpack_picks(pack_picks(picks, CODES), NAMES) == tuple(picks)


@given(st.sets(st.integers(1, 2**60)))
def test_ids_survive_packing(ids: set[int]) -> None:
    assert unpack_ids(pack_ids(ids)) == sorted(ids)


def test_a_profile_day_stays_within_400_bytes() -> None:
    """Ten picks, three reasons each, ids of a city with two million notices, ten different tags."""
    picks = [
        Pick(
            2_000_000 + n,
            2,
            "new",
            (
                Reason("interest", (f"theme:04{n:02}",), 1.25),
                Reason("place", ("place:310106", "parents"), 0.75),
                Reason("learned", (f"theme:07{n % 4:02}",), 0.5),
            ),
            2.5,
        )
        for n in range(10)
    ]
    assert len(pack_picks(picks, CODES)) <= 400


def test_cut_bytes_are_refused() -> None:
    packed = pack_picks([Pick(1, 1, "new", (Reason("fresh", (), 0.5),))], CODES)
    for length in range(len(packed)):
        with pytest.raises(ValueError, match=r"cut short|version"):
            unpack_picks(packed[:length], NAMES)


def test_numbers_beyond_a_half_float_are_clipped() -> None:
    [back] = unpack_picks(pack_picks([Pick(1, 1, "new", (), 1e9)], CODES), NAMES)
    assert back.score == 65504.0


def test_editions_of_the_first_layout_are_still_read() -> None:
    # version 1, params "theme:0402" and "home"; one pick: id 300, revision 2, explored at 0.25, score 1.5.
    packed = (
        b"\x01\x02\x05\x010402\x04home"
        b"\x01\xac\x02\x02\x84\x00\x3e\x00\x34\x02"
        b"\x05\x00\x3c\x00"
        b"\x0e\x00\x38\x00\x01"
    )
    reasons = (Reason("interest", ("theme:0402",), 1.0), Reason("place", ("theme:0402", "home"), 0.5))
    assert unpack_picks(packed, NAMES) == (Pick(300, 2, "explored", reasons, 1.5, 0.25),)
    assert unpack_pick_ids(packed, NAMES) == (300,)
    for length in range(len(packed)):
        with pytest.raises(ValueError, match=r"cut short|version"):
            unpack_picks(packed[:length], NAMES)


@given(st.lists(st.lists(_picks, min_size=1, max_size=9), max_size=8))
def test_many_editions_pack_as_one_by_one(editions: list[list[Pick]]) -> None:
    statements, flat = Statements(), [pick for picks in editions for pick in picks]
    reasons = [reason for pick in flat for reason in pick.reasons]
    table = PickTable(
        editions=np.cumsum([0, *map(len, editions)]),
        ids=np.array([pick.notice_id for pick in flat], dtype=np.int64),
        revisions=np.array([pick.revision for pick in flat], dtype=np.int64),
        kinds=np.array([KINDS.index(pick.kind) for pick in flat], dtype=np.int64),
        scores=np.array([pick.score for pick in flat], dtype=np.float32),
        chances=np.array([pick.propensity for pick in flat], dtype=np.float32),
        reasons=np.cumsum([0, *(len(pick.reasons) for pick in flat)]),
        said=np.array([statements.number(one.code, one.params) for one in reasons], dtype=np.int64),
        worth=np.array([one.contribution for one in reasons], dtype=np.float32),
    )
    heads = [pack_head(pick.notice_id, pick.revision) for pick in flat]
    packed = pack_many(table, heads, statements)
    assert [unpack_picks(one, NAMES) for one in packed] == [tuple(picks) for picks in editions]
    assert [unpack_pick_ids(one, NAMES) for one in packed] == [
        tuple(pick.notice_id for pick in picks) for picks in editions
    ]


def test_an_edition_may_say_more_different_things_than_a_byte_can_number() -> None:
    picks = [Pick(n, 1, "new", (Reason("interest", (f"word:{n}",), 1.0),)) for n in range(1, 301)]
    assert unpack_picks(pack_picks(picks, CODES), NAMES) == tuple(picks)
    statements, count = Statements(), len(picks)
    table = PickTable(
        np.array([0, count]), np.arange(1, count + 1), np.ones(count, np.int64), np.zeros(count, np.int64),
        np.zeros(count, np.float32), np.ones(count, np.float32), np.arange(count + 1),
        np.array([statements.number("interest", (f"word:{n}",)) for n in range(1, count + 1)]),
        np.ones(count, np.float32),
    )  # fmt: skip
    (packed,) = pack_many(table, [pack_head(n, 1) for n in range(1, count + 1)], statements)
    assert unpack_picks(packed, NAMES) == tuple(picks)


_ids = st.lists(st.sets(st.integers(1, 2**60), max_size=8), max_size=4)


@given(st.lists(_ids, max_size=6))
def test_ids_are_put_behind_each_other_and_read_all_at_once(many: list[list[set[int]]]) -> None:
    blobs = []
    for groups in many:
        blob = b""
        for ids in groups:
            blob = add_ids(blob, pack_ids(ids))
        assert unpack_ids(blob) == [one for ids in groups for one in sorted(ids)]
        blobs.append(blob)
    owners, found = unpack_many_ids(blobs)
    for number, blob in enumerate(blobs):
        assert found[owners == number].tolist() == unpack_ids(blob)


def test_packed_picks_become_objects_only_where_somebody_looks() -> None:
    made: list[int] = []

    def make() -> tuple[Pick, ...]:
        made.append(1)
        return (Pick(1, 1, "new", ()), Pick(2, 1, "new", ()))

    picks = PackedPicks(b"", b"", 2, 2, make)
    assert len(picks) == 2 and not made
    assert [one.notice_id for one in picks] == [1, 2] and picks[-1].notice_id == 2 and made == [1]

"""The ledger's packing: lossless where it must be, small as promised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.packing import pack_ids, pack_picks, unpack_ids, unpack_picks
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
    assert unpack_ids(pack_ids(ids)) == ids


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

"""The best of many for many at once: exact, whatever the scores; threads and BLAS are left as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommender.threads import one_blas_thread, side_by_side
from recommender.topk import CLOSED, score, top
from recommender.types import Floats, add_product, lists


def plain(scores: Floats, k: int) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(1, 700),
    st.integers(1, 80),
    st.integers(0, 2**32),
    st.sampled_from([3, 1000]),
)
def test_it_is_what_sorting_everything_gives(rows: int, width: int, k: int, seed: int, kinds: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.integers(-kinds, kinds, (rows, width)).astype(np.float32)  # many are equal
    scores[draw.random(scores.shape) < draw.random()] = CLOSED
    columns, values = top(scores, k)
    assert columns.tolist() == plain(scores, k).tolist()
    assert values.tolist() == np.take_along_axis(scores, columns, axis=1).tolist()


@given(arrays(np.float32, (3, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_any_float_is_ordered(scores: Floats) -> None:
    columns, _ = top(scores, 7)
    assert columns.tolist() == plain(scores, 7).tolist()  # also -0.0, which equals 0.0


@pytest.mark.parametrize(("rows", "width", "k"), [(0, 5, 3), (3, 0, 3), (3, 5, 0), (2, 3, 9)])
def test_nothing_or_too_much_is_asked_for(rows: int, width: int, k: int) -> None:
    columns, values = top(np.zeros((rows, width), dtype=np.float32), k)
    assert columns.shape == values.shape == (rows, min(k, width))


def test_wishes_are_added_to_the_product() -> None:
    draw = np.random.default_rng(1)
    left, right = (draw.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (3, 9)))
    table = draw.standard_normal((5, 9)).astype(np.float32)
    wishes = lists([[0, 4], [], [2], [1, 2, 3]], 5, [2.0, 2.0, 3.0, 1.0])
    wanted = left @ right + wishes.csr() @ table
    assert np.allclose(score(left, right, wishes, table), wanted, atol=1e-5)
    turned = np.zeros((9, 4), dtype=np.float32).T  # not contiguous: the slow way gives the same
    add_product(turned, wishes, table)
    assert np.allclose(turned + left @ right, wanted, atol=1e-5)
    assert np.allclose(score(left[1:3], right, wishes.part(1, 3), table), wanted[1:3], atol=1e-5)


def test_a_closed_cell_stays_below_every_score() -> None:
    scores = np.array([[5.0, -40.0, 3.0]], dtype=np.float32)
    closed = scores + np.array([[True, False, False]]) * CLOSED
    columns, values = top(closed, 3)
    assert columns.tolist() == [[2, 1, 0]] and (values > CLOSED).tolist() == [[True, True, False]]


def test_side_by_side_keeps_the_order_and_raises_what_was_raised() -> None:
    assert side_by_side(lambda n: n * n, range(20), threads=3) == [n * n for n in range(20)]
    assert side_by_side(lambda n: n, [], threads=3) == []
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda n: 1 // n, [1, 0, 1], threads=2)


def test_blas_threads_come_back_after_the_last_one_left() -> None:
    from recommender import threads

    library = threads._openblas()
    if library is None:
        pytest.skip("numpy is built with another BLAS here")
    before = library[0]()
    with one_blas_thread() as held, one_blas_thread():
        assert held and library[0]() == 1
    assert library[0]() == before

"""Maximal marginal relevance over a batch equals the plain definition, list by list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from recommender import diversity
from recommender.diversity import Likeness, mmr, scaled
from recommender.types import Floats, Ints, Mask

LAMBDAS = st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.85, 0.9, 1.0])


def plain(
    relevance: Floats, columns: Ints, table: Floats, lam: float, take: int, standing: Ints, there: Mask
) -> list[list[int]]:
    """The definition, one list at a time, in the same float32."""
    found = []
    values = relevance if lam == 1 else np.float32(lam) * scaled(relevance, there)
    for row in range(relevance.shape[0]):
        stands = [int(c) for c in standing[row] if c >= 0]
        left = [k for k in range(relevance.shape[1]) if there[row, k]]
        picked: list[int] = []
        while left and len(picked) < min(take, relevance.shape[1]):
            best, best_value = -1, None
            for k in left:
                near = max((table[s, columns[row, k]] for s in stands), default=np.float32(0))
                value = values[row, k] - np.float32(1 - lam) * near
                if best_value is None or value > best_value:
                    best, best_value = k, value
            picked.append(best)
            left.remove(best)
            stands.append(int(columns[row, best]))
        found.append(picked + [-1] * (min(take, relevance.shape[1]) - len(picked)))
    return found


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Floats, Ints, Floats, Ints, Mask]:
    lists, width, n = draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 9))
    few = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0, float("-inf"), float("nan")])
    relevance = draw(arrays.arrays(np.float32, (lists, width), elements=few))
    columns = draw(arrays.arrays(np.int64, (lists, width), elements=st.integers(0, n - 1)))
    small = st.sampled_from([-1.0, 0.0, 0.25, 1.0])
    vectors = draw(arrays.arrays(np.float32, (n, 3), elements=small))
    standing = draw(arrays.arrays(np.int64, (lists, 2), elements=st.integers(-1, n - 1)))
    mask = draw(arrays.arrays(np.bool_, (lists, width)))
    return relevance, columns, vectors, standing, mask


@given(worlds(), LAMBDAS, st.integers(0, 8))
def test_equals_the_definition(world: tuple[Floats, Ints, Floats, Ints, Mask], lam: float, take: int) -> None:
    relevance, columns, vectors, standing, mask = world
    alike = Likeness.of(vectors)
    assert alike.whole is not None
    found = mmr(relevance, columns, alike, lam, take, standing=standing, mask=mask)
    there = mask & np.isfinite(relevance)
    assert found.tolist() == plain(relevance, columns, alike.whole, lam, take, standing, there)


@given(worlds(), LAMBDAS)
def test_too_many_notices_for_one_table_give_the_same(
    world: tuple[Floats, Ints, Floats, Ints, Mask], lam: float
) -> None:
    relevance, columns, vectors, standing, mask = world
    # Powers of a half: every sum is exact in whatever order it is made.
    vectors = np.where(vectors != 0, np.float32(1), np.float32(0)) * (np.arange(3) < 1)
    whole = Likeness.of(vectors.astype(np.float32))
    bare = Likeness(whole.rows, None)
    one = mmr(relevance, columns, whole, lam, 5, standing=standing, mask=mask)
    other = mmr(relevance, columns, bare, lam, 5, standing=standing, mask=mask)
    assert one.tolist() == other.tolist()


@given(worlds(), LAMBDAS)
def test_a_choice_is_never_made_twice_or_outside(
    world: tuple[Floats, Ints, Floats, Ints, Mask], lam: float
) -> None:
    relevance, columns, vectors, standing, mask = world
    found = mmr(
        relevance, columns, Likeness.of(vectors), lam, relevance.shape[1], standing=standing, mask=mask
    )
    for row, line in enumerate(found.tolist()):
        real = [k for k in line if k >= 0]
        assert sorted(real) == np.flatnonzero(mask[row] & np.isfinite(relevance[row])).tolist()
        assert line[: len(real)] == real


@given(arrays.arrays(np.float32, (3, 9), elements=st.floats(-(2.0**90), 2.0**90, width=32)))
def test_lambda_of_one_is_the_order_of_relevance(relevance: Floats) -> None:
    columns = np.tile(np.arange(9), (3, 1))
    found = mmr(relevance, columns, Likeness.of(np.ones((9, 2), np.float32)), 1.0, 9)
    assert found.tolist() == np.argsort(-relevance, axis=1, kind="stable").tolist()


def test_a_repeat_waits_for_something_else() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    columns = np.array([[0, 1, 2]])
    relevance = np.array([[1.0, 0.95, 0.9]], dtype=np.float32)
    assert mmr(relevance, columns, Likeness.of(vectors), 1.0, 3).tolist() == [[0, 1, 2]]
    assert mmr(relevance, columns, Likeness.of(vectors), 0.5, 3).tolist() == [[0, 2, 1]]


def test_what_stands_already_counts() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    relevance = np.array([[1.0, 0.9]], dtype=np.float32)
    columns, standing = np.array([[1, 2]]), np.array([[0, -1]])
    assert mmr(relevance, columns, Likeness.of(vectors), 0.4, 1, standing=standing).tolist() == [[1]]
    assert mmr(relevance, columns, Likeness.of(vectors), 0.4, 1).tolist() == [[0]]


@given(st.floats(0.01, 1e6), st.floats(-1e3, 1e3))
def test_lambda_means_the_same_on_every_scale(factor: float, shift: float) -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    columns, relevance = np.arange(4)[None, :], np.array([[4.0, 3.0, 1.0, 0.0]])
    moved = (relevance * 4096 * factor + shift * factor).astype(np.float32)
    one = mmr(relevance.astype(np.float32), columns, Likeness.of(vectors), 0.6, 4)
    assert one.tolist() == mmr(moved, columns, Likeness.of(vectors), 0.6, 4).tolist()


def test_sparse_rows_give_the_same_as_dense_ones() -> None:
    draw = np.random.default_rng(3)
    rows = (draw.random((40, 12)) < 0.3).astype(np.float32)
    rows[5] = 0
    dense, thin = Likeness.of(rows), Likeness.of(sparse.csr_matrix(rows))
    assert dense.whole is not None and thin.whole is not None
    np.testing.assert_allclose(dense.whole, thin.whole, atol=1e-6)
    assert dense.whole[5].max() == 0


def test_odd_vectors_are_like_nothing() -> None:
    rows = np.array([[np.nan, 1], [1, 0], [np.inf, 0], [1, 0]], dtype=np.float32)
    alike = Likeness.of(rows)
    assert alike.whole is not None
    assert alike.whole.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize("lam", [-0.1, 1.1, float("nan")])
def test_a_lambda_outside_is_refused(lam: float) -> None:
    with pytest.raises(ValueError, match="lambda"):
        mmr(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int64), Likeness.of(np.eye(1)), lam, 1)


def test_nothing_to_choose_from() -> None:
    alike = Likeness.of(np.zeros((0, 3), np.float32))
    assert len(alike) == 0
    assert mmr(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.int64), alike, 0.8, 3).shape == (0, 3)
    assert mmr(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.int64), alike, 0.8, 3).shape == (2, 0)
    gone = np.full((1, 2), -np.inf, dtype=np.float32)
    alike = Likeness.of(np.eye(2, dtype=np.float32))
    assert mmr(gone, np.array([[9, 9]]), alike, 0.8, 2).tolist() == [[-1, -1]]


def test_many_notices_are_split_into_small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    vectors = draw.standard_normal((300, 8)).astype(np.float32)
    columns = np.argsort(draw.random((20, 300)), axis=1)[:, :30]
    relevance = -np.sort(-draw.random((20, 30)).astype(np.float32), axis=1)
    one = mmr(relevance, columns, Likeness.of(vectors), 0.8, 10)
    monkeypatch.setattr(diversity, "_WHOLE", 64)
    alike = Likeness.of(vectors)
    assert alike.whole is None
    assert mmr(relevance, columns, alike, 0.8, 10).tolist() == one.tolist()

"""Training and going on with training: repeatable, over frozen vocabularies, and it learns."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.model import Fitted, fit, refit
from recommender.types import Csr, coo, csr

pytest.importorskip("lightfm")
N = 12


def _rows(count: int, width: int) -> Csr:
    return csr(({n % width: 1.0} for n in range(count)), width)


def _pairs(users: int, items: int, half: int) -> object:
    """Even users care for even items of a half, odd ones for odd ones."""
    cells = [(u, i) for u in range(users) for i in range(items) if u % 2 == i % 2 and i % 4 // 2 == half]
    return coo((u for u, _ in cells), (i for _, i in cells), (1.0 for _ in cells), (users, items))


def _same(left: Fitted, right: Fitted) -> bool:
    names = ("user_vectors", "user_biases", "item_vectors", "item_biases")
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)


def _gap(fitted: Fitted) -> float:
    scores = fitted.user_vectors @ fitted.item_vectors.T + fitted.item_biases
    new = [(u, i) for u in range(N) for i in range(N) if i % 4 // 2 == 1]
    liked = np.mean([scores[u, i] for u, i in new if u % 2 == i % 2])
    return float(liked - np.mean([scores[u, i] for u, i in new if u % 2 != i % 2]))


def test_going_on_is_repeatable_and_learns_what_is_new_without_touching_what_it_began_with() -> None:
    users, items = _rows(N, N), _rows(N, N)
    first = fit(_pairs(N, N, 0), users, items, seed=3, dim=8, epochs=5)
    before = Fitted(*(np.array(getattr(first, name)) for name in Fitted.__dataclass_fields__))
    again = [refit(first, _pairs(N, N, 1), users, items, seed=4, epochs=20) for _ in range(2)]
    assert _same(*again)
    assert _same(first, before)
    assert _gap(again[0]) > _gap(first)


def test_going_on_takes_other_rows_over_the_same_vocabulary() -> None:
    first = fit(_pairs(N, N, 0), _rows(N, N), _rows(N, N), seed=3, dim=8, epochs=2)
    more = refit(first, _pairs(2 * N, N, 1), _rows(2 * N, N), _rows(N, N), seed=4)
    assert more.user_vectors.shape == first.user_vectors.shape


def test_another_vocabulary_is_refused_and_nothing_new_changes_nothing() -> None:
    first = fit(_pairs(N, N, 0), _rows(N, N), _rows(N, N), seed=3, dim=8, epochs=2)
    with pytest.raises(ValueError, match="another vocabulary"):
        refit(first, _pairs(N, N, 1), _rows(N, N + 1), _rows(N, N), seed=4)
    nothing = coo((), (), (), (N, N))
    assert _same(refit(first, nothing, _rows(N, N), _rows(N, N), seed=4), first)

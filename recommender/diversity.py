"""Trade a little relevance for less of the same: maximal marginal relevance over a batch of lists. Pure.

Reads no clock, database or setting; numpy only. It orders what it is given and never adds, and knows neither
rules nor caps. Called by ``rank``; its λ and what it costs are in docs/recommender.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.types import Csr, Floats, Ints, Mask

#: Up to this many notices every likeness is worked out once and looked up: 4,096² floats are 64 MB.
_WHOLE = 4096


@dataclass(frozen=True)
class Likeness:
    """How like two notices are, by the cosine of their rows; what points apart counts as unrelated (0).

    Attributes:
        rows: (n, d), dense or CSR, float32, of length 1 (or all 0: like nothing, not even itself).
        whole: float32 (n, n), while n is small enough to hold it.
    """

    rows: Csr | Floats
    whole: Floats | None

    @classmethod
    def of(cls, rows: Csr | Floats) -> Likeness:
        """Scale the rows to length 1; a row with a value that is not finite is like nothing.

        Args:
            rows: (n, d), float32; a numpy array or a scipy CSR matrix. n may be 0.
        """
        if isinstance(rows, np.ndarray):
            clean = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, np.float32(0))
            lengths = np.sqrt(np.einsum("ij,ij->i", clean, clean))
            unit = (clean / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
        else:
            unit = rows.copy().astype(np.float32)
            unit.data[~np.isfinite(unit.data)] = 0
            lengths = np.sqrt(np.asarray(unit.multiply(unit).sum(axis=1)).ravel())
            unit.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(unit.indptr)).astype(np.float32)
        return cls(unit, _table(unit) if unit.shape[0] <= _WHOLE else None)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def among(self, columns: Ints) -> tuple[Floats, Ints]:
        """Return a square table of likenesses, and the columns renumbered as its rows (same shape)."""
        if self.whole is not None:
            return self.whole, columns
        used, places = np.unique(columns, return_inverse=True)
        return _table(self.rows[used]), places.reshape(columns.shape)


def mmr(
    relevance: Floats, columns: Ints, alike: Likeness, lam: float, take: int, *,
    standing: Ints | None = None, mask: Mask | None = None,
) -> Ints:  # fmt: skip
    """Order lists greedily by ``lam × relevance − (1 − lam) × likeness to what already stands``.

    Relevance is scaled to 0..1 inside each list first, so that ``lam`` means the same for everybody; likeness
    is that to the nearest notice that stands. Costs O(lists × K × take).

    Args:
        relevance: float32 (lists, K), higher is better. Cells of ``-inf`` or NaN do not exist.
        columns: int (lists, K): which row of ``alike`` each cell is; anything in cells that do not exist.
        alike: Likenesses of all notices of the run.
        lam: 0 to 1. 1 is the order of relevance exactly.
        take: How many to choose from each list, 0 or more.
        standing: int (lists, F): rows of ``alike`` that stand in the list already (by rule, or from earlier
            today), -1 for none. They are not returned; what comes after is measured against them.
        mask: bool (lists, K): cells that exist; ``None`` for all.

    Returns:
        int64 (lists, min(take, K)): positions 0..K-1 in the order chosen, -1 once a list has no more. Of
        equal values the earlier cell is taken.

    Raises:
        ValueError: If ``lam`` is outside 0..1.
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"lambda must be between 0 and 1, got {lam}")
    lists, width = relevance.shape
    there = np.isfinite(relevance) if mask is None else mask & np.isfinite(relevance)
    steps = max(0, min(take, width))
    if not steps or not lists:
        return np.full((lists, steps), -1, dtype=np.int64)
    if lam == 1:
        return _take(np.where(there, relevance, -np.inf), None, np.float32(0), steps)
    value = np.float32(lam) * scaled(relevance, there)
    value[~there] = -np.inf
    known = np.where(there, columns, 0)
    given = np.empty((lists, 0), dtype=np.int64) if standing is None else standing
    # Where the table is made for a few lists at a time, few enough that it stays small.
    span = lists if alike.whole is not None else max(1, _WHOLE // (width + given.shape[1]))
    parts = []
    for start in range(0, lists, span):
        rows = slice(start, start + span)
        nearest = _Nearest(alike, known[rows], given[rows])
        parts.append(_take(value[rows], nearest, np.float32(1 - lam), steps))
    return np.concatenate(parts)


def scaled(relevance: Floats, there: Mask) -> Floats:
    """Scale each list to 0..1 over the cells that exist; 0 where they are all equal, and where none is."""
    low = np.where(there, relevance, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(there, relevance, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    span = np.where(high > low, high.astype(np.float64) - low, 1.0)
    found: Floats = np.where(there, (relevance - np.where(span > 0, low, 0).astype(np.float64)) / span, 0.0)
    return found.astype(np.float32)


class _Nearest:
    """For each cell, its likeness to the nearest notice that stands; grows as notices are chosen."""

    def __init__(self, alike: Likeness, columns: Ints, standing: Ints) -> None:
        together = np.concatenate([columns, np.maximum(standing, 0)], axis=1)
        table, places = alike.among(together)
        width = columns.shape[1]
        self.flat, self.stride, self.cells = table.ravel(), table.shape[0], places[:, :width]
        self.best = np.zeros(columns.shape, dtype=np.float32)
        self.at, self.found = np.empty_like(self.cells), np.empty_like(self.best)
        for step in range(standing.shape[1]):
            found = self.flat[places[:, width + step, None] * self.stride + self.cells]
            np.maximum(self.best, np.where(standing[:, step, None] >= 0, found, 0), out=self.best)

    def add(self, rows: Ints, chosen: Ints) -> None:
        """Let the chosen cell of each list stand."""
        begins = self.cells[rows, chosen] * self.stride
        np.add(begins[:, None], self.cells, out=self.at)
        self.flat.take(self.at, out=self.found, mode="clip")  # in range anyway; "raise" would copy
        np.maximum(self.best, self.found, out=self.best)


def _take(value: Floats, nearest: _Nearest | None, cost: np.float32, steps: int) -> Ints:
    rows = np.arange(value.shape[0])
    found = np.empty((rows.size, steps), dtype=np.int64)
    value, spare = value.copy(), np.empty_like(value)
    for step in range(steps):
        gain = value
        if nearest is not None:
            np.multiply(nearest.best, cost, out=spare)
            gain = np.subtract(value, spare, out=spare)
        chosen = gain.argmax(axis=1)
        found[:, step] = np.where(np.isneginf(gain[rows, chosen]), -1, chosen)
        value[rows, chosen] = -np.inf
        if nearest is not None and step + 1 < steps:
            nearest.add(rows, chosen)
    return found


def _table(unit: Csr | Floats) -> Floats:
    product = unit @ unit.T
    table: Floats = product if isinstance(product, np.ndarray) else product.toarray()
    np.clip(table, 0, 1, out=table)
    return table

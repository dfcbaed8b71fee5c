"""Items as documents: tags and title words weighed by TF-IDF over a frozen vocabulary. Pure.

Used by the content profile among the methods and by the measure of how alike a list is, so that both mean the
same by "alike". Called by ``replay.methods`` and ``replay.measures``.
"""

from __future__ import annotations

import numpy as np

from recommender.log import Log
from recommender.types import Csr, FeatureSpace, Floats, csr, ones

#: A token of fewer items than this says nothing that carries over to others.
FEWEST_ITEMS = 5


def tfidf(log: Log, frozen: int) -> Csr:
    """Weigh every item's tokens; the vocabulary and its weights come from the items before ``frozen``.

    Returns:
        float32 CSR (n_items, n_tokens), rows of length 1; the row of an item without a known token is empty.
    """
    early = int(np.searchsorted(log.item_time, frozen, side="left"))
    counts: dict[str, int] = {}
    for tokens in log.item_tokens[:early]:
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
    space = FeatureSpace.of(sorted(token for token, n in counts.items() if n >= FEWEST_ITEMS))
    frequency = np.array([counts[token] for token in space.names], dtype=np.float64)
    weight = np.log((1 + early) / (1 + frequency)) + 1
    rows = ones(
        ([space.columns[t] for t in tokens if t in space.columns] for tokens in log.item_tokens), len(space)
    )
    rows.data = weight[rows.indices].astype(np.float32)
    return l2(rows)


def tags(log: Log) -> Csr:
    """Ones where an item carries a tag (one without tags: a word): float32 CSR (n_items, n_tags)."""
    chosen = [tuple(t for t in tokens if t.startswith("t:")) or tokens for tokens in log.item_tokens]
    space = FeatureSpace.of(token for tokens in chosen for token in tokens)
    return ones(([space.columns[token] for token in tokens] for tokens in chosen), len(space))


def l2(rows: Csr) -> Csr:
    """Scale rows to length 1; empty rows stay empty."""
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return scaled(rows, np.divide(1.0, length, out=np.zeros_like(length), where=length > 0))


def scaled(rows: Csr, by: Floats) -> Csr:
    """Multiply each row by a number."""
    times = np.repeat(np.asarray(by, dtype=np.float32), np.diff(rows.indptr))
    return type(rows)((rows.data * times, rows.indices, rows.indptr), shape=rows.shape)


def empty(height: int, width: int) -> Csr:
    """A matrix without any cell."""
    return csr(({} for _ in range(height)), width)

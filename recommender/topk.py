"""The best of many candidates for many people at once: one matrix product, then the exact best k of each row.

Knows nothing of notices or residents. Called by ``blend`` and ``rank`` with blocks of rows that stay inside
the processor's cache; measured by ``bench/score.py``. Pure.
"""

from __future__ import annotations

import numpy as np

from recommender.types import Floats, Ints, Rows, add_product

#: Rows scored together: with 2,000 candidates an array of them takes 2 MB.
ROWS = 256


#: What is added to close a cell: no score changes it, and unlike minus infinity it can be multiplied by 0.
CLOSED = np.float32(-1e30)


def score(
    left: Floats, right: Floats, wishes: Rows | None = None, table: Floats | None = None,
    out: Floats | None = None,
) -> Floats:  # fmt: skip
    """Score every row with every column: ``left @ right``, plus ``wishes @ table`` for what is met by few.

    Args:
        left: float32 (rows, dim).
        right: float32 (dim, columns). What is the same for all rows, or for all of a kind (freshness, a
            language that is not read), costs next to nothing as one more dimension.
        wishes: (rows, tags).
        table: float32 (tags, columns): strength of each tag at each column.
        out: float32 (rows, columns) to write into, instead of a new array.

    Returns:
        float32 (rows, columns).
    """
    scores: Floats = np.matmul(left, right, out=out)
    if wishes is not None and table is not None:
        add_product(scores, wishes, table)
    return scores


def top(scores: Floats, k: int) -> tuple[Ints, Floats]:
    """Return the best ``k`` of each row, best first; equal ones by column, smaller first.

    Args:
        scores: float32 (rows, columns), without NaN; what is not above :data:`CLOSED` is closed.
        k: At most ``columns`` are returned.

    Returns:
        Columns int64 (rows, k) and scores float32 (rows, k); closed ones stand last.
    """
    rows, width = scores.shape
    k = min(k, width)
    if not rows or not k:
        return np.zeros((rows, k), dtype=np.int64), np.zeros((rows, k), dtype=np.float32)
    cells = np.flatnonzero(scores >= _floor(scores, k))
    starts = np.searchsorted(cells, np.arange(rows + 1) * width)
    counts = np.diff(starts)
    keys = np.full((rows, int(counts.max())), np.iinfo(np.int64).max, dtype=np.int64)
    # Cells come row by row, so in their order they fill the places left of each row's count.
    filled = np.arange(keys.shape[1]) < counts[:, None]
    keys[filled] = _key(scores.ravel()[cells], cells - np.repeat(np.arange(rows) * width, counts))
    keys.sort(axis=1)
    best: Ints = keys[:, :k] & 0xFFFFFFFF
    return best, np.take_along_axis(scores, best, axis=1)


def _floor(scores: Floats, k: int) -> Floats:
    """A bound for each row, (rows, 1): at least k of its scores reach it, and seldom many more.

    The best of each of k groups of columns are k different scores, so the k-th best of such ones is a bound.
    """
    rows, width = scores.shape
    groups = min(width, max(128, 4 * k))
    whole = width // groups * groups
    highest = scores[:, :whole].reshape(rows, -1, groups).max(axis=1)
    if whole < width:
        np.maximum(highest[:, : width - whole], scores[:, whole:], out=highest[:, : width - whole])
    highest.sort(axis=1)  # faster than to partition so few
    bound: Floats = highest[:, groups - k : groups - k + 1]
    return bound


def _key(values: Floats, columns: Ints) -> Ints:
    """One number that sorts like (score downwards, column upwards): the bits of a float, turned over."""
    bits = (values + np.float32(0)).view(np.int32)  # -0 and 0 are one value
    falling = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    key: Ints = (falling.astype(np.int64) << 32) | columns
    return key

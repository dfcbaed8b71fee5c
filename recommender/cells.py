"""The score of single cells, part by part, with the single facts each part is made of. Pure.

The same figures as ``blend`` gives for whole rows, for the few cells that are picked: reasons and rankers
need to know what met what there. Called by ``select``, read by ``explain``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.blend import Asked, Prepared, saturate
from recommender.second_stage import Second
from recommender.types import Floats, Ints, Rows
from recommender.wishes import lines_of, place_strengths


@dataclass(frozen=True)
class Lines:
    """Single facts that met cells, cell by cell.

    Attributes:
        cell: int64 (n_lines,), ascending.
        entry: int64 (n_lines,): which fact, see the field that holds it.
        strength: float32 (n_lines,).
    """

    cell: Ints
    entry: Ints
    strength: Floats


@dataclass(frozen=True)
class Cells:
    """Cells of a batch; cell i is candidate ``columns[i]`` for profile ``rows[i]``.

    Attributes:
        parts: Part → float32 (n_cells,), in the order of :data:`recommender.blend.PARTS`; last ``second``,
            where the second stage had a say.
        second: What it said; ``None`` where nothing. ``place``: int64 (n_cells,), where each cell stood among
            those it looked at, -1 for the others.
        interests: Facts by row of ``pool.topics``. ``words``: by row of ``Words``. ``roles``: by row of
            ``pool.roles``. ``places``: by line of ``Wishes.places``. ``tastes``: by row of ``pool.tags``.
    """

    asked: Asked
    ready: Prepared
    rows: Ints
    columns: Ints
    parts: dict[str, Floats]
    interests: Lines
    words: Lines
    roles: Lines
    places: Lines
    tastes: Lines
    second: Second | None = None
    place: Ints | None = None

    @property
    def total(self) -> Floats:
        """The scores, float32 (n_cells,)."""
        found: Floats = np.sum(list(self.parts.values()), axis=0, dtype=np.float32)
        return found


def cells(asked: Asked, rows: Ints, columns: Ints, ready: Prepared, second: Second | None = None) -> Cells:
    """Work out every part at some cells.

    Args:
        asked: The profiles.
        rows: int64 (n_cells,): rows of ``asked``, ascending.
        columns: int64 (n_cells,): candidates.
        ready: What the scores are made from.
        second: What the second stage said of the batch.
    """
    pool, said, weights, size = ready.pool, asked.said, ready.weights, rows.size
    interests = _met(said.interests, pool.topics, rows, columns)
    words, roles = _words(asked, rows, columns), _met(said.roles, pool.roles, rows, columns)
    tastes = _met(said.tastes, pool.tags, rows, columns)
    owner, line = lines_of(said.places.starts, rows)
    places = Lines(owner, line, place_strengths(said.places, line, columns[owner], pool))
    interest = _sum(interests, size) + _sum(words, size)
    saturate(interest, weights)
    place = np.zeros(size, dtype=np.float32)
    np.maximum.at(place, owner, places.strength)
    elsewhere = said.follows_some[rows] & pool.local[columns] & (place == 0)
    role = np.where(elsewhere, 0, np.minimum(_sum(roles, size), 1) * np.float32(weights.role))
    declared = (interest > 0) | (place > 0) | (role > 0)
    cap = weights.taste_cap
    parts = {
        "interest": interest,
        "place": np.where(elsewhere, weights.elsewhere, place * np.float32(weights.place)),
        "role": role,
        "taste": np.clip(_sum(tastes, size), weights.taste_least, cap) * np.float32(weights.taste),
        "learned": _learned(asked, rows, columns, ready),
        "clicks": _clicks(asked, rows, columns, ready),
        "deadline": declared * ready.pressure[columns],
        "fresh": ready.fresh[columns], "editor": ready.editor[columns],
        "priority": ready.priority[columns] * (~pool.local[columns] | (place > 0)),
        "citywide": ready.citywide[columns],
    }  # fmt: skip
    parts = {name: part.astype(np.float32, copy=False) for name, part in parts.items()}
    where = None
    if second is not None:
        parts["second"], where = second.at(rows, columns)
    return Cells(asked, ready, rows, columns, parts, interests, words, roles, places, tastes, second, where)


def _met(facts: Rows, table: Floats, rows: Ints, columns: Ints) -> Lines:
    """Facts of the rows that meet the columns at all."""
    owner, place = lines_of(facts.indptr, rows)
    entry = facts.indices[place].astype(np.int64)
    strength = table[entry, columns[owner]] * facts.data[place]
    there = strength != 0
    return Lines(owner[there], entry[there], strength[there])


def _words(asked: Asked, rows: Ints, columns: Ints) -> Lines:
    words = asked.said.words
    if words is None:
        return Lines(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    owner, place = lines_of(words.spoken.indptr, rows)
    word, width = words.spoken.indices[place].astype(np.int64), words.said.shape[1]
    titles = (
        np.repeat(np.arange(words.said.shape[0]), np.diff(words.said.indptr)) * width + words.said.indices
    )
    heard = np.isin(word * width + columns[owner], titles)
    return Lines(owner[heard], word[heard], np.ones(int(heard.sum()), dtype=np.float32))


def _learned(asked: Asked, rows: Ints, columns: Ints, ready: Prepared) -> Floats:
    if asked.vectors is None or ready.taught is None:
        return np.zeros(rows.size, dtype=np.float32)
    found = np.einsum("ij,ij->i", asked.vectors[rows], ready.taught.by_item[columns])
    cap = abs(ready.weights.learned) * ready.weights.learned_cap
    clipped: Floats = np.clip(found, -cap, cap)
    return clipped


def _clicks(asked: Asked, rows: Ints, columns: Ints, ready: Prepared) -> Floats:
    if asked.shares is None or ready.lift is None:
        return np.zeros(rows.size, dtype=np.float32)
    found: Floats = np.einsum("ij,ji->i", asked.shares[rows], ready.lift[:, columns])
    return found


def _sum(lines: Lines, size: int) -> Floats:
    return np.bincount(lines.cell, weights=lines.strength, minlength=size).astype(np.float32)

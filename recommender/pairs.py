"""What is said of a person and a candidate in numbers, the same offline and when serving. Pure.

Everything personal is one idea: each of a person's latest events looks at each candidate (how alike, same
body, same kind), and what it sees is summed with weights that fade. Called by ``learner``; the columns feed
``ranker``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from recommender.history import ItemRows, Persons, World, csr_of, fading, ones_of
from recommender.log import DAY
from recommender.types import Csr, Floats, Ints, Mask

#: Name of each column and the group it belongs to, in order. Groups are what is left out together in
#: ablations, and what a reason is made of.
FEATURES: tuple[tuple[str, str], ...] = (
    ("similar_120", "similar"), ("similar_720", "similar"), ("similar_lead", "similar"),
    ("neighbours", "neighbours"), ("neighbours_lead", "neighbours"),
    ("nearest", "neighbours"), ("nearest_5", "neighbours"), ("latest_10", "neighbours"),
    ("habit_120", "habit"), ("habit_720", "habit"), ("habit_most", "habit"), ("habit_share", "habit"),
    ("habit_author", "habit"),
    ("author_720", "author"), ("author_share", "author"), ("author_last", "author"),
    ("kind_share", "author"), ("same_kind", "author"),
    ("own_similar", "own"), ("own_nearest", "own"), ("own_count", "own"),
    ("tags_120", "clicks"), ("tags_720", "clicks"), ("author_rate", "clicks"),
    ("group_tags", "group"), ("group_author", "group"), ("group_kind", "group"),
    ("wish", "wish"),
    ("learned", "learned"),
    ("tokens", "item"), ("author_items", "item"),
    ("known", "person"), ("active", "person"),
    ("age", "fresh"),
)  # fmt: skip
NAMES = tuple(name for name, _ in FEATURES)
#: The column that LightFM's scores are put into, in standard deviations among the candidates.
LEARNED = NAMES.index("learned")
#: Group → code of the reason it gives; groups that are no reason by themselves are not named.
REASONS: Mapping[str, str] = {
    "similar": "similar", "neighbours": "similar", "habit": "similar", "own": "similar",
    "author": "known_agency", "clicks": "clicks", "group": "clicks", "learned": "learned", "wish": "interest",
}  # fmt: skip
#: Neighbours of a candidate among the known items; those looked among; those of a person looked at one by
#: one.
NEIGHBOURS, MOST_KNOWN, NEAREST = 100, 10_000, 50
#: Takes the name of a column and its values.
Put: TypeAlias = Callable[[str, Any], None]
#: Days that stand for "never".
NEVER = 9999.0


@dataclass(frozen=True)
class Scene:
    """Candidates of a moment beside what is known; the same for everybody.

    Attributes:
        candidates: n items. ``known``: items that persons' events point at. ``world``: counts as of the
            moment. ``carried``: CSR (n_known, width), ones for what each known item carries.
        alike: float32 (n_known, n): cosine. ``near``: the same, squared and fading, for the nearest of the
            latest known items alone; columns sum to 1.
        items: Column name → float32 (n,), what does not depend on the person.
        groups: Column name → float32 (n_groups, n), what depends on their role.
    """

    candidates: ItemRows
    known: ItemRows
    world: World
    carried: Csr
    alike: Floats
    near: Floats
    items: dict[str, Floats]
    groups: dict[str, Floats]


def scene(world: World, candidates: ItemRows, known: ItemRows, latest: int, asked: int) -> Scene:
    """Work out what does not depend on the person.

    Args:
        world: Counts as of the moment.
        candidates: n items.
        known: Items published before, that persons' events point at.
        latest: So many rows of ``known``, the last ones, are those that neighbours are looked for among.
        asked: When the answer is wanted, seconds since 1970: the end of a window, or now.
    """
    alike = np.asarray(known.text @ candidates.text.toarray().T, dtype=np.float32)
    rate, group = world.rates()
    topics, author = candidates.topics, candidates.author
    items = {
        "tags_120": topics @ rate[1], "tags_720": topics @ rate[2], "author_rate": _pick(rate[2], author),
        "tokens": np.diff(candidates.text.indptr), "author_items": _pick(world.items[1], author),
        "age": np.maximum(asked - candidates.time, 0) / 3600,
    }  # fmt: skip
    groups = {
        "group_tags": (topics @ group.T).T, "group_author": _pick(group, author),
        "group_kind": _pick(group, candidates.kind),
    }  # fmt: skip
    near = _nearest(
        alike * fading((world.at - known.time) / DAY)[-1][:, None] ** 0.5, len(known) - latest, NEIGHBOURS
    )
    return Scene(
        candidates, known, world, ones_of(known.text), alike, near,
        _single(items), _single(groups),
    )  # fmt: skip


def _single(arrays: dict[str, Floats]) -> dict[str, Floats]:
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def _nearest(alike: Floats, skip: int, most: int) -> Floats:
    """Keep the so many largest cells of each column below the first rows, squared; columns sum to 1."""
    found = alike.copy()
    found[:skip] = 0
    most = min(most, len(found) - skip)
    if most > 0:
        least = np.partition(np.ascontiguousarray(found.T), len(found) - most, axis=1)[:, len(found) - most]
        found[found < np.maximum(least, 1e-6)] = 0
    found *= found
    found /= np.maximum(found.sum(axis=0), 1e-6)
    return found


def features(scene: Scene, persons: Persons, columns: Ints) -> Floats:
    """Say everything of some persons and their candidates.

    Args:
        scene: From :func:`scene`.
        persons: Their ``event`` and ``own`` point at the scene's known items.
        columns: int64 (n_persons, m): which candidates of the scene.

    Returns:
        float32 (n_persons, m, len(FEATURES)); 0 where nothing is known.
    """
    found = np.zeros((*columns.shape, len(FEATURES)), dtype=np.float32)
    if not columns.size:
        return found

    def put(name: str, values: Floats) -> None:
        found[:, :, NAMES.index(name)] = values

    for name, values in scene.items.items():
        put(name, values[columns])
    for name, values in scene.groups.items():
        put(name, _at(persons.groups @ values, columns))
    kind = scene.candidates.kind[columns]
    put("same_kind", (kind == persons.kind[:, None]) & (kind >= 0))
    put("wish", _at(persons.wishes @ scene.candidates.text.T, columns))
    put("known", persons.known[:, None])
    put("own_count", (persons.own >= 0).sum(axis=1)[:, None])
    if len(scene.known):
        _past(scene, persons, columns, put)
        _habits(scene, persons, columns, put)
        _latest(scene, persons, columns, put)
        _own(scene, persons, columns, put)
    return found


def _past(scene: Scene, persons: Persons, columns: Ints, put: Put) -> None:
    """How alike candidates are to what persons cared for: to all of it, and as neighbours of it."""
    there = persons.event >= 0
    left = fading(persons.age) * there
    height = len(scene.known)
    for n, name in ((1, "120"), (2, "720")):
        similar = _mean(_rows(persons.event, left[n], height) @ scene.alike, left[n])
        put(f"similar_{name}", here := _at(similar, columns))
        if n == 1:
            put("similar_lead", here - here.max(axis=1, keepdims=True))
    share = _rows(persons.event, there, height) @ scene.near
    put("neighbours", here := _at(share, columns))
    put("neighbours_lead", here - here.max(axis=1, keepdims=True))
    put("active", left[2].sum(axis=1)[:, None])


def _habits(scene: Scene, persons: Persons, columns: Ints, put: Put) -> None:
    """Of what carried the candidates' tags, body and kind: how much of it persons cared for."""
    there = persons.event >= 0
    left = fading(persons.age) * there
    topics = scene.candidates.topics
    for n, name in ((1, "120"), (2, "720")):
        times = (_rows(persons.event, left[n], len(scene.known)) @ scene.carried).toarray()
        rate = times / (scene.world.items[n] + 1)
        put(f"habit_{name}", _at((topics @ rate.T).T, columns))
        body, most = scene.candidates.author, left[n].sum(axis=1)[:, None] + 1
        if n == 1:
            put("habit_share", _at((topics @ (times / most).T).T, columns))
            put("kind_share", _at(_pick(times, scene.candidates.kind), columns) / most)
        else:
            put("habit_most", _at(_greatest(topics, rate), columns))
            put("habit_author", _at(_pick(rate, body), columns))
            put("author_720", here := _at(_pick(times, body), columns))
            put("author_share", here / most)


def _latest(scene: Scene, persons: Persons, columns: Ints, put: Put) -> None:
    """What the latest events, one by one, see in the candidates."""
    event, age = persons.event[:, :NEAREST], persons.age[:, :NEAREST, None]
    there = (event >= 0)[:, :, None]
    seen = scene.alike[event[:, :, None], columns[:, None, :]] * there
    put("nearest", seen.max(axis=1))
    put("latest_10", seen[:, :10].sum(axis=1) / 10)
    few = min(5, seen.shape[1])
    put("nearest_5", np.partition(seen, seen.shape[1] - few, axis=1)[:, -few:].sum(axis=1) / 5)
    body = scene.known.author[event][:, :, None]
    same = (body == scene.candidates.author[columns][:, None, :]) & (body >= 0) & there
    put("author_last", np.where(same, age, np.float32(NEVER)).min(axis=1))


def _own(scene: Scene, persons: Persons, columns: Ints, put: Put) -> None:
    """What their own items see in the candidates."""
    there = persons.own >= 0
    left = fading(persons.own_age)[2] * there
    similar = _mean(_rows(persons.own, left, len(scene.known)) @ scene.alike, left)
    put("own_similar", _at(similar, columns))
    own = persons.own[:, :NEAREST, None]
    put("own_nearest", (scene.alike[own, columns[:, None, :]] * (own >= 0)).max(axis=1))


def _rows(item: Ints, value: Floats | Mask, height: int) -> Csr:
    """CSR (n_persons, n_known): the values at the items; -1 is no item."""
    there = item >= 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    return csr_of(value[there].astype(np.float32), item[there], starts, height)


def _mean(sums: Floats, weight: Floats) -> Floats:
    found: Floats = sums / np.maximum(weight.sum(axis=1), 1e-6)[:, None]
    return found


def _at(values: Any, columns: Ints) -> Floats:
    """Chosen candidates of every person, from all candidates of the scene."""
    full = values.toarray() if hasattr(values, "toarray") else values
    return np.take_along_axis(np.asarray(full, dtype=np.float32), columns, axis=1)


def _pick(table: Floats, columns: Ints) -> Floats:
    """Columns of a table, 0 where the column is -1."""
    return np.asarray(table[..., columns] * (columns >= 0), dtype=np.float32)


def _greatest(rows: Csr, values: Floats) -> Floats:
    """The greatest value among the cells of each row, 0 for an empty one: (n_persons, n)."""
    found = np.zeros((len(values), rows.shape[0]), dtype=np.float32)
    full = np.flatnonzero(np.diff(rows.indptr))
    if len(full):
        found[:, full] = np.maximum.reduceat(values[:, rows.indices], rows.indptr[full], axis=1)
    return found

"""Say why, from the arrays that made the score: one to three reasons a pick, declared facts first. Pure.

Nothing is worked out afterwards or guessed: each reason's contribution is its share of the score, and one
that added nothing is never given. A batch's reasons are worked out together: each source below gives lines
(which pick, what is said, what it added), which are then sorted and cut. Called by ``select``; sentences are
in ``profiles.reasons``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import local_date
from profiles.reasons import AROUND
from recommender.blend import PARTS, Blend, Prepared
from recommender.cells import Cells, Lines
from recommender.types import Floats, Ints, Mask
from recommender.wishes import lines_of

MOST = 3
# What a ranker can say in words of its own; the declared facts it read speak for themselves.
_SAID_BY_RANKER = ("similar", "known_agency", "clicks", "learned")
# The order of sources; declared facts stand among themselves by contribution.
_RULE, _DECLARED, _DEADLINE, _TASTE, _SECOND, _LEARNED, _CLICKS, _EDITOR = range(8)


@dataclass(frozen=True)
class Said:
    """The reasons of a batch's picks.

    Attributes:
        starts: int64 (n_picks + 1,): where each pick's reasons begin.
        said: int64 (n_reasons,): numbers of statements, see ``Prepared.statements``.
        worth: float32 (n_reasons,): contributions, above 0.
    """

    starts: Ints
    said: Ints
    worth: Floats


@dataclass(frozen=True)
class _Found:
    """Reasons found by one source; entry i belongs to pick ``pick[i]``, ascending."""

    source: int
    pick: Ints
    said: Ints
    worth: Floats


def explain(picks: Cells) -> Said:
    """Give the reasons of a batch's picks.

    Returns:
        For each pick 1 to 3 reasons: what a rule decided, then declared facts by contribution, then the
        deadline, taste, the ranker, the model, clicks, the editors; "new" or "the whole city" only where
        nothing else is true. A second reason of one code waits for the other codes. Contributions are above
        0.
    """
    ready, columns, size = picks.ready, picks.columns, picks.rows.size
    found = [one for source in _SOURCES for one in source(picks) if one.pick.size]
    pick = _joined([one.pick for one in found])
    said = _joined([one.said for one in found])
    worth = np.concatenate([np.zeros(0, np.float32), *(one.worth for one in found)])
    source = np.repeat([one.source for one in found], [one.pick.size for one in found]).astype(np.int64)
    order = _in_order(pick, source, worth)
    order = order[_kept(pick[order], _codes(ready)[said[order]])]
    pick, said, worth = pick[order], said[order], worth[order]
    bare = np.flatnonzero(np.bincount(pick, minlength=size) == 0)
    if bare.size:
        plain = [_plain(column, ready) for column in columns[bare].tolist()]
        pick = np.concatenate([pick, bare])
        said = np.concatenate([said, np.array([number for number, _ in plain], dtype=np.int64)])
        worth = np.concatenate([worth, np.array([value for _, value in plain], dtype=np.float32)])
        order = np.argsort(pick, kind="stable")
        pick, said, worth = pick[order], said[order], worth[order]
    return Said(np.searchsorted(pick, np.arange(size + 1)), said, worth.astype(np.float32))


def breakdown(row: int, column: int, scores: Blend) -> dict[str, float]:
    """Every part of one score, also those of 0 or less; their sum is the score, but for float rounding."""
    return {name: float(scores.parts[name][row, column]) for name in PARTS}


def _joined(parts: Sequence[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _codes(ready: Prepared) -> Ints:
    """The code of each statement, as a number."""
    return np.array(ready.statements.codes, dtype=np.int64)


def _in_order(pick: Ints, source: Ints, worth: Floats) -> Ints:
    """Sort lines by pick, then source, declared ones by what they added; equal lines stay as they are."""
    # Floats above 0 sort like their bits. One number for each line: numpy sorts one key far faster than
    # three, and all the faster as each source gives its lines pick by pick.
    falling = np.where(source == _DECLARED, 0x7FFFFFFF - worth.view(np.int32).astype(np.int64), 0)
    found: Ints = np.argsort((pick << 35) | (source << 32) | falling, kind="stable")
    return found


def _kept(pick: Ints, code: Ints) -> Ints:
    """Choose three lines of each pick; a second one of a code waits until every other was heard.

    Args:
        pick: Of each line; ascending, the lines of each pick in their order.
        code: Of each line, below 256.

    Returns:
        Positions of those that are kept, ascending.
    """
    counts = np.bincount(pick)
    crowded = np.flatnonzero(counts[pick] > MOST)
    kept = np.ones(pick.size, dtype=bool)
    if crowded.size:
        pick, code = pick[crowded], code[crowded]
        by_code = np.argsort(pick * 256 + code, kind="stable")
        key = (pick * 256 + code)[by_code]
        again = np.zeros(pick.size, dtype=np.int64)
        again[by_code[1:]] = key[1:] == key[:-1]
        waiting = np.argsort(pick * 2 + again, kind="stable")
        begins = np.searchsorted(pick, pick)  # where each line's pick begins, the same in both orders
        kept[crowded[waiting[np.arange(pick.size) - begins >= MOST]]] = False
    return np.flatnonzero(kept)


def _rules(picks: Cells) -> Iterator[_Found]:
    rank, ready = picks.ready.pool.rank[picks.columns], picks.ready
    for height, code in ((1, "mandatory"), (2, "emergency")):
        pick = np.flatnonzero((rank == height) & (picks.parts["priority"] > 0))
        yield _one(_RULE, pick, ready.statements.number(code), picks.parts["priority"][pick])


def _interests(picks: Cells) -> Iterator[_Found]:
    """The part is shared among the interests that met, by strength."""
    tags, words, ready = picks.interests, picks.words, picks.ready
    spoken = () if picks.asked.said.words is None else picks.asked.said.words.names
    heard = [ready.statements.number("interest", (f"word:{spoken[n]}",)) for n in words.entry.tolist()]
    both = Lines(
        np.concatenate([tags.cell, words.cell]),
        np.concatenate([ready.said_of_topics[tags.entry], np.array(heard, dtype=np.int64)]),
        np.concatenate([tags.strength, words.strength]),
    )
    yield _shared(both, picks.parts["interest"])


def _roles(picks: Cells) -> Iterator[_Found]:
    lines, value = picks.roles, picks.parts["role"]
    here = value[lines.cell] > 0
    said = picks.ready.said_of_roles[lines.entry[here]]
    yield _shared(Lines(lines.cell[here], said, lines.strength[here]), value)


def _places(picks: Cells) -> Iterator[_Found]:
    """The one place that gave the part its value; among equals the one named first."""
    value, places, pool = picks.parts["place"], picks.asked.said.places, picks.ready.pool
    lines, number = picks.places, picks.ready.statements.number
    best = _first_of_best(lines.cell, lines.strength)
    best = best[value[lines.cell[best]] > 0]
    pick, line = lines.cell[best], lines.entry[best]
    rows = places.rows[line]
    wider, codes = pool.around[rows, picks.columns[pick]], pool.place_codes
    # About the district around it, not about the place itself: then the district is what is named, as what
    # it is. It was not followed.
    said = [
        number("place", (f"place:{codes[around]}", places.labels[n], AROUND)) if around >= 0
        else number("place", (f"place:{codes[row]}", places.labels[n]))
        for around, row, n in zip(wider.tolist(), rows.tolist(), line.tolist(), strict=True)
    ]  # fmt: skip
    yield _Found(_DECLARED, pick, np.array(said, dtype=np.int64), value[pick])


def _deadlines(picks: Cells) -> Iterator[_Found]:
    value = picks.parts["deadline"]
    pick = np.flatnonzero((value > 0) & _personal(picks))
    said = [_deadline(column, picks.ready) for column in picks.columns[pick].tolist()]
    yield _Found(_DEADLINE, pick, np.array(said, dtype=np.int64), value[pick])


def _tastes(picks: Cells) -> Iterator[_Found]:
    """The tag of theirs that weighed most in what behaviour says."""
    value, lines, ready = picks.parts["taste"], picks.tastes, picks.ready
    best = _first_of_best(lines.cell, lines.strength)
    best = best[value[lines.cell[best]] >= ready.weights.said]
    pick, said = lines.cell[best], []
    for row, tag in zip(picks.rows[pick].tolist(), lines.entry[best].tolist(), strict=True):
        name = ready.pool.tag_names[tag]
        own = ("own",) if name in picks.asked.profiles[row].own_taste else ()
        said.append(ready.statements.number("taste", (name, *own)))
    yield _Found(_TASTE, pick, np.array(said, dtype=np.int64), value[pick])


def _learned(picks: Cells) -> Iterator[_Found]:
    """The declared fact that weighed most in what the model added, if that is enough.

    The score in standard deviations is a sum over the resident's features (and the notice's own popularity),
    each measured against the mean of the candidates; the largest of them is named.
    """
    users, taught, ready = picks.asked.users, picks.ready.taught, picks.ready
    if users is None or taught is None:
        return
    value = picks.parts["learned"]
    met = np.flatnonzero((value > 0) & (value >= ready.weights.learned * ready.weights.learned_said))
    owner, entry = lines_of(users.indptr, picks.rows[met])
    feature = users.indices[entry].astype(np.int64)
    away = taught.by_item[picks.columns[met]]
    share = np.einsum("ij,ij->i", away[owner, :-1], taught.users[feature]) * users.data[entry]
    best = _first_of_best(owner, share)
    said = ready.said_of_features(feature[best])
    for n in np.flatnonzero(ready.place_features[feature[best]]).tolist():
        # A district may stand among somebody's features only because it contains a place of theirs.
        tag, profile = taught.names[feature[best[n]]], picks.asked.profiles[picks.rows[met[n]]]
        if all(f"place:{place.code}" != tag for place in profile.places):
            said[n] = ready.statements.number("learned", (tag, AROUND))
    said[away[:, -1] > share[best]] = ready.statements.number("popular")
    yield _Found(_LEARNED, met, said, value[met])


def _second(picks: Cells) -> Iterator[_Found]:
    """What spoke most for it when the ranker looked again, with its share of the part.

    What a ranker's trees add is a sum over what they asked; those that spoke for the notice share the part.
    """
    if picks.second is None or picks.place is None:
        return
    value, ready = picks.parts["second"], picks.ready
    pick = np.flatnonzero((value >= ready.weights.said) & (picks.place >= 0))
    if not pick.size:
        return
    spoke = {
        code: np.maximum(each, 0)
        for code, each in picks.second.reasons(picks.rows[pick], picks.place[pick]).items()
    }
    whole = np.maximum(np.sum(list(spoke.values()), axis=0), 1e-9)
    named = [code for code in _SAID_BY_RANKER if code in spoke]
    share = np.stack([spoke[code] / whole for code in named])
    best = share.argmax(axis=0)
    worth = (value[pick] * share[best, np.arange(pick.size)]).astype(np.float32)
    kept = np.flatnonzero(worth >= ready.weights.said)
    said = [_said_by_ranker(named[best[n]], int(picks.columns[pick[n]]), ready) for n in kept.tolist()]
    yield _Found(_SECOND, pick[kept], np.array(said, dtype=np.int64), worth[kept])


def _said_by_ranker(code: str, column: int, ready: Prepared) -> int:
    agency = ready.pool.candidates[column].agency
    return ready.statements.number(code, (f"agency:{agency}",) if code == "known_agency" and agency else ())


def _clicks(picks: Cells) -> Iterator[_Found]:
    shares, lift, counted, ready = picks.asked.shares, picks.ready.lift, picks.ready.counted, picks.ready
    if shares is None or lift is None or counted is None:
        return
    value = picks.parts["clicks"]
    pick = np.flatnonzero(value >= ready.weights.said)
    best = (shares[picks.rows[pick]] * lift[:, picks.columns[pick]].T).argmax(axis=1)
    everybody = ready.statements.number("clicks")
    by_role = [everybody, *(ready.statements.number("clicks", (f"role:{role}",)) for role in counted.roles)]
    yield _Found(_CLICKS, pick, np.array(by_role, dtype=np.int64)[best], value[pick])


def _editors(picks: Cells) -> Iterator[_Found]:
    value = picks.parts["editor"]
    pick = np.flatnonzero((value >= picks.ready.weights.said) & _personal(picks))
    yield _one(_EDITOR, pick, picks.ready.statements.number("editor"), value[pick])


# In the order in which equal lines stand.
_SOURCES: tuple[Callable[[Cells], Iterator[_Found]], ...] = (
    _rules, _interests, _places, _roles, _deadlines, _tastes, _second, _learned, _clicks, _editors,
)  # fmt: skip


def _personal(picks: Cells) -> Mask:
    found: Mask = picks.asked.said.personalised[picks.rows]
    return found


def _one(source: int, pick: Ints, number: int, worth: Floats) -> _Found:
    return _Found(source, pick, np.full(pick.size, number, dtype=np.int64), worth)


def _shared(lines: Lines, value: Floats) -> _Found:
    """One declared reason for each line; the value of each pick is shared by strength."""
    whole = np.bincount(lines.cell, weights=lines.strength, minlength=value.size)
    worth = value[lines.cell] * lines.strength / whole[lines.cell]
    return _Found(_DECLARED, lines.cell, lines.entry, worth.astype(np.float32))


def _first_of_best(owner: Ints, strength: Floats) -> Ints:
    """The strongest entry of each owner, the first among equals; owners ascending."""
    new = np.diff(owner, prepend=-1) > 0
    begins = np.flatnonzero(new)
    if begins.size == owner.size:
        return begins
    best = np.maximum.reduceat(strength, begins)
    there = np.flatnonzero(strength == best[np.cumsum(new) - 1])
    firsts: Ints = there[np.flatnonzero(np.diff(owner[there], prepend=-1))]
    return firsts


def _deadline(column: int, ready: Prepared) -> int:
    deadline = ready.pool.candidates[column].deadline
    day = local_date(deadline, ZoneInfo(ready.pool.city.timezone)).isoformat() if deadline else ""
    return ready.statements.number("deadline", (day, str(ready.days_left[column])))


def _plain(column: int, ready: Prepared) -> tuple[int, float]:
    """Nothing personal is true of it: it is for the whole city, or it is simply new."""
    if ready.citywide[column] > 0:
        return ready.statements.number("citywide"), float(ready.citywide[column])
    return ready.statements.number("fresh"), max(float(ready.fresh[column]), 1e-3)

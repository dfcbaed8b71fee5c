"""Who may be offered what: candidates as matrices, and the hard masks before any score. Pure.

Language, jurisdiction, mutes, what was picked before, the archive rule, lapsed notices. A role never hides
anything. Called by ``select``, ``train`` and ``simulate``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.catalogue.words import doc_key, fold
from feeds.kernel.time import to_micros
from profiles.match import Kinship, Reach, kinship, reach, says
from profiles.types import Profile, Shelf
from recommender.features import title_words
from recommender.types import HORIZON, Candidate, Csr, Ints, Mask, csr, ones

_NEVER = int(np.iinfo(np.int64).max)
_SIGNS = re.compile(r"[\W_]+")


def from_notice(notice: Notice) -> Candidate:
    """Take from a stored notice what choosing needs."""
    content = notice.content
    agency = content.agency_slug or next(iter(notice.codes("agency")), "")
    ends = [moment for moment in (content.lapses, content.expires) if moment is not None]
    return Candidate(
        notice_id=notice.id,
        revision=notice.revision,
        lang=content.lang,
        level=notice.level,
        place=notice.place,
        tags=notice.tags,
        words=title_words(content.title),
        fresh_at=notice.fresh_at,
        deadline=content.deadline,
        priority=notice.priority,
        archive=notice.archive,
        agency=agency,
        title=content.title,
        in_english=bool(content.title_en),
        released_at=notice.released_at,
        ends=min(ends, default=None),
        twin=_twin(notice),
    )


def _twin(notice: Notice) -> str:
    """Same title and same document number (or same day): the same notice from another source."""
    title = _SIGNS.sub("", fold(notice.content.title))
    day = notice.content.published.date().isoformat() if notice.content.published else ""
    mark = doc_key(notice.content.doc_no) or day
    return f"{mark} {title}" if mark and title else ""


@dataclass(frozen=True)
class Pool:
    """All candidates of one run, encoded once; column j of everything belongs to ``candidates[j]``.

    Attributes:
        candidates: Newest first, then smaller id.
        topics: CSR (n_tags, n) of strengths, row ``topic_rows[tag]``; ``roles`` and ``places`` likewise.
        hides: CSR (n_tags, n) of ones: muting row ``hide_rows[tag]`` hides column j.
        until: int64 (n,): microsecond from which it is too late.
        since: int64 (n,): microsecond that the horizon is measured from.
        readers: Language → bool (n,): what its readers can read.
        local, outside, citywide: bool (n,), see :class:`profiles.match.Reach`.
        rank: int8 (n,): 0 normal, 1 mandatory, 2 emergency.
        agencies: Number of each one's agency, -1 where unknown; ``twins`` likewise.
        themes: Level-1 themes of each, as bits of one number.
    """

    candidates: tuple[Candidate, ...]
    reaches: tuple[Reach, ...]
    city: City
    kin: Kinship
    ids: Ints
    column_of: Mapping[int, int]
    topics: Csr
    topic_rows: Mapping[str, int]
    roles: Csr
    role_rows: Mapping[str, int]
    places: Csr
    place_rows: Mapping[str, int]
    hides: Csr
    hide_rows: Mapping[str, int]
    until: Ints
    since: Ints
    readers: Mapping[str, Mask]
    local: Mask
    outside: Mask
    citywide: Mask
    rank: Ints
    agencies: list[int]
    themes: list[int]
    twins: list[int]
    twin_columns: Mapping[int, list[int]]
    _words: dict[str, list[int]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.candidates)

    def says(self, word: str) -> list[int]:
        """Columns whose title says a word; kept, because many residents follow the same words."""
        found = self._words.get(word)
        if found is None:
            found = [n for n, one in enumerate(self.reaches) if says(word, one.title)]
            self._words[word] = found
        return found


def pool(candidates: Iterable[Candidate], city: City) -> Pool:
    """Encode candidates for one run; several revisions of one notice keep the latest."""
    latest: dict[int, Candidate] = {}
    for one in candidates:
        if one.notice_id not in latest or latest[one.notice_id].revision < one.revision:
            latest[one.notice_id] = one
    ordered = tuple(sorted(latest.values(), key=lambda c: (-c.fresh_at.timestamp(), c.notice_id)))
    kin = kinship(city)
    reaches = tuple(
        reach(c.tags, kin, level=c.level, place=c.place, agency=c.agency, title=c.title) for c in ordered
    )
    topics, topic_rows = _table([r.topics for r in reaches])
    roles, role_rows = _table([r.roles for r in reaches])
    places, place_rows = _table([r.places for r in reaches])
    hides, hide_rows = _table([dict.fromkeys(r.hidden_by, 1.0) for r in reaches])
    agencies, twins = _numbers([c.agency for c in ordered]), _numbers([c.twin for c in ordered])
    twin_columns: dict[int, list[int]] = {}
    for column, number in enumerate(twins):
        if number >= 0:
            twin_columns.setdefault(number, []).append(column)
    return Pool(
        candidates=ordered, reaches=reaches, city=city, kin=kin,
        ids=np.array([c.notice_id for c in ordered], dtype=np.int64),
        column_of={c.notice_id: n for n, c in enumerate(ordered)},
        topics=topics, topic_rows=topic_rows, roles=roles, role_rows=role_rows, places=places,
        place_rows=place_rows, hides=hides, hide_rows=hide_rows,
        until=np.array([_until(c) for c in ordered], dtype=np.int64),
        since=np.array([_since(c) for c in ordered], dtype=np.int64),
        readers=_readers(ordered),
        local=np.array([r.local for r in reaches], dtype=bool),
        outside=np.array([r.outside for r in reaches], dtype=bool),
        citywide=np.array([r.citywide for r in reaches], dtype=bool),
        rank=np.array([("normal", "mandatory", "emergency").index(c.priority) for c in ordered],
        dtype=np.int64), agencies=agencies, themes=_bits([level_one(c, city) for c in ordered]), twins=twins,
        twin_columns={number: columns for number, columns in twin_columns.items() if len(columns) > 1},
    )  # fmt: skip


def eligible(
    profiles: Sequence[Profile], shelves: Sequence[Shelf], candidates: Pool, now: datetime, welcome: Mask
) -> Mask:
    """Mark what each profile may be offered.

    Args:
        profiles: Row i belongs to ``profiles[i]``.
        shelves: One for each profile, in the same order.
        candidates: Of one city.
        now: Aware, UTC.
        welcome: bool (n_profiles,): first editions, which may take the archive.

    Returns:
        bool, shape (n_profiles, n_candidates).
    """
    mask = np.zeros((len(profiles), len(candidates)), dtype=bool)
    if not mask.size:
        return mask
    alive = candidates.until > to_micros(now)
    recent = alive & (candidates.since >= to_micros(now - HORIZON))  # a date in the future counts as now
    kept: dict[tuple[tuple[str, ...], bool], Mask] = {}
    for row, profile in enumerate(profiles):
        key = (profile.langs or ("zh",), bool(welcome[row]))
        if key not in kept:
            readable = candidates.readers[""].copy()
            for lang in key[0]:
                readable |= candidates.readers.get(_language(lang), False)
            kept[key] = readable & (alive if key[1] else recent)
        mask[row] = kept[key]
    _only_followed(mask, profiles, candidates)
    _without_muted(mask, profiles, candidates)
    _without_picked(mask, shelves, candidates)
    return mask


def follows(
    profiles: Sequence[Profile], rows: Mapping[str, int], tags_of: Callable[[Profile], Iterable[str]]
) -> Csr:
    """One row of ones for each profile over the tags of a table; unknown tags are skipped."""
    return ones(([rows[tag] for tag in tags_of(profile) if tag in rows] for profile in profiles), len(rows))


def word_tables(
    profiles: Sequence[Profile], candidates: Pool, tags_of: Callable[[Profile], Iterable[str]]
) -> tuple[Csr, Csr] | None:
    """The same for ``word:…`` tags: profiles × words, words × candidates; ``None`` where nobody has any."""
    spoken = [[tag[5:] for tag in tags_of(profile) if tag.startswith("word:")] for profile in profiles]
    rows = {word: n for n, word in enumerate(dict.fromkeys(word for words in spoken for word in words))}
    if not rows:
        return None
    left = ones(([rows[word] for word in words] for words in spoken), len(rows))
    return left, ones((candidates.says(word) for word in rows), len(candidates))


def met(
    profiles: Sequence[Profile], candidates: Pool, table: Csr, rows: Mapping[str, int],
    tags_of: Callable[[Profile], Iterable[str]],
) -> Csr:  # fmt: skip
    """Sum the strengths of each profile's tags and words at each candidate; sparse (n_profiles, n)."""
    found = follows(profiles, rows, tags_of) @ table
    words = word_tables(profiles, candidates, tags_of)
    return found if words is None else found + words[0] @ words[1]


def _until(candidate: Candidate) -> int:
    """First microsecond at which it is too late: the deadline itself is in time, the end is not."""
    ends = [to_micros(candidate.ends)] if candidate.ends else []
    return min([*ends, to_micros(candidate.deadline) + 1] if candidate.deadline else ends, default=_NEVER)


def _since(candidate: Candidate) -> int:
    """What the horizon is measured from: archived, the publication; others, the release too."""
    if candidate.archive or candidate.released_at is None:
        return to_micros(candidate.fresh_at)
    return to_micros(max(candidate.fresh_at, candidate.released_at))


def _readers(candidates: Sequence[Candidate]) -> dict[str, Mask]:
    """Language → what its readers can read; ``""`` what everybody can."""
    own = [_language(one.lang) for one in candidates]
    return {
        lang: np.array(
            [
                mine in ("", lang) or (lang == "en" and one.in_english)
                for mine, one in zip(own, candidates, strict=True)
            ],
            dtype=bool,
        )
        for lang in {"", "en", *own}
    }


def _language(tag: str) -> str:
    """``zh-Hans`` and ``zh-Hant`` are one language here."""
    return tag.lower().partition("-")[0]


def _only_followed(mask: Mask, profiles: Sequence[Profile], candidates: Pool) -> None:
    columns = np.flatnonzero(candidates.outside)
    if columns.size:
        followed = follows(profiles, candidates.place_rows, _place_codes) @ candidates.places[:, columns]
        mask[:, columns] &= followed.toarray() > 0


def _without_muted(mask: Mask, profiles: Sequence[Profile], candidates: Pool) -> None:
    muted = met(profiles, candidates, candidates.hides, candidates.hide_rows, lambda p: p.mutes).tocoo()
    mask[muted.row[muted.data > 0], muted.col[muted.data > 0]] = False


def _without_picked(mask: Mask, shelves: Sequence[Shelf], candidates: Pool) -> None:
    rows: list[int] = []
    columns: list[int] = []
    for row, shelf in enumerate(shelves):
        for notice_id in shelf.picked:
            column = candidates.column_of.get(notice_id)
            if column is not None:
                same = candidates.twin_columns.get(candidates.twins[column]) or [column]
                columns.extend(same)
                rows.extend([row] * len(same))
    mask[rows, columns] = False


def _place_codes(profile: Profile) -> Iterable[str]:
    return (place.code for place in profile.places)


def _table(items: Sequence[Mapping[str, float]]) -> tuple[Csr, dict[str, int]]:
    rows = {tag: n for n, tag in enumerate(sorted({tag for item in items for tag in item}))}
    by_item = csr(({rows[tag]: value for tag, value in item.items()} for item in items), len(rows))
    return by_item.T.tocsr(), rows


def _numbers(names: Sequence[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) if name else -1 for name in names]


def _bits(groups: Sequence[Iterable[str]]) -> list[int]:
    """Each name one bit, each group the sum of its names."""
    bits: dict[str, int] = {}
    return [sum(1 << bits.setdefault(name, len(bits)) for name in group) for group in groups]


def level_one(candidate: Candidate, city: City) -> tuple[str, ...]:
    """The level-1 themes of a candidate, without repeats; an unknown theme stands for itself."""
    codes = (tag.code for tag in candidate.tags if tag.kind == "theme")
    tops = ((city.themes[code].parent or code) if code in city.themes else code for code in codes)
    return tuple(dict.fromkeys(tops))

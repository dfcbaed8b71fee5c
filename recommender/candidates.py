"""Who may be offered what: candidates as matrices, and the hard masks before any score. Pure.

Language, jurisdiction, mutes, what was picked before, the archive rule, lapsed notices. A role never hides
anything. Called by ``select``, ``train`` and ``simulate``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.catalogue.words import doc_key, fold
from feeds.kernel.time import to_micros
from profiles.bulk import unpack_many_ids
from profiles.match import Kinship, Reach, kinship, reach, says
from profiles.shelves import StoredShelf, stored
from profiles.types import Profile, Shelf
from recommender.features import title_words
from recommender.types import HORIZON, Candidate, Csr, Floats, Ints, Mask, add_product, csr, lists, ones

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
        prominence=notice.prominence,
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
        tags: float32 (n_tags, n) of strengths: first the ``topics``, row ``topic_rows[tag]``, then the
            ``places``, row ``tag_rows["place:" + code]``; ``tag_names`` names the rows.
        roles: float32 (n_roles, n), row ``role_rows[tag]``.
        around: int32 (n_places, n): row of the wider place that the notice is really about, else -1.
        hides: CSR (n_tags, n) of ones: muting row ``hide_rows[tag]`` hides column j.
        until: int64 (n,): microsecond from which it is too late.
        since: int64 (n,): microsecond that the horizon is measured from.
        readers: Language → bool (n,): what its readers can read.
        local, outside, citywide: bool (n,), see :class:`profiles.match.Reach`.
        rank: int64 (n,): 0 normal, 1 mandatory, 2 emergency. ``prominence``: float32 (n,).
        agencies: Number of each one's agency, -1 where unknown; ``twins`` likewise.
        themes: Level-1 themes of each, as bits of one number.
    """

    candidates: tuple[Candidate, ...]
    reaches: tuple[Reach, ...]
    city: City
    kin: Kinship
    ids: Ints
    column_of: Mapping[int, int]
    tags: Floats
    tag_names: tuple[str, ...]
    tag_rows: Mapping[str, int]
    topic_rows: Mapping[str, int]
    place_rows: Mapping[str, int]
    roles: Floats
    role_rows: Mapping[str, int]
    around: Ints
    hides: Csr
    hide_rows: Mapping[str, int]
    until: Ints
    since: Ints
    readers: Mapping[str, Mask]
    local: Mask
    outside: Mask
    citywide: Mask
    rank: Ints
    prominence: Floats
    agencies: list[int]
    themes: list[int]
    twins: list[int]
    twin_columns: Mapping[int, list[int]]
    _words: dict[str, list[int]] = field(default_factory=dict, repr=False)

    @property
    def topics(self) -> Floats:
        """Strengths of followed tags, float32 (n_topics, n)."""
        return self.tags[: len(self.topic_rows)]

    @property
    def places(self) -> Floats:
        """Strengths of followed places before the label's factor, float32 (n_places, n)."""
        return self.tags[len(self.topic_rows) :]

    @cached_property
    def rows_of_roles(self) -> dict[str, int]:
        """Code of a role → its row of ``roles``."""
        return {tag.removeprefix("role:"): row for tag, row in self.role_rows.items()}

    @cached_property
    def place_codes(self) -> tuple[str, ...]:
        """Code of each row of ``places``."""
        return tuple(self.place_rows)

    @cached_property
    def cap_arrays(self) -> tuple[Ints, Ints]:
        """``agencies`` and ``themes`` as arrays; of Python's integers where there are too many themes."""
        wide = max(self.themes, default=0) >= 1 << 62
        return np.array(self.agencies, dtype=np.int64), np.array(
            self.themes, dtype=object if wide else np.int64
        )

    @cached_property
    def by_id(self) -> tuple[Ints, Ints]:
        """Ids ascending, and the column of each."""
        order = np.argsort(self.ids)
        return self.ids[order], order

    def __len__(self) -> int:
        return len(self.candidates)

    def says(self, word: str) -> list[int]:
        """Columns whose title says a word; kept, because many residents follow the same words."""
        found = self._words.get(word)
        if found is None:
            found = [n for n, one in enumerate(self.reaches) if says(word, one.title)]
            self._words[word] = found
        return found


@dataclass(frozen=True)
class Words:
    """Words that a batch follows or mutes.

    Attributes:
        names: The words, without ``word:``.
        spoken: CSR (n_profiles, n_words) of ones. ``said``: CSR (n_words, n) of ones: in the title.
    """

    names: tuple[str, ...]
    spoken: Csr
    said: Csr


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
    tag_names = (*topic_rows, *(f"place:{code}" for code in place_rows))
    agencies, twins = _numbers([c.agency for c in ordered]), _numbers([c.twin for c in ordered])
    twin_columns: dict[int, list[int]] = {}
    for column, number in enumerate(twins):
        if number >= 0:
            twin_columns.setdefault(number, []).append(column)
    return Pool(
        candidates=ordered, reaches=reaches, city=city, kin=kin,
        ids=np.array([c.notice_id for c in ordered], dtype=np.int64),
        column_of={c.notice_id: n for n, c in enumerate(ordered)},
        tags=np.concatenate([topics.toarray(), places.toarray()]), tag_names=tag_names,
        tag_rows={tag: n for n, tag in enumerate(tag_names)}, topic_rows=topic_rows, place_rows=place_rows,
        roles=roles.toarray(), role_rows=role_rows, around=_around(reaches, place_rows),
        hides=hides, hide_rows=hide_rows,
        until=np.array([_until(c) for c in ordered], dtype=np.int64),
        since=np.array([_since(c) for c in ordered], dtype=np.int64),
        readers=_readers(ordered),
        local=np.array([r.local for r in reaches], dtype=bool),
        outside=np.array([r.outside for r in reaches], dtype=bool),
        citywide=np.array([r.citywide for r in reaches], dtype=bool),
        rank=np.array([("normal", "mandatory", "emergency").index(c.priority) for c in ordered],
        dtype=np.int64), prominence=np.array([c.prominence for c in ordered], dtype=np.float32),
        agencies=agencies, themes=_bits([level_one(c, city) for c in ordered]), twins=twins,
        twin_columns={number: columns for number, columns in twin_columns.items() if len(columns) > 1},
    )  # fmt: skip


def eligible(
    profiles: Sequence[Profile], shelves: Sequence[Shelf | StoredShelf], candidates: Pool, now: datetime,
    welcome: Mask,
) -> Mask:  # fmt: skip
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
    if not profiles or not len(candidates):
        return np.zeros((len(profiles), len(candidates)), dtype=bool)
    alive = candidates.until > to_micros(now)
    recent = alive & (candidates.since >= to_micros(now - HORIZON))  # a date in the future counts as now
    kinds: dict[tuple[tuple[str, ...], bool], int] = {}
    own = [
        kinds.setdefault((profile.langs or ("zh",), first), len(kinds))
        for profile, first in zip(profiles, welcome.tolist(), strict=True)
    ]
    open_to = [_readable(langs, candidates) & (alive if first else recent) for langs, first in kinds]
    mask: Mask = np.stack(open_to)[own]
    _only_followed(mask, profiles, candidates)
    _without_muted(mask, profiles, candidates)
    _without_picked(mask, shelves, candidates)
    return mask


def _readable(langs: Sequence[str], candidates: Pool) -> Mask:
    readable = candidates.readers[""].copy()
    for lang in langs:
        readable |= candidates.readers.get(_language(lang), False)
    return readable


def follows(
    profiles: Sequence[Profile], rows: Mapping[str, int], tags_of: Callable[[Profile], Iterable[str]]
) -> Csr:
    """One row of ones for each profile over the tags of a table; unknown tags are skipped."""
    return ones(([rows[tag] for tag in tags_of(profile) if tag in rows] for profile in profiles), len(rows))


def word_tables(
    profiles: Sequence[Profile], candidates: Pool, tags_of: Callable[[Profile], Iterable[str]]
) -> Words | None:
    """The same for ``word:…`` tags; ``None`` where nobody has any."""
    spoken = [[tag[5:] for tag in tags_of(profile) if tag.startswith("word:")] for profile in profiles]
    rows = {word: n for n, word in enumerate(dict.fromkeys(word for words in spoken for word in words))}
    if not rows:
        return None
    left = ones(([rows[word] for word in words] for words in spoken), len(rows))
    return Words(tuple(rows), left, ones((candidates.says(word) for word in rows), len(candidates)))


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
        followed = np.zeros((len(profiles), columns.size), dtype=np.float32)
        rows = candidates.place_rows
        places = [sorted({rows[p.code] for p in one.places if p.code in rows}) for one in profiles]
        add_product(followed, lists(places, len(rows)), np.ascontiguousarray(candidates.places[:, columns]))
        mask[:, columns] &= followed > 0


def _without_muted(mask: Mask, profiles: Sequence[Profile], candidates: Pool) -> None:
    rows = [row for row, profile in enumerate(profiles) if profile.mutes]
    if not rows:
        return
    some = [profiles[row] for row in rows]
    muted = follows(some, candidates.hide_rows, _mutes) @ candidates.hides
    words = word_tables(some, candidates, _mutes)
    cells = (muted if words is None else muted + words.spoken @ words.said).tocoo()
    mask[np.array(rows)[cells.row], cells.col] = False


def _without_picked(mask: Mask, shelves: Sequence[Shelf | StoredShelf], candidates: Pool) -> None:
    packed = [(one if isinstance(one, StoredShelf) else stored(one)).picked for one in shelves]
    rows, picked = unpack_many_ids(packed)
    ids, columns = candidates.by_id
    place = np.minimum(np.searchsorted(ids, picked), ids.size - 1)
    here = ids[place] == picked
    rows, gone = rows[here], columns[place[here]]
    mask[rows, gone] = False
    if candidates.twin_columns:
        for row, column in zip(rows.tolist(), gone.tolist(), strict=True):
            if same := candidates.twin_columns.get(candidates.twins[column]):
                mask[row, same] = False


def _mutes(profile: Profile) -> Iterable[str]:
    return profile.mutes


def _table(items: Sequence[Mapping[str, float]]) -> tuple[Csr, dict[str, int]]:
    rows = {tag: n for n, tag in enumerate(sorted({tag for item in items for tag in item}))}
    by_item = csr(({rows[tag]: value for tag, value in item.items()} for item in items), len(rows))
    return by_item.T.tocsr(), rows


def _around(reaches: Sequence[Reach], place_rows: Mapping[str, int]) -> Ints:
    found: Ints = np.full((len(place_rows), len(reaches)), -1, dtype=np.int32)
    for column, one in enumerate(reaches):
        for code, wider in one.around.items():
            found[place_rows[code], column] = place_rows[wider]
    return found


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

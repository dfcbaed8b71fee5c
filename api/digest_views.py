"""From picks to digests: what each mail or text says, worked out for many readers at once.

What is the same for all readers of a notice is said once and kept while nothing changed; reasons are each
reader's own. It reads notices and sources, renders nothing, sends nothing and writes nothing. Called by
``api.jobs.digest_building`` and whoever makes a message of picks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from api.views import also_published, entry_view, pick_sentences, plainly, sources_of
from api.wiring import Services
from delivery.types import Digest, EntryView
from feeds.catalogue.notices import Notice
from profiles.types import Pick, Profile

DigestSurface = Literal["mail", "sms"]
_KEPT, _MANNERS = 2048, 8


@dataclass(frozen=True, slots=True)
class Asked:
    """One digest to be described; see :func:`digest_view`.

    Attributes:
        revisions: Notice id → revision to be shown; ``None`` for the present ones.
    """

    profile: Profile
    picks: Sequence[Pick]
    lang: str
    window: tuple[datetime, datetime]
    surface: DigestSurface
    unsubscribe_url: str = ""
    revisions: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Manner:
    """How something is said; with a notice and its revision it decides every word but the reasons."""

    lang: str
    surface: DigestSurface
    discreet: bool
    until: datetime


@dataclass(frozen=True, slots=True)
class _Told:
    """A notice as one manner tells it, without reasons; ``notice`` has no body."""

    notice: Notice
    view: EntryView | None


_Key = tuple[int, int]  # notice, revision


class ViewShelf:
    """Keeps what was read and told of notices while nothing changes; a few thousand at most."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._stamp: object = None
        self._told: dict[_Manner, dict[_Key, _Told]] = {}
        self._notices: dict[int, Notice] = {}

    def notices(self, services: Services, ids: Iterable[int], stamp: object) -> dict[int, Notice]:
        """Return notices without their bodies, by id; ``stamp`` as for :func:`digest_views`."""
        wanted = set(ids)
        with self._guard:
            self._renew(stamp)
            found = {number: self._notices[number] for number in wanted if number in self._notices}
        missing = wanted - found.keys()
        fresh = {number: _light(notice) for number, notice in services.notices.many(missing).items()}
        with self._guard:
            if stamp == self._stamp:
                self._notices.update(fresh)
                _make_room(self._notices)
        return found | fresh

    def told(self, stamp: object, manner: _Manner, keys: set[_Key]) -> dict[_Key, _Told]:
        """Return what is kept of ``keys``; everything older than ``stamp`` is forgotten first."""
        with self._guard:
            self._renew(stamp)
            kept = self._told.get(manner, {})
            return {key: kept[key] for key in keys if key in kept}

    def keep(self, stamp: object, manner: _Manner, told: Mapping[_Key, _Told]) -> None:
        """Keep what was told under ``stamp``; the oldest make room."""
        with self._guard:
            if stamp != self._stamp or not told:
                return
            self._told.setdefault(manner, {}).update(told)
            _make_room(self._told[manner])
            while len(self._told) > _MANNERS:
                del self._told[next(iter(self._told))]

    def _renew(self, stamp: object) -> None:
        if stamp != self._stamp:
            self._stamp, self._told, self._notices = stamp, {}, {}


def _make_room(kept: dict[Any, Any]) -> None:
    for key in list(kept)[: max(0, len(kept) - _KEPT)]:
        del kept[key]


def _light(notice: Notice) -> Notice:
    return replace(notice, content=replace(notice.content, body=""))


def stamp_of(services: Services) -> object:
    """Changes whenever a notice or a source may read differently."""
    sources = tuple((one.id, one.name, one.url, one.licence) for one in services.sources.list())
    return services.notices.change_numbers(), sources


def digest_view(
    services: Services,
    profile: Profile,
    picks: Sequence[Pick],
    *,
    lang: str,
    window: tuple[datetime, datetime],
    surface: DigestSurface,
    unsubscribe_url: str = "",
    revisions: Mapping[int, int] | None = None,
) -> Digest:
    """Describe what one digest says; the same arguments give the same digest for ever."""
    asked = Asked(profile, picks, lang, window, surface, unsubscribe_url, revisions)
    return digest_views(services, [asked])[0]


def digest_views(services: Services, asked: Sequence[Asked], stamp: object = None) -> list[Digest]:
    """Describe many digests, in order; a few queries for all of them together.

    Args:
        services: The joined parts.
        asked: Any.
        stamp: What :func:`stamp_of` said before the picks were read, where it was asked already.
    """
    wanted = [_revisions(services, one) for one in asked]
    groups: dict[_Manner, set[_Key]] = {}
    manners = [_manner(one) for one in asked]
    for manner, revisions in zip(manners, wanted, strict=True):
        groups.setdefault(manner, set()).update(revisions.items())
    told = _told(services, groups, stamp_of(services) if stamp is None else stamp)
    said = _Said(services)
    return [
        _digest(services, one, _entries(one, revisions, told[manner], said))
        for one, revisions, manner in zip(asked, wanted, manners, strict=True)
    ]


def _digest(services: Services, one: Asked, entries: tuple[EntryView, ...]) -> Digest:
    own = f"{services.settings.base_url}/me"
    return Digest(
        lang=one.lang,
        city_name=services.city.name.of(one.lang),
        signature=services.city.sms_signature,
        entries=entries,
        window_start=one.window[0],
        window_end=one.window[1],
        timezone=services.zone.key,
        page_url=services.settings.sms_link if one.surface == "sms" else own,
        unsubscribe_url=one.unsubscribe_url,
        discreet=one.profile.discreet,
        sample=bool(services.city.sample_mark),
    )


def _manner(one: Asked) -> _Manner:
    return _Manner(one.lang, one.surface, one.profile.discreet, one.window[1])


def _revisions(services: Services, one: Asked) -> Mapping[int, int]:
    if one.revisions is not None:
        return one.revisions
    found = services.notices.many(pick.notice_id for pick in one.picks)
    return {number: notice.revision for number, notice in found.items()}


class _Said:
    """Entries with reasons; readers who got a notice for the same reasons share one."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sentences: dict[object, tuple[str, ...]] = {}
        self._entries: dict[tuple[int, tuple[str, ...]], EntryView] = {}

    def entry(self, view: EntryView, pick: Pick, lang: str, surface: DigestSurface) -> EntryView:
        key = (tuple([(reason.code, reason.params) for reason in pick.reasons]), lang, surface)
        reasons = self._sentences.get(key)
        if reasons is None:
            reasons = pick_sentences(self._services, pick, lang=lang, surface=surface)
            self._sentences[key] = reasons
        entry = self._entries.get((id(view), reasons))  # the views outlive this batch
        if entry is None:
            entry = self._entries[id(view), reasons] = replace(view, reasons=reasons, shared=view)
        return entry


def _entries(
    one: Asked, revisions: Mapping[int, int], told: Mapping[_Key, _Told], said: _Said
) -> tuple[EntryView, ...]:
    """The entries of one reader, each with the reasons that are theirs."""
    picks: Sequence[Pick] = one.picks
    if not one.profile.personalised:
        found = {number: told[number, at].notice for number, at in revisions.items() if (number, at) in told}
        picks = plainly(picks, found)
    entries = []
    for pick in picks:
        item = told.get((pick.notice_id, revisions.get(pick.notice_id, 0)))
        if item is not None and item.view is not None:
            entries.append(said.entry(item.view, pick, one.lang, one.surface))
    return tuple(entries)


def _told(
    services: Services, groups: Mapping[_Manner, set[_Key]], stamp: object
) -> dict[_Manner, dict[_Key, _Told]]:
    """What is said of each notice: from the shelf, and what is missing there told anew."""
    shelf = services.view_shelf
    found: dict[_Manner, dict[_Key, _Told]] = {}
    for manner, keys in groups.items():
        known = shelf.told(stamp, manner, keys)
        fresh: dict[_Key, _Told] = {}
        for revisions in _layers(keys - known.keys()):
            fresh |= _tell(services, manner, revisions)
        shelf.keep(stamp, manner, fresh)
        found[manner] = known | fresh
    return found


def _layers(keys: Iterable[_Key]) -> list[dict[int, int]]:
    """A notice that is wanted at two revisions comes in two groups."""
    layers: list[dict[int, int]] = []
    for number, revision in sorted(keys):
        free = next((layer for layer in layers if number not in layer), None)
        if free is None:
            layers.append(free := {})
        free[number] = revision
    return layers


def _tell(services: Services, manner: _Manner, revisions: Mapping[int, int]) -> dict[_Key, _Told]:
    found = services.notices.at_revisions(revisions)
    corrections = services.notices.last_major(found, upto=revisions)
    sources = sources_of(services, found.values())
    also = also_published(services, found.values(), lang=manner.lang, until=manner.until)
    told: dict[_Key, _Told] = {}
    for number, notice in found.items():
        view = entry_view(
            services,
            notice,
            lang=manner.lang,
            surface=manner.surface,
            discreet=manner.discreet,
            correction=corrections.get(number),
            source=sources.get(notice.source_id or 0),
            also=also.get(number, ()),
        )
        shown = replace(view, body_html="") if notice.is_public else None
        told[number, revisions[number]] = _Told(_light(notice), shown)
    return told

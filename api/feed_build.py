"""Makes feeds for the fast path: first what decides whether a reader needs one, then, if so, its bytes.

A mark (ETag, times, which notices) is made without reading or rendering a text; a body is assembled from
entries that were rendered before. Byte for byte what ``api.views`` and the renderers make of the whole.
Opens no connection to readers: ``api.feed_asgi`` does, and calls it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from api.feed_changes import Changes
from api.feed_entries import Entries
from api.feed_heads import GONE_MOST, Part, personal_head, public_head, public_part
from api.feed_links import PublicFeed
from api.feed_zip import zipped
from api.impressions import Shown
from api.views import pick_sentences, plainly
from api.wiring import Services
from delivery.conditional import RENDERER_VERSION, etag
from delivery.feed_writer import Format, Parts, reason_gaps, write
from feeds.catalogue.feed_reading import Fact
from profiles.feed_reading import FeedDesk, FeedDesks
from profiles.types import SHELF_SIZE, Pick

_LOOK_EVERY = 30.0  # seconds
_SAID_MOST = 20_000


@dataclass(slots=True)
class Mark:
    """What decides whether a reader needs a feed again.

    Attributes:
        version: Of the shelf; what else it depends on for a public feed.
        generation: Up to which none of its notices changed; moves on while that is so.
        ids: Of the notices that stand or stood in it, in order.
        tag: The ETag. ``modified``: the newest material time.
    """

    version: tuple[int, ...]
    generation: int
    ids: array[int]
    tag: str
    tag_bytes: bytes
    modified: datetime
    modified_bytes: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a feed. ``shown``: (notice id, propensity) in order, for impressions."""

    mark: Mark
    packed: bytes
    shown: Shown = ()


@dataclass(frozen=True, slots=True)
class _Personal:
    """A resident's feed, decided but not written."""

    desk: FeedDesk
    picks: list[Pick]
    facts: dict[int, Fact]
    gone: list[Fact]

    @property
    def updated(self) -> Iterable[datetime]:
        """A pick of an older notice is news too, for readers that ask by date only."""
        yield self.desk.created_at
        yield from (self.facts[pick.notice_id].updated for pick in self.picks)
        yield from (item.picked_at for item in self.desk.picks)


class FeedBuilder:
    """Makes marks and bodies; keeps entries, facts and what changed. Safe in threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._desks = FeedDesks(services.database)
        self.entries = Entries(services)
        self.changes = Changes(services.notices, self.entries.forget)
        self._sources: dict[int, tuple[str, str, str]] = {}
        self._looked_at: float | None = None
        self._said: dict[tuple[object, ...], tuple[str, ...]] = {}

    # -- personal feeds -----------------------------------------------------------------------------

    def personal_mark(self, profile_id: int, fmt: Format, version: int, generation: int) -> Mark:
        """Say what a resident's feed depends on; reads no text."""
        return self._personal_mark(self._decide(profile_id), fmt, version, generation)

    def personal_body(self, profile_id: int, fmt: Format, mark: Mark | None, at: tuple[int, int]) -> Body:
        """Assemble a resident's feed.

        Args:
            profile_id: Whose.
            fmt: The format.
            mark: The one that stands; ``None`` makes it too.
            at: Shelf version and generation that were known before anything was read.
        """
        self._look_in_time()
        plan = self._decide(profile_id)
        desk, services = plan.desk, self._services
        mark = mark or self._personal_mark(plan, fmt, *at)
        head = personal_head(services, profile_id, lang=desk.lang, updated=plan.updated, gone=plan.gone)
        ids = [pick.notice_id for pick in plan.picks]
        parts = self.entries.parts(ids, (fmt, desk.lang, desk.discreet), head)
        entries = [
            (parts[pick.notice_id], reason_gaps(fmt, self._why(pick, desk.lang), desk.lang))
            for pick in plan.picks
            if pick.notice_id in parts
        ]
        # Somebody who switched personalisation off is not observed.
        shown = tuple((p.notice_id, p.propensity) for p in plan.picks) if desk.personalised else ()
        return Body(mark, zipped(write(fmt, head, entries)), shown)

    def _personal_mark(self, plan: _Personal, fmt: Format, version: int, generation: int) -> Mark:
        listed = [plan.facts[pick.notice_id] for pick in plan.picks]
        watched = [item.pick.notice_id for item in plan.desk.picks]
        modified = max(plan.updated)
        tag = _tag(fmt, plan.desk.lang, version, listed, plan.gone)
        return _mark((version,), generation, watched, tag, modified)

    def _decide(self, profile_id: int) -> _Personal:
        desk = self._desks.of(profile_id)
        picks = [item.pick for item in desk.picks if item.pick.notice_id not in desk.hidden][:SHELF_SIZE]
        facts = self.entries.facts([pick.notice_id for pick in picks])
        if not desk.personalised:
            picks = plainly(picks, facts)
        gone = sorted(
            (fact for fact in facts.values() if fact.state == "purged"),
            key=lambda fact: fact.material_number,
            reverse=True,
        )
        public = [pick for pick in picks if pick.notice_id in facts and facts[pick.notice_id].is_public]
        return _Personal(desk, public, facts, gone[:GONE_MOST])

    def _why(self, pick: Pick, lang: str) -> tuple[str, ...]:
        """Its reasons as sentences; many residents have the same, and saying them looks at the model."""
        key = (lang, *((reason.code, reason.params) for reason in pick.reasons))
        said = self._said.get(key)
        if said is None:
            said = pick_sentences(self._services, pick, lang=lang, surface="feed")
            if len(self._said) > _SAID_MOST:
                self._said.clear()
            self._said[key] = said
        return said

    # -- public feeds -------------------------------------------------------------------------------

    def public_mark(self, which: PublicFeed, lang: str, fmt: Format, page: int, generation: int) -> Mark:
        """Say what a document of a public feed depends on; reads no text.

        Raises:
            NotFoundError: If there is no such feed, or no such page of its archive.
        """
        return self._public_mark(public_part(self._services, which, page), lang, fmt, generation)

    def public_body(
        self, which: PublicFeed, lang: str, fmt: Format, page: int, mark: Mark | None, generation: int
    ) -> Body:
        """Assemble a document of a public feed; ``mark`` and ``generation`` as in :meth:`personal_body`.

        Raises:
            NotFoundError: If there is no such feed, or no such page of its archive.
        """
        self._look_in_time()
        part = public_part(self._services, which, page)
        facts = self.entries.facts(part.ids)
        mark = mark or self._public_mark(part, lang, fmt, generation)
        updated = [facts[number].updated for number in part.ids if number in facts]
        head = public_head(self._services, which, part, lang=lang, fmt=fmt, updated=updated)
        parts = self.entries.parts(part.ids, (fmt, lang, False), head)
        none = reason_gaps(fmt, (), lang)
        entries: list[tuple[Parts, Parts]] = [(parts[n], none) for n in part.ids if n in parts]
        return Body(mark, zipped(write(fmt, head, entries)))

    def _public_mark(self, part: Part, lang: str, fmt: Format, generation: int) -> Mark:
        facts = self.entries.facts(part.ids)
        listed = [facts[number] for number in part.ids if number in facts]
        started = datetime(int(self._services.year), 1, 1, tzinfo=self._services.clock.now().tzinfo)
        modified = max((one.updated for one in (*listed, *part.gone)), default=started)
        # A page of an archive is another document once it has a next one.
        extra = 2 * part.page + (part.page < part.pages) if part.page else 0
        tag = _tag(fmt, lang, extra, listed, part.gone)
        watched = [*part.ids, *(one.notice_id for one in part.gone)]
        return _mark((part.page, part.pages), generation, watched, tag, modified)

    # -- both ---------------------------------------------------------------------------------------

    def to_look_around(self) -> bool:
        """Whether it is time to look around again; whoever hears so does it."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < _LOOK_EVERY:
            return False
        self._looked_at = now
        return True

    def _look_in_time(self) -> None:
        if self.to_look_around():
            self.look_around()

    def look_around(self) -> None:
        """Notice what no number tells of: another model, and a source's new name, which entries carry.

        Before a feed is answered, also from memory: one that changes seldom would keep the old name for ever.
        """
        self._said = {}
        known = {one.id: (one.name, one.url or "", one.licence) for one in self._services.sources.list()}
        if any(known.get(number) != said for number, said in self._sources.items()):
            self.changes.everything()
        self._sources = known


def _tag(fmt: Format, lang: str, version: int, listed: Iterable[Fact], gone: Iterable[Fact]) -> str:
    """The ETag; what is gone is said, and so counts, in Atom alone."""
    named = [(one.notice_id, one.material_number) for one in listed]
    if fmt == "atom":
        named += [(-one.notice_id, one.material_number) for one in gone]
    return etag(RENDERER_VERSION, fmt, lang, version, named)


def _mark(version: tuple[int, ...], generation: int, ids: list[int], tag: str, modified: datetime) -> Mark:
    said = format_datetime(modified, usegmt=True).encode()
    return Mark(version, generation, array("q", ids), tag, tag.encode(), modified, said)

"""Brings a batch of entries into the catalogue: normalise, name, decide, tag, store, count.

One :class:`Landing` is one ingest, whether of a file or of an answer. It opens no file and no
address; every batch is one transaction of the store, so what has landed stays landed.
Called by :mod:`feeds.intake.ingest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import Level, LinkKind, NewNotice, Notice, NoticeContent
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import EDITOR, Tag, Tagger
from feeds.catalogue.vocabulary import City
from feeds.intake.decide import canonical_url, decide, feed_guids, guid_of, is_flood, is_major, nth_guid
from feeds.intake.normalise import Declared, normalise
from feeds.intake.sanitise import to_text
from feeds.intake.sources import Source
from feeds.intake.types import Decision, IngestReport, Oddity, RawEntry
from feeds.kernel.errors import ConflictError
from feeds.kernel.time import Clock

DEFAULT_LANG = "zh-Hans"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry on its way: normalised, with its name inside its source."""

    source: Source
    guid: str
    line: int
    content: NoticeContent
    declared: Declared


class Landing:
    """Counts and remembers what one ingest needs from its first row to its last."""

    def __init__(
        self, notices: NoticeStore, tagger: Tagger, city: City, clock: Clock, *, archive: bool
    ) -> None:
        self._notices, self._tagger, self._city, self._clock = notices, tagger, city, clock
        self._archive = archive
        self.report = IngestReport()
        self._taken: dict[int, set[str]] = {}
        self._urls: dict[int, set[str]] = {}
        self._ids: dict[tuple[int, str], int] = {}
        self._anywhere: dict[str, int] = {}
        self._links: list[tuple[Row, LinkKind, str]] = []
        self._agencies = _agency_names(city)

    # -- preparing -------------------------------------------------------------------------------

    def note(self, oddity: Oddity) -> None:
        """Record an oddity of a reader; a dropped one counts as a row read."""
        self.report.oddities.append(oddity)
        if oddity.dropped:
            self.report.read += 1
            self.report.dropped += 1

    def prepare_file_row(self, source: Source, entry: RawEntry) -> Row | None:
        """Normalise a row of a file; a taken id becomes ``id#2``, so that no row is lost."""
        row = self._normalised(source, entry)
        if row is None:
            return None
        taken = self._taken.setdefault(source.id, set())
        if row.guid in taken:
            guid = nth_guid(row.guid, taken)
            message = f"The id {row.guid[:80]!r} stood on an earlier row; this one is kept as {guid[:80]!r}."
            self._odd(row, "id", "duplicate-id", message)
            row = replace(row, guid=guid)
        taken.add(row.guid)
        self._watch_url(row)
        return row

    def prepare_answer(self, source: Source, entries: Sequence[RawEntry]) -> list[Row]:
        """Normalise the entries of a feed; one that is said twice is left out and reported."""
        rows = [row for row in (self._normalised(source, entry) for entry in entries) if row]
        guids = feed_guids([(row.guid, canonical_url(row.content.url)) for row in rows])
        seen: set[str] = set()
        kept: list[Row] = []
        for row, guid in zip(rows, guids, strict=True):
            if guid in seen:
                self._odd(
                    row,
                    "id",
                    "duplicate-id",
                    f"The entry {guid[:80]!r} is said twice; once is enough.",
                    dropped=True,
                )
                self.report.dropped += 1
                continue
            seen.add(guid)
            kept.append(replace(row, guid=guid))
        return kept

    def _normalised(self, source: Source, entry: RawEntry) -> Row | None:
        with self._timed("parse"):
            self.report.read += 1
            result = normalise(
                entry,
                zone=ZoneInfo(source.timezone or self._city.timezone),
                default_lang=source.lang or DEFAULT_LANG,
                now=self._clock.now(),
                sample_mark=self._city.sample_mark,
                vocabulary=self._city,
            )
            self.report.oddities.extend(result.oddities)
            if result.content is None:
                self.report.dropped += 1
                return None
            content = self._with_agency(result.content, source)
            return Row(source, guid_of(entry.guid, content), entry.line, content, result.declared)

    def _with_agency(self, content: NoticeContent, source: Source) -> NoticeContent:
        agency = content.agency or source.agency
        slug = content.agency_slug or self._agencies.get(agency, "")
        return replace(content, agency=agency, agency_slug=slug[:64])

    def _watch_url(self, row: Row) -> None:
        url = canonical_url(row.content.url)
        seen = self._urls.setdefault(row.source.id, set())
        if url and url in seen:
            self._odd(
                row, "url", "repeated-url", f"The address {url[:120]} stood on an earlier row; both are kept."
            )
        seen.add(url)

    def _odd(self, row: Row, field: str, problem: str, message: str, *, dropped: bool = False) -> None:
        self.report.oddities.append(Oddity(row.line, field, problem, message, dropped))

    # -- landing ---------------------------------------------------------------------------------

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """Compare rows with what is stored of their sources."""
        with self._timed("store"):
            by_source: dict[int, list[str]] = {}
            for row in rows:
                by_source.setdefault(row.source.id, []).append(row.guid)
            keys = {id_: self._notices.known(id_, guids) for id_, guids in by_source.items()}
        return [decide(keys[row.source.id].get(row.guid), row.content.hash()) for row in rows]

    def is_flood(self, source: Source, decisions: Sequence[Decision]) -> bool:
        """Whether an answer must wait for an editor."""
        return is_flood(decisions, has_history=source.polls > 0)

    def count(self, decisions: Sequence[Decision]) -> None:
        """Count what would happen, and do nothing."""
        for decision in decisions:
            self.report.new += decision.action == "new"
            self.report.changed += decision.action == "changed"
            self.report.same += decision.action == "same"

    def land(self, rows: Sequence[Row]) -> None:
        """Store a batch; if another process stored some of it meanwhile, look again and go on."""
        try:
            self._land(rows, self.decide(rows))
        except ConflictError:
            self._land(rows, self.decide(rows))

    def _land(self, rows: Sequence[Row], decisions: Sequence[Decision]) -> None:
        pairs = list(zip(rows, decisions, strict=True))
        fresh = [row for row, decision in pairs if decision.action == "new"]
        new = [self._new_notice(row) for row in fresh]
        with self._timed("store"):
            ids = self._notices.add(new, at=self._clock.now())
        self.report.new += len(ids)
        self.report.new_ids.extend(ids)
        for row, item, notice_id in zip(fresh, new, ids, strict=True):
            self._remember(row, notice_id)
            self._watch_themes(row, item.tags)
        for row, decision in pairs:
            if decision.notice_id is not None:
                self._remember(row, decision.notice_id)
            if decision.action == "changed" and decision.notice_id is not None:
                self._revise(row, decision.notice_id)
            self.report.same += decision.action == "same"

    def _new_notice(self, row: Row) -> NewNotice:
        tags, level, place = self._tagged(row)
        return NewNotice(
            row.content,
            row.source.id,
            row.guid,
            tags,
            level,
            place,
            row.declared.priority,
            archive=self._archive,
        )

    def _revise(self, row: Row, notice_id: int) -> None:
        with self._timed("store"):
            old = self._notices.get(notice_id)
        tags, level, place = self._tagged(row, old)
        try:
            with self._timed("store"):
                self._notices.revise(
                    notice_id, row.content, tags=tags, level=level, place=place,
                    major=is_major(old.content, row.content), actor="intake",
                    note="Changed by its publisher", at=self._clock.now(), from_upstream=True,
                )  # fmt: skip
        except ConflictError:
            self.report.same += 1  # withdrawn or purged here while we read: upstream cannot bring it back
            return
        self.report.changed += 1
        self._watch_themes(row, tags)

    def _tagged(self, row: Row, old: Notice | None = None) -> tuple[tuple[Tag, ...], Level, str | None]:
        with self._timed("tag"):
            content = row.content
            guessed = self._tagger.tag(
                title=content.title.removeprefix(self._city.sample_mark),
                text=to_text(content.body),
                agency=content.agency,
                doc_type=content.doc_type,
                upstream=content.upstream_tags,
                region=content.region,
            )
            chosen = [*self._chosen(row.declared), *_kept(row.declared, old)]
            tags = {(tag.kind, tag.code): tag for tag in (*guessed, *chosen)}
            region, place = (
                ("", row.declared.place) if row.declared.place else (content.region, row.source.place)
            )
            level, where = self._tagger.jurisdiction(
                tags=() if row.declared.place else guessed, region=region, source_place=place
            )
            return tuple(tags.values()), level, where

    def _chosen(self, declared: Declared) -> Iterator[Tag]:
        for name in declared.tags:
            kind, _, code = name.partition(":")
            yield Tag(kind, code, EDITOR, 1.0)
            parent = self._city.themes[code].parent if kind == "theme" and code in self._city.themes else ""
            if parent:
                yield Tag(kind, parent, EDITOR, 1.0)

    def _watch_themes(self, row: Row, tags: Sequence[Tag]) -> None:
        if not any(tag.kind == "theme" for tag in tags):
            self.report.untagged.append(row.line)

    # -- links -----------------------------------------------------------------------------------

    def _remember(self, row: Row, notice_id: int) -> None:
        self._ids[row.source.id, row.guid] = notice_id
        self._anywhere.setdefault(row.guid, notice_id)
        self._links.extend((row, kind, target) for kind, target in row.declared.links)

    def link(self) -> None:
        """Relate notices by the ids their publisher named, after all of them have landed."""
        with self._timed("store"):
            for row, kind, target in self._links:
                other = self._find(row.source, target)
                if other is None:
                    self._odd(
                        row,
                        "links",
                        "link-not-found",
                        f"No notice {target[:80]!r} was found to link to ({kind}).",
                    )
                else:
                    self._notices.link(self._ids[row.source.id, row.guid], other, kind)

    def _find(self, source: Source, guid: str) -> int | None:
        """The same source first, then the rest of this file, then what was stored before."""
        found = self._ids.get((source.id, guid)) or self._anywhere.get(guid)
        if found:
            return found
        key = self._notices.known(source.id, [guid]).get(guid)
        return key.notice_id if key else None

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self.add_seconds(stage, perf_counter() - started)

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the time a stage has taken."""
        self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds


def _kept(declared: Declared, old: Notice | None) -> Iterator[Tag]:
    """Tags that an editor gave by hand survive a change by the publisher, unless he now names his own."""
    named = {name.partition(":")[0] for name in declared.tags}
    for tag in old.tags if old else ():
        if tag.cause == EDITOR and tag.kind not in named:
            yield tag


def _agency_names(city: City) -> dict[str, str]:
    names: dict[str, str] = {}
    for slug, agency in city.agencies.items():
        for name in (agency.label.zh, agency.label.en, *agency.aliases):
            names.setdefault(name, slug)
    return names

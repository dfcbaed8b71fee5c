"""Brings prepared rows into the catalogue: decide, store, link, withdraw, count.

One :class:`Landing` is one ingest, whether of a file or of an answer. It opens no file and no
address; every batch is one transaction of the store, so what has landed stays landed.
Called by :mod:`feeds.intake.ingest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from time import perf_counter

from feeds.catalogue.identity import Likeness, key_of, likeness
from feeds.catalogue.notices import PUBLIC_STATES, LinkKind, NewNotice, Notice, NoticeContent, State
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import EDITOR, Tag
from feeds.intake.decide import canonical_url, decide, is_flood, is_major, nth_guid
from feeds.intake.normalise import Declared
from feeds.intake.prepare import Prepared, Preparer, Row, Work, priority_of
from feeds.intake.sources import Source
from feeds.intake.types import Decision, Deletion, IngestReport, Oddity, RawEntry
from feeds.kernel.errors import ConflictError
from feeds.kernel.time import Clock

FLAP_WINDOW = timedelta(days=7)
_BACK = {"zh": "发布方已撤回", "en": "Withdrawn by its publisher"}


class Landing:
    """Counts and remembers what one ingest needs from its first row to its last."""

    def __init__(self, notices: NoticeStore, preparer: Preparer, clock: Clock, *, archive: bool) -> None:
        self._notices, self._preparer, self._clock = notices, preparer, clock
        self._archive = archive
        self.report = IngestReport()
        self._work = Work(self.report.oddities)
        self._sources: dict[int, Source] = {}
        self._taken: dict[int, set[str]] = {}
        self._urls: dict[int, set[str]] = {}
        self._ids: dict[tuple[int, str], int] = {}
        self._anywhere: dict[str, int] = {}
        self._links: list[tuple[Row, LinkKind, str]] = []

    # -- preparing -------------------------------------------------------------------------------

    def note(self, oddity: Oddity) -> None:
        """Record an oddity of a reader; a dropped one counts as a row read."""
        self.report.oddities.append(oddity)
        if oddity.dropped:
            self.report.read += 1
            self.report.dropped += 1

    def prepare_file_row(self, source: Source, entry: RawEntry) -> Row | None:
        """Normalise a row of a file; a taken id becomes ``id#2``, so that no row is lost."""
        self._sources[source.id] = source
        with self._timed("parse"):
            self.report.read += 1
            row = self._preparer.draft(source, entry, self._clock.now(), self._work)
        if row is None:
            self.report.dropped += 1
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

    def take(self, source: Source, prepared: Prepared) -> Sequence[Row]:
        """Take over what was counted while an answer was prepared; return its rows."""
        self._sources[source.id] = source
        report = self.report
        report.read += prepared.read
        report.dropped += prepared.dropped
        report.skipped += len(prepared.skipped)
        report.deferred += prepared.deferred
        report.same += prepared.same
        report.unchanged = prepared.unchanged
        report.oddities.extend(prepared.oddities)
        for stage, seconds in prepared.seconds.items():
            self.add_seconds(stage, seconds)
        return prepared.rows

    def _watch_url(self, row: Row) -> None:
        url = canonical_url(row.content.url)
        seen = self._urls.setdefault(row.source_id, set())
        if url and url in seen:
            self._odd(
                row, "url", "repeated-url", f"The address {url[:120]} stood on an earlier row; both are kept."
            )
        seen.add(url)

    def _odd(self, row: Row, field: str, problem: str, message: str, *, dropped: bool = False) -> None:
        self.report.oddities.append(Oddity(row.line, field, problem, message, dropped))

    # -- deciding --------------------------------------------------------------------------------

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """Compare rows with what is stored of their sources."""
        with self._timed("store"):
            by_source: dict[int, list[str]] = {}
            for row in rows:
                by_source.setdefault(row.source_id, []).append(row.guid)
            keys = {id_: self._notices.known(id_, guids) for id_, guids in by_source.items()}
            found = [decide(keys[row.source_id].get(row.guid), row.hash) for row in rows]
            changed = [one.notice_id for one in found if one.action == "changed" and one.notice_id]
            if not changed:
                return found
            often = self._notices.recent_changes(changed, self._clock.now() - FLAP_WINDOW)
        return [
            decide(
                keys[row.source_id].get(row.guid),
                row.hash,
                recent_changes=often.get(first.notice_id or 0, 0),
            )
            if first.action == "changed"
            else first
            for row, first in zip(rows, found, strict=True)
        ]

    def is_flood(
        self, source: Source, decisions: Sequence[Decision], prepared: Prepared | None = None
    ) -> bool:
        """Whether an answer must wait for an editor; warnings may come in floods."""
        return source.kind != "cap" and is_flood(
            decisions,
            has_history=source.polls > 0,
            same=prepared.same if prepared else 0,
            deferred=prepared.deferred if prepared else 0,
        )

    def count(self, decisions: Sequence[Decision]) -> None:
        """Count what would happen, and do nothing."""
        for decision in decisions:
            self.report.new += decision.action == "new"
            self.report.changed += decision.action == "changed"
            self.report.same += decision.action == "same"

    # -- storing ---------------------------------------------------------------------------------

    def land(self, rows: Sequence[Row], decisions: Sequence[Decision] | None = None) -> None:
        """Store a batch; if another process stored some of it meanwhile, look again and go on."""
        try:
            self._land(rows, decisions or self.decide(rows))
        except ConflictError:
            self._land(rows, self.decide(rows))

    def _land(self, rows: Sequence[Row], decisions: Sequence[Decision]) -> None:
        pairs = [
            (self._finished(row) if decision.action in ("new", "changed") else row, decision)
            for row, decision in zip(rows, decisions, strict=True)
        ]
        by_source: dict[int, list[Row]] = {}
        for row, decision in pairs:
            if decision.action == "new":
                by_source.setdefault(row.source_id, []).append(row)
        for source_id, fresh in by_source.items():
            self._add(self._sources[source_id], fresh)
        for row, decision in pairs:
            if decision.notice_id is not None:
                self._remember(row, decision.notice_id)
            if decision.action == "changed" and decision.notice_id is not None:
                self._revise(row, decision.notice_id)
            if decision.reason.startswith("flapping"):
                self._odd(
                    row, "body", "flapping", "The entry changes all the time; its changes are not taken."
                )
            self.report.same += decision.action == "same"

    def _finished(self, row: Row) -> Row:
        if row.finished:
            return row
        with self._timed("tag"):
            return self._preparer.finish(self._sources[row.source_id], row)

    def _add(self, source: Source, rows: Sequence[Row]) -> None:
        with self._timed("store"):
            identities = [row.identity for row in rows if row.identity]
            alike = self._notices.look_alikes(identities, not_source=source.id)
            likenesses = [
                likeness(mine, source.id, others) for mine, others in zip(identities, alike, strict=True)
            ]
            new = [self._new_notice(source, row, like) for row, like in zip(rows, likenesses, strict=True)]
            ids = self._notices.add(new, at=self._clock.now())
        self.report.new += len(ids)
        self.report.new_ids.extend(ids)
        for row, item, notice_id in zip(rows, new, ids, strict=True):
            self.report.held += item.state == "in_review"
            self.report.duplicates += item.likeness is not None
            self._remember(row, notice_id)
            self._watch_themes(row, item.tags)

    def _new_notice(self, source: Source, row: Row, like: Likeness | None) -> NewNotice:
        return NewNotice(
            row.content,
            row.source_id,
            row.guid,
            row.tags,
            row.level,
            row.place,
            priority_of(source, row),
            state="in_review" if row.hold else "released",
            archive=self._archive and source.kind != "cap",
            words=row.words,
            identity=row.identity,
            likeness=like,
            reason=row.hold,
        )

    def _revise(self, row: Row, notice_id: int) -> None:
        with self._timed("store"):
            old = self._notices.get(notice_id)
            if not row.titled and old.content.title != row.content.title:
                # A title does not vanish; a list's layout does.
                message = "The entry has lost its title; what was stored stays as it is."
                self._odd(row, "title", "title-lost", message)
                self.report.same += 1
                return
            if row.hold and old.state in PUBLIC_STATES:
                # What is public stays as it is until an editor has seen the change.
                self._notices.hold_change(
                    notice_id,
                    row.content,
                    at=self._clock.now(),
                    reason=row.hold,
                    priority=row.declared.priority if row.messages else None,
                )
                self.report.held += 1
                self.report.same += 1
                return
        tags = {(tag.kind, tag.code): tag for tag in (*row.tags, *_kept(row.declared, old))}
        try:
            with self._timed("store"):
                self._notices.revise(
                    notice_id, row.content, tags=tuple(tags.values()), level=row.level, place=row.place,
                    major=bool(row.messages) or is_major(old.content, row.content), actor="intake",
                    note="Changed by its publisher", at=self._clock.now(), from_upstream=True,
                    words=row.words, identity=row.identity,
                    priority=row.declared.priority if row.messages else None,
                )  # fmt: skip
            if row.messages and old.state == "superseded":  # its chain has come back to it
                self._notices.set_state(notice_id, "released", at=self._clock.now(), frm=("superseded",))
            if old.state == "in_review" and row.hold != old.reason:
                self._rejudge(row, notice_id, old.reason)
            if _renamed(old.content, row.content):
                self._relike(row, notice_id)
        except ConflictError:
            self.report.same += 1  # withdrawn or purged here while we read: upstream cannot bring it back
            return
        self.report.changed += 1
        self.report.changed_ids.append(notice_id)
        self._watch_themes(row, row.tags)

    def _relike(self, row: Row, notice_id: int) -> None:
        """Look anew whom a notice repeats; it may have become another one."""
        if row.identity is None:
            return
        with self._timed("store"):
            [others] = self._notices.look_alikes([row.identity], not_source=row.source_id)
            self._notices.relike(notice_id, likeness(row.identity, row.source_id, others))

    def _rejudge(self, row: Row, notice_id: int, was: str) -> None:
        """Say anew why a changed notice waits; a warning whose words are unobjectionable now goes out."""
        freed = row.messages and not row.hold and was.startswith(("word:", "rule:", "id-number", "openness"))
        if row.hold or freed:
            after: State = "released" if freed else "in_review"
            self._notices.set_state(
                notice_id, after, at=self._clock.now(), reason=row.hold, frm=("in_review",)
            )

    def _watch_themes(self, row: Row, tags: Sequence[Tag]) -> None:
        if not any(tag.kind == "theme" for tag in tags):
            self.report.untagged.append(row.line)

    # -- taking back -----------------------------------------------------------------------------

    def withdraw(self, source: Source, deletions: Sequence[Deletion]) -> None:
        """Withdraw what upstream has taken back; what was never public waits on, with the reason."""
        with self._timed("store"):
            keys = self._notices.known(source.id, [deletion.guid for deletion in deletions])
            for deletion in deletions:
                key = keys.get(deletion.guid)
                if key is not None and key.state in ("released", "expired", "in_review", "draft"):
                    self._withdraw(key.notice_id, key.state, deletion.reason)

    def _withdraw(self, notice_id: int, state: str, said: str) -> None:
        old = self._notices.get(notice_id)
        reason = _BACK["zh" if old.content.lang.startswith("zh") else "en"]
        reason = f"{reason}：{said}" if said and old.content.lang.startswith("zh") else reason
        reason = f"{reason}: {said}" if said and not old.content.lang.startswith("zh") else reason
        if said and "cap" in old.content.extra:
            reason = said
        # What is not public cannot be withdrawn; the reason tells the editor who has it.
        after: State = "withdrawn" if state in PUBLIC_STATES else "draft" if state == "draft" else "in_review"
        if old.state == after and old.reason == reason[:500]:
            return
        try:
            self._notices.set_state(
                notice_id,
                after,
                at=self._clock.now(),
                reason=reason[:500],
                frm=("released", "expired", "in_review", "draft"),
            )
        except ConflictError:
            return  # an editor was faster
        self.report.withdrawn += 1
        self.report.withdrawn_ids.append(notice_id)

    def know_messages(self, source: Source, chains: Mapping[str, Sequence[str]]) -> None:
        """Remember under which messages warnings are known, so that the next one finds them."""
        with self._timed("store"):
            for guid, key in self._notices.known(source.id, list(chains)).items():
                self._notices.add_keys(key.notice_id, [key_of("cap", one) for one in chains[guid]])

    def supersede(self, source: Source, guids: Sequence[str]) -> None:
        """Mark notices whose warning goes on in another one; nobody is told."""
        with self._timed("store"):
            for key in self._notices.known(source.id, guids).values():
                if key.state in ("released", "expired"):
                    self._notices.set_state(key.notice_id, "superseded", at=self._clock.now())

    # -- links -----------------------------------------------------------------------------------

    def _remember(self, row: Row, notice_id: int) -> None:
        self._ids[row.source_id, row.guid] = notice_id
        self._anywhere.setdefault(row.guid, notice_id)
        self._links.extend((row, kind, target) for kind, target in row.declared.links)

    def link(self) -> None:
        """Relate notices by the ids their publisher named, after all of them have landed."""
        with self._timed("store"):
            for row, kind, target in self._links:
                other = self._find(row.source_id, target)
                if other is None:
                    self._odd(
                        row,
                        "links",
                        "link-not-found",
                        f"No notice {target[:80]!r} was found to link to ({kind}).",
                    )
                else:
                    self._notices.link(self._ids[row.source_id, row.guid], other, kind)

    def _find(self, source_id: int, guid: str) -> int | None:
        """The same source first, then the rest of this file, then what was stored before."""
        found = self._ids.get((source_id, guid)) or self._anywhere.get(guid)
        if found:
            return found
        key = self._notices.known(source_id, [guid]).get(guid)
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


def _renamed(old: NoticeContent, new: NoticeContent) -> bool:
    """Whether what a notice is recognised by first has changed."""
    return (old.title, old.doc_no, old.url) != (new.title, new.doc_no, new.url)


def _kept(declared: Declared, old: Notice) -> Iterator[Tag]:
    """Tags that an editor gave by hand survive a change by the publisher, unless he now names his own."""
    named = {name.partition(":")[0] for name in declared.tags}
    for tag in old.tags:
        if tag.cause == EDITOR and tag.kind not in named:
            yield tag

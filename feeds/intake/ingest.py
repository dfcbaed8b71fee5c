"""Takes notices in: imports a notice file, or polls a source once, in steps that can be spread out.

``gather`` asks and prepares (network and thinking, any number of threads), ``land`` stores (one writer).
Both can be run twice and killed in the middle: what has landed is recognised, the rest lands, and a
source's state moves on only after its notices are stored. Called by ``api.jobs`` and the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import BinaryIO, Protocol, TypeVar

from feeds.catalogue.identity import Likeness, key_of, likeness
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import Tagger
from feeds.catalogue.vocabulary import City
from feeds.intake import fetch
from feeds.intake.cap_chain import KnownMessage, Resolved, Stale, known_message, message_ids, resolve, stamp
from feeds.intake.details import Details
from feeds.intake.fetch import Client
from feeds.intake.fields import clean, one_line
from feeds.intake.landing import Landing
from feeds.intake.parsers.notice_file import Format, open_notice_file, read_notice_file
from feeds.intake.prepare import UNCHANGED, Prepared, Preparer, Row
from feeds.intake.sources import Source, SourceStore, digest
from feeds.intake.types import Decision, Fetched, IngestReport, Oddity, Parsed, RawEntry
from feeds.kernel.errors import BadInputError, FetchError, MycityError
from feeds.kernel.http import HttpStatusError
from feeds.kernel.time import Clock

BATCH = 200
KNOWN_LEAST, KNOWN_MOST = 200, 2000
Progress = Callable[[int, int], None]
_T = TypeVar("_T")


Task = tuple[Source, Fetched, datetime, Mapping[str, str] | None]  # what Preparer.read takes


class Reader(Protocol):
    """What prepares answers elsewhere than here: in ``size`` processes of its own."""

    size: int

    def read_many(self, tasks: Sequence[Task]) -> Sequence[Prepared | Exception]:
        """Read answers whole, each as :meth:`feeds.intake.prepare.Preparer.read` does."""


class UnreadableError(BadInputError):
    """An answer that is not what its source promises; ``fetched`` is that answer."""

    def __init__(self, message: str, fetched: Fetched) -> None:
        super().__init__(message)
        self.fetched = fetched


@dataclass(frozen=True, slots=True)
class Gathered:
    """One answer, ready to land."""

    fetched: Fetched
    prepared: Prepared
    seconds: float


@dataclass(frozen=True, slots=True)
class Unread:
    """One plain answer that is still to be read.

    Attributes:
        known: Entry's name → digest of what is stored of it; ``None`` where nothing is.
        seconds: How long asking took.
    """

    source: Source
    fetched: Fetched
    known: Mapping[str, str] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What landing an answer would do; nothing was stored.

    Attributes:
        rows: With what would be done to each, and the notice of another source it repeats, if any.
        flood: Whether it would be held because most of it suddenly looks new.
    """

    fetched: Fetched
    prepared: Prepared
    rows: tuple[tuple[Row, Decision, Likeness | None], ...]
    flood: bool


class Ingestor:
    """Joins readers, rules, tagger and stores; holds no state between two calls."""

    def __init__(
        self, notices: NoticeStore, sources: SourceStore, tagger: Tagger, city: City, clock: Clock
    ) -> None:
        self._notices, self._sources, self._clock = notices, sources, clock
        self.preparer = Preparer(city, tagger)
        self._details = Details(notices, clock, self.preparer.zone)

    # -- files -----------------------------------------------------------------------------------

    def import_file(
        self,
        path: Path,
        *,
        progress: Progress | None = None,
        batch: int = BATCH,
        format: Format | None = None,
    ) -> IngestReport:
        """Import a notice file as archive; every row lands, or is named in the report.

        Args:
            path: JSON Lines or CSV, see docs/notice-file.md.
            progress: Called after each batch with (bytes read, bytes of the file).
            batch: Rows stored in one transaction; what was stored stays if the next batch fails.
            format: Overrides what the file's ending says.

        Raises:
            BadInputError: If the file as a whole is not a notice file.
        """
        landing = self._landing(archive=True)
        size = 0
        with open_notice_file(path) as stream:
            size = stream.seek(0, 2)
            rows = self._file_rows(stream, path, landing, format)
            for some in _batched(rows, batch):
                landing.land(some)
                if progress:
                    progress(min(stream.tell(), size), size)
        landing.link()
        if progress:
            progress(size, size)
        return landing.report

    # -- sources ---------------------------------------------------------------------------------

    def poll(self, source: Source, client: Client, *, dry_run: bool = False) -> IngestReport:
        """Ask a source once and take in what it says.

        The first good answer is archive. An answer that suddenly looks new for the most part is
        held: nothing is stored, the report says ``flood-held``, an editor releases the source.

        Args:
            source: Any that is polled.
            client: The guarded client.
            dry_run: Count only; store no notice and leave the source as it is.

        Raises:
            FetchError: If the address does not answer; noted on the source before.
            BadInputError: If the answer is not what the source promises; noted on the source before.
        """
        if dry_run:
            return self._count(source, client)
        try:
            gathered = self.gather(source, client)
        except (FetchError, BadInputError) as error:
            self.fail(source, error)
            raise
        return self.land(source, gathered)

    def gather(self, source: Source, client: Client) -> Gathered:
        """Ask a source and prepare its answer; reads the database, changes nothing.

        Raises:
            FetchError: If the address does not answer.
            BadInputError: If the answer is not what the source promises.
        """
        found = self.ask(source, client)
        if isinstance(found, Gathered):
            return found
        try:
            prepared = self.preparer.read(source, found.fetched, self._clock.now(), found.known)
        except BadInputError as error:
            raise UnreadableError(str(error), found.fetched) from error
        return Gathered(found.fetched, prepared, found.seconds)

    def ask(self, source: Source, client: Client) -> Gathered | Unread:
        """Ask a source, and leave a plain answer to :meth:`read_many`; changes nothing.

        Sources whose entries are completed from other pages are prepared here.

        Raises:
            FetchError: If the address does not answer.
            BadInputError: If such an answer is not what the source promises.
        """
        started = perf_counter()
        fetched = fetch.ask(source, client)
        spent = perf_counter() - started
        if fetched.status == 304 or (source.body_hash and source.body_hash == digest(fetched.body)):
            return Gathered(fetched, UNCHANGED, spent)
        try:
            if source.full_text or source.kind == "cap":
                parsed = self.preparer.parse(source, fetched)
                return Gathered(fetched, self.complete(source, parsed, client), spent)
        except BadInputError as error:
            raise UnreadableError(str(error), fetched) from error
        return Unread(source, fetched, self._known(source), spent)

    def read_many(self, answers: Sequence[Unread], reader: Reader) -> list[Gathered | Exception]:
        """Have plain answers read; for each, in the order given, what it brings or why it cannot be read."""
        now = self._clock.now()
        outcomes = reader.read_many([(one.source, one.fetched, now, one.known) for one in answers])
        return [_gathered(one, outcome) for one, outcome in zip(answers, outcomes, strict=True)]

    def complete(self, source: Source, parsed: Parsed, client: Client) -> Prepared:
        """Complete entries from the pages they point to, join warnings to their chains, prepare them."""
        done = self._details.complete(source, parsed, client)
        parsed = self._without_future(done.parsed) if source.kind == "cap" else done.parsed
        chained = self._chained(source, parsed) if source.kind == "cap" else Resolved((), ())
        if source.kind == "cap":
            parsed = replace(parsed, entries=chained.entries, deleted=chained.deletions)
        prepared = self.preparer.rows(source, parsed, self._clock.now())
        seen = (*done.seen, *(key_of("cap-ended", str(source.id), one) for one in chained.cancelled))
        return replace(
            prepared,
            read=prepared.read + done.same + done.deferred + len(chained.stale),
            same=prepared.same + done.same + len(chained.stale),
            oddities=(*prepared.oddities, *(_stale(one) for one in chained.stale if one.why == "cancelled")),
            deferred=done.deferred,
            seen=seen,
            chains=chained.keys,
            outdated=chained.outdated,
        )

    def land(self, source: Source, gathered: Gathered) -> IngestReport:
        """Store what was gathered, and note on the source how it went. One writer at a time."""
        landing = self._landing(archive=source.polls == 0)
        landing.add_seconds("fetch", gathered.seconds)
        reason = self._land(source, gathered.prepared, landing)
        if reason:
            self._sources.hold(
                source.id,
                at=self._clock.now(),
                reason=reason,
                fetched=gathered.fetched,
                entries=landing.report.read,
            )
        else:
            self._record(source, gathered, landing.report)
        return landing.report

    def take(self, source: Source, fetched: Fetched, prepared: Prepared) -> IngestReport:
        """Store what came by another way than a poll (pushed by a hub, handed over as a file).

        The source's validators and due date stay as they are.

        Raises:
            BadInputError: If most of it looks new: a hub sends only what is, so a poll must tell whether
                that is a flood. Nothing was stored.
        """
        landing = self._landing(archive=False)
        if reason := self._land(source, prepared, landing):
            raise BadInputError(reason)
        report = landing.report
        self._sources.record_push(
            source.id,
            at=self._clock.now(),
            size=len(fetched.body),
            entries=report.read,
            new=report.new,
            changed=report.changed,
        )
        return report

    def fail(self, source: Source, error: MycityError) -> None:
        """Note on a source that a poll failed, and why; an answer that could not be read is kept."""
        self._sources.record_failure(
            source,
            at=self._clock.now(),
            error=str(error),
            status=error.status if isinstance(error, HttpStatusError) else 0,
            retry_after=error.retry_after if isinstance(error, HttpStatusError) else None,
            fetched=error.fetched if isinstance(error, UnreadableError) else None,
        )

    def preview(self, source: Source, client: Client) -> Preview:
        """Ask a source and say what landing its answer would do; store nothing.

        Raises:
            FetchError: If the address does not answer.
            BadInputError: If the answer is not what the source promises.
        """
        gathered = self.gather(replace(source, etag="", last_modified="", body_hash=""), client)
        landing = self._landing(archive=source.polls == 0)
        rows = landing.take(source, gathered.prepared)
        decisions = landing.decide(rows)
        rows = [row if row.finished else self.preparer.finish(source, row) for row in rows]
        identities = [row.identity for row in rows if row.identity]
        alike = self._notices.look_alikes(identities, not_source=source.id)
        likenesses = [
            likeness(mine, source.id, others) for mine, others in zip(identities, alike, strict=True)
        ]
        return Preview(
            gathered.fetched,
            gathered.prepared,
            tuple(zip(rows, decisions, likenesses, strict=True)),
            landing.is_flood(source, decisions, gathered.prepared),
        )

    # -- inside ----------------------------------------------------------------------------------

    def _landing(self, *, archive: bool) -> Landing:
        return Landing(self._notices, self.preparer, self._clock, archive=archive)

    def _count(self, source: Source, client: Client) -> IngestReport:
        gathered = self.gather(source, client)
        landing = self._landing(archive=source.polls == 0)
        landing.add_seconds("fetch", gathered.seconds)
        self._land(source, gathered.prepared, landing, dry_run=True)
        return landing.report

    def _land(self, source: Source, prepared: Prepared, landing: Landing, *, dry_run: bool = False) -> str:
        """Store rows; return why the answer must be held instead, or ``""``."""
        rows = landing.take(source, prepared)
        decisions = landing.decide(rows) if rows else []
        if landing.is_flood(source, decisions, prepared):
            reason = (
                f"{len(rows)} entries of {source.name!r} suddenly look new; "
                "an editor must release the source."
            )
            landing.note(Oddity(0, "", "flood-held", reason))
            landing.report.dropped += len(rows)
            return reason
        if dry_run:
            landing.count(decisions)
            return ""
        for start in range(0, len(rows), BATCH):
            landing.land(rows[start : start + BATCH], decisions[start : start + BATCH])
        if prepared.chains:
            landing.know_messages(source, prepared.chains)
        if prepared.outdated:
            landing.supersede(source, prepared.outdated)
        if prepared.deleted:
            landing.withdraw(source, prepared.deleted)
        if prepared.seen:
            self._notices.add_keys(0, prepared.seen)
        landing.link()
        return ""

    def _known(self, source: Source) -> dict[str, str] | None:
        """What is stored of a source's newest entries, so that they need not be tagged again."""
        if source.polls == 0:
            return None
        most = min(max(2 * source.last_entries, KNOWN_LEAST), KNOWN_MOST)
        return self._notices.newest_hashes(source.id, most)

    def _without_future(self, parsed: Parsed) -> Parsed:
        """Leave out messages sent after tomorrow, as they say: nothing could ever update or end them."""
        limit = stamp(self._clock.now() + timedelta(days=1))
        late = [one for one in parsed.entries if str(one.fields.get("cap", {}).get("sent") or "") > limit]
        if not late:
            return parsed
        message = "It says it was sent in the future; a warning must have been sent before it can be relayed."
        odd = [Oddity(one.line, "sent", "future-sent", message, dropped=True) for one in late]
        kept = tuple(one for one in parsed.entries if one not in late)
        return replace(parsed, entries=kept, oddities=(*parsed.oddities, *odd))

    def _chained(self, source: Source, parsed: Parsed) -> Resolved:
        """Join warnings to their chains, by what is stored of their messages from this source."""
        ids = message_ids(parsed.entries, parsed.deleted)
        names = {key_of("cap", one): one for one in ids}
        # What one source cancels before it came must not keep another source from saying it.
        names |= {key_of("cap-ended", str(source.id), one): one for one in ids}
        known: dict[str, list[KnownMessage]] = {}
        for key, found in self._notices.cap_notices(list(names), source_id=source.id).items():
            known.setdefault(names[key], []).extend(
                KnownMessage(
                    one.guid, one.sent, one.state or "cancelled", one.message, one.lang, {}, one.ended
                )
                for one in found
            )
        joined = {name: known_message(found) for name, found in known.items()}
        return resolve(parsed.entries, parsed.deleted, joined)

    def _file_rows(
        self, stream: BinaryIO, path: Path, landing: Landing, format: Format | None
    ) -> Iterator[Row]:
        known: dict[str, Source] = {}
        for item in _timed(read_notice_file(stream, format=format), landing):
            if isinstance(item, Oddity):
                landing.note(item)
                continue
            name = _source_name(item) or path.stem
            if name not in known:
                known[name] = self._sources.ensure_file_source(name, at=self._clock.now())
            row = landing.prepare_file_row(known[name], item)
            if row is not None:
                yield row

    def _record(self, source: Source, gathered: Gathered, report: IngestReport) -> None:
        at, fetched, parsed = self._clock.now(), gathered.fetched, gathered.prepared.parsed
        if gathered.prepared.unchanged:
            self._sources.record_unchanged(source, fetched, at=at)
            return
        self._sources.record_ok(
            source,
            fetched,
            at=at,
            seconds=gathered.seconds,
            entries=report.read,
            new=report.new,
            changed=report.changed,
            ttl_s=parsed.ttl_s,
            hub=parsed.hub,
            topic=parsed.topic,
            unfinished=report.deferred > 0,
        )


def _gathered(answer: Unread, outcome: Prepared | Exception) -> Gathered | Exception:
    if isinstance(outcome, BadInputError):
        return UnreadableError(str(outcome), answer.fetched)
    if isinstance(outcome, Exception):
        return outcome
    return Gathered(answer.fetched, outcome, answer.seconds)


def _stale(one: Stale) -> Oddity:
    message = "The warning was cancelled before it came; it was not published."
    return Oddity(one.entry.line, "", "cancelled-before", message)


def _source_name(entry: RawEntry) -> str:
    given = entry.fields.get("source")
    return one_line(clean(given)[0])[:200] if isinstance(given, str) else ""


def _batched(items: Iterator[_T], size: int) -> Iterator[Sequence[_T]]:
    while some := list(islice(items, size)):
        yield some


def _timed(items: Iterator[_T], landing: Landing) -> Iterator[_T]:
    """Add the time that reading takes to the stage ``parse``."""
    while True:
        started = perf_counter()
        item = next(items, None)
        landing.add_seconds("parse", perf_counter() - started)
        if item is None:
            return
        yield item

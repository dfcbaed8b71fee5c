"""Takes notices in: imports a notice file, or polls a source once.

Both can be run twice and killed in the middle: what has landed is recognised, the rest lands, and a
source's state moves on only after its notices are stored. Called by ``api.jobs`` and the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import BinaryIO, TypeVar

from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import Tagger
from feeds.catalogue.vocabulary import City
from feeds.intake.fetch import Client, Reading, read_source
from feeds.intake.fields import clean, one_line
from feeds.intake.landing import Landing, Row
from feeds.intake.parsers.notice_file import Format, open_notice_file, read_notice_file
from feeds.intake.sources import Source, SourceStore
from feeds.intake.types import IngestReport, Oddity, RawEntry
from feeds.kernel.errors import BadInputError, FetchError
from feeds.kernel.http import HttpStatusError
from feeds.kernel.time import Clock

BATCH = 200
Progress = Callable[[int, int], None]
_T = TypeVar("_T")


class Ingestor:
    """Joins readers, rules, tagger and stores; holds no state between two calls."""

    def __init__(
        self, notices: NoticeStore, sources: SourceStore, tagger: Tagger, city: City, clock: Clock
    ) -> None:
        self._notices, self._sources, self._tagger, self._city, self._clock = (
            notices,
            sources,
            tagger,
            city,
            clock,
        )

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

    def poll(self, source: Source, client: Client, *, dry_run: bool = False) -> IngestReport:
        """Ask a source once and take in what it says.

        The first good answer is archive. An answer that suddenly looks new for the most part is
        held: nothing is stored, the report says ``flood-held``, an editor releases the source.

        Args:
            source: A feed.
            client: The guarded client.
            dry_run: Count only; store no notice and leave the source as it is.

        Raises:
            FetchError: If the address does not answer; noted on the source before.
            BadInputError: If the answer is no feed; noted on the source before.
        """
        landing = self._landing(archive=source.polls == 0)
        reading = self._read(source, client, landing, dry_run=dry_run)
        rows = self._feed_rows(source, reading, landing)
        decisions = landing.decide(rows)
        if landing.is_flood(source, decisions):
            self._hold(source, landing, rows, dry_run=dry_run)
        elif dry_run:
            landing.count(decisions)
        else:
            for some in _batched(iter(rows), BATCH):
                landing.land(some)
            self._record(source, reading)
        return landing.report

    def _landing(self, *, archive: bool) -> Landing:
        return Landing(self._notices, self._tagger, self._city, self._clock, archive=archive)

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

    def _read(self, source: Source, client: Client, landing: Landing, *, dry_run: bool) -> Reading:
        started = perf_counter()
        try:
            return read_source(source, client)
        except (FetchError, BadInputError) as error:
            if not dry_run:
                wait = error.retry_after if isinstance(error, HttpStatusError) else None
                self._sources.record_failure(
                    source.id, at=self._clock.now(), error=str(error), retry_after=wait
                )
            raise
        finally:
            landing.add_seconds("fetch", perf_counter() - started)

    def _feed_rows(self, source: Source, reading: Reading, landing: Landing) -> list[Row]:
        if reading.feed is None:
            return []
        for oddity in reading.feed.oddities:
            landing.note(oddity)
        return landing.prepare_answer(source, reading.feed.entries)

    def _hold(self, source: Source, landing: Landing, rows: Sequence[Row], *, dry_run: bool) -> None:
        reason = (
            f"{len(rows)} entries of {source.name!r} suddenly look new; an editor must release the source."
        )
        landing.report.oddities.append(Oddity(0, "", "flood-held", reason))
        landing.report.dropped += len(rows)
        if not dry_run:
            self._sources.hold(source.id, at=self._clock.now(), reason=reason)

    def _record(self, source: Source, reading: Reading) -> None:
        fetched = reading.fetched
        # A 304 need not repeat its validators; keep those that were right this time (RFC 9111 §4.3.4).
        self._sources.record_ok(
            source.id,
            at=self._clock.now(),
            etag=fetched.headers.get("etag", source.etag if reading.feed is None else ""),
            last_modified=fetched.headers.get(
                "last-modified", source.last_modified if reading.feed is None else ""
            ),
            moved_to=fetched.moved_to,
        )


def _source_name(entry: RawEntry) -> str:
    given = entry.fields.get("source")
    return one_line(clean(given)[0])[:200] if isinstance(given, str) else ""


def _batched(items: Iterator[_T], size: int) -> Iterator[list[_T]]:
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

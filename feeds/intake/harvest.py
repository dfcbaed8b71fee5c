"""Lands the answers of many sources together, so that a round of small answers costs few transactions.

An answer that only brings new entries (or none) lands with others in one go, or in the next one where it
resembles one of them; everything else (revisions, withdrawals, floods, warnings) lands by itself, through
:meth:`feeds.intake.ingest.Ingestor.land`. The outcome is the same, whatever lands together.
Called by ``api.jobs.polling``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feeds.catalogue.identity import StoredIdentity, likeness
from feeds.catalogue.notices import NewNotice
from feeds.catalogue.store import NoticeStore
from feeds.intake.ingest import BATCH, Gathered, Ingestor
from feeds.intake.landing import Landing
from feeds.intake.prepare import Row
from feeds.intake.sources import Polled, Source, SourceStore
from feeds.intake.types import Decision, IngestReport
from feeds.kernel.errors import StorageError
from feeds.kernel.time import Clock

Item = tuple[Source, Gathered]


class Harvester:
    """Joins an ingestor with the stores it writes to; holds no state between two calls."""

    def __init__(self, ingestor: Ingestor, notices: NoticeStore, sources: SourceStore, clock: Clock) -> None:
        self._ingestor, self._notices, self._sources, self._clock = ingestor, notices, sources, clock

    def land(self, items: Sequence[Item]) -> list[IngestReport | Exception]:
        """Store what was gathered from some sources. One writer at a time.

        Returns:
            For each, in the order given: its report, or why it did not land.

        Raises:
            StorageError: If the database refuses; what had landed stays.
        """
        alone: list[int] = []
        sheaves: list[_Sheaf] = []
        for number, (source, gathered) in enumerate(items):
            sheaf = self._sheaf(number, source, gathered)
            if sheaf is None:
                alone.append(number)
            else:
                sheaves.append(sheaf)
        landed: dict[int, IngestReport | Exception] = {}
        for some in _goes(sheaves):
            try:
                self._bind(some)
            except StorageError:
                raise
            except Exception:
                # Somebody else stored one of them meanwhile, or one is beyond us: each shows by itself.
                alone.extend(one.number for one in some)
            else:
                landed.update({one.number: one.landing.report for one in some})
        for number in sorted(alone):
            landed[number] = self._by_itself(*items[number])
        return [landed[number] for number in range(len(items))]

    def _sheaf(self, number: int, source: Source, gathered: Gathered) -> _Sheaf | None:
        """Look at one answer; ``None`` where it must land by itself."""
        prepared = gathered.prepared
        plain = len(prepared.rows) <= BATCH and source.kind != "cap" and not prepared.deleted
        if not plain or prepared.seen or any(row.declared.links for row in prepared.rows):
            return None
        landing = _Landing(self._notices, self._ingestor.preparer, self._clock, archive=source.polls == 0)
        rows = landing.take(source, prepared)
        # Nothing of a source's first answer is stored; if a round was killed there, storing it conflicts.
        first = source.polls == 0
        decisions = [Decision("new")] * len(rows) if first else landing.decide(rows) if rows else []
        if landing.is_flood(source, decisions, prepared) or any(
            one.reason or one.action not in ("new", "same") for one in decisions
        ):
            return None
        fresh = [row for row, one in zip(rows, decisions, strict=True) if one.action == "new"]
        if not all(row.finished and row.identity for row in fresh):
            return None
        landing.report.same += len(rows) - len(fresh)
        landing.add_seconds("fetch", gathered.seconds)
        return _Sheaf(number, source, gathered, landing, fresh)

    def _bind(self, sheaves: Sequence[_Sheaf]) -> None:
        at = self._clock.now()
        rows = [row for one in sheaves for row in one.fresh]
        found = self._notices.look_alikes([row.identity for row in rows if row.identity], not_source=None)
        alike = iter(found)
        new = [one.landing.offer(one.source, row, next(alike)) for one in sheaves for row in one.fresh]
        ids = iter(self._notices.add(new, at=at))
        offered = iter(new)
        for one in sheaves:
            one.landing.took([(row, next(offered), next(ids)) for row in one.fresh])
        self._sources.record_many([one.polled(self._clock) for one in sheaves])

    def _by_itself(self, source: Source, gathered: Gathered) -> IngestReport | Exception:
        try:
            return self._ingestor.land(source, gathered)
        except StorageError:
            raise
        except Exception as error:
            return error


@dataclass(frozen=True, slots=True)
class _Sheaf:
    """One answer that may land with others, and those of its entries that are new."""

    number: int
    source: Source
    gathered: Gathered
    landing: _Landing
    fresh: Sequence[Row]

    def polled(self, clock: Clock) -> Polled:
        parsed, report = self.gathered.prepared.parsed, self.landing.report
        return Polled(
            self.source,
            self.gathered.fetched,
            at=clock.now(),
            seconds=self.gathered.seconds,
            entries=report.read,
            new=report.new,
            ttl_s=parsed.ttl_s,
            hub=parsed.hub,
            topic=parsed.topic,
            unfinished=report.deferred > 0,
            unchanged=self.gathered.prepared.unchanged,
        )


def _goes(sheaves: Sequence[_Sheaf]) -> list[list[_Sheaf]]:
    """Share sheaves out, so that whoever comes later sees the one before that it has a key in common with."""
    goes: list[list[_Sheaf]] = []
    last: dict[int, int] = {}  # key → the last go that brings it
    for one in sheaves:
        keys = {key for row in one.fresh if row.identity for key in row.identity.keys}
        go = max((last[key] + 1 for key in keys if key in last), default=0)
        last.update(dict.fromkeys(keys, go))
        if go == len(goes):
            goes.append([])
        goes[go].append(one)
    return goes


class _Landing(Landing):
    """A landing whose new entries are stored by somebody else."""

    def offer(self, source: Source, row: Row, others: Sequence[StoredIdentity]) -> NewNotice:
        """Make a notice of a row."""
        like = likeness(row.identity, source.id, others) if row.identity else None
        return self._new_notice(source, row, like)

    def took(self, landed: Sequence[tuple[Row, NewNotice, int]]) -> None:
        """Count what was stored."""
        for row, item, notice_id in landed:
            self.report.new += 1
            self.report.new_ids.append(notice_id)
            self.report.held += item.state == "in_review"
            self.report.duplicates += item.likeness is not None
            self._watch_themes(row, item.tags)

"""How the sources are doing, for people: one view of each, the same in the command line and the console.

Reads the stores and judges nothing itself (:mod:`feeds.intake.health` does). Called by ``mycity sources``
and the pages under ``/editor/sources``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feeds.intake import poll_log
from feeds.intake.health import Health, health
from feeds.intake.poll_log import KeptAnswer
from feeds.intake.schedule import Hints, Standing, Why, hints_of, next_poll
from feeds.intake.sources import POLLED, Source
from feeds.intake.types import Fetched
from feeds.kernel.errors import BadInputError

if TYPE_CHECKING:
    from api.wiring import Services

_SHOWN_TITLES = 8


@dataclass(frozen=True, slots=True)
class SourceView:
    """One source with what is said of it.

    Attributes:
        weeks: New entries in each whole week of the last thirteen, oldest first.
    """

    source: Source
    health: Health
    weeks: tuple[int, ...]

    @property
    def tone(self) -> str:
        """``alarm``, ``rest`` (nobody polls it, on purpose), ``new`` or ``fine``."""
        if self.health.alarm:
            return "alarm"
        return {"paused": "rest", "new": "new"}.get(self.health.state, "fine")

    @property
    def polled(self) -> bool:
        """Whether it is asked at all, now or after a pause."""
        return self.source.kind in POLLED


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """What stands in an answer that waits for an editor; ``problem`` says why its entries are not shown."""

    count: int
    titles: tuple[str, ...]
    problem: str = ""


def overview(services: Services, *, polled_only: bool = True, alarms_first: bool = False) -> list[SourceView]:
    """View all sources, in the order they were added; with ``alarms_first``, the worst on top."""
    now = services.clock.now()
    found = _views(services, services.sources.healths(now), now)
    found = [one for one in found if one.polled or not polled_only]
    if alarms_first:
        found.sort(key=lambda one: ("alarm", "new", "fine", "rest").index(one.tone))
    return found


def view(services: Services, slug: str) -> SourceView:
    """View one source.

    Raises:
        NotFoundError: If there is none.
    """
    source, now = services.sources.by_slug(slug), services.clock.now()
    return _views(services, services.sources.healths(now, [source.id]), now)[0]


def alarms(services: Services) -> int:
    """Count the sources that need a person, without looking up their past (what that says is stored)."""
    now = services.clock.now()
    return sum(bool(health(one, None, now).alarm) for one in services.sources.list() if one.url)


def why_next(source: Source, headers: Mapping[str, str] | None = None) -> Why | None:
    """Say which term set the next poll of a source; ``None`` where none is due.

    Args:
        source: As it stands.
        headers: Of its last good answer; without them what they asked for counts as ``max-age``.
    """
    asked, due = source.last_polled_at, source.next_poll_at
    if due is None or asked is None:
        return "gone" if source.gone_at else None
    hints = hints_of(headers, asked) if headers and not source.failures else Hints()
    told = next_poll(_standing(source, hints, pushed=False), asked)
    waits = due - asked
    if told.at is None or abs(waits - timedelta(seconds=told.wait_s)) < timedelta(seconds=2):
        return told.why
    pushed = next_poll(_standing(source, hints, pushed=True), asked)
    if source.hub and abs(waits - timedelta(seconds=pushed.wait_s)) < timedelta(seconds=2):
        return pushed.why
    if source.failures:
        return "retry-after" if waits > timedelta(seconds=told.wait_s) else "errors"
    return "max-age" if waits > timedelta(seconds=told.wait_s) else told.why


def held_entries(services: Services, source: Source, answers: Sequence[KeptAnswer]) -> HeldAnswer:
    """Read the kept answer of a held source again, to show an editor what would be taken in."""
    kept = next((answer for answer in answers if answer.which == "last"), None)
    if kept is None:
        return HeldAnswer(0, (), "none")
    fetched = Fetched(kept.status, kept.url, kept.body, kept.headers, kept.at)
    try:
        entries = services.ingestor.preparer.parse(source, fetched).entries
    except BadInputError:
        return HeldAnswer(0, (), "cut" if kept.bytes > len(kept.body) else "unreadable")
    titles = tuple(
        str(entry.fields.get("title") or entry.fields.get("url") or entry.guid) for entry in entries
    )
    return HeldAnswer(len(titles), titles[:_SHOWN_TITLES], "cut" if kept.bytes > len(kept.body) else "")


def readable(answer: KeptAnswer, most: int = 4000) -> str:
    """The beginning of a kept body as text, for a person's eyes."""
    from feeds.intake.charset import decode

    text, _ = decode(answer.body, answer.headers.get("content-type", ""))
    return printable(text[:most])


def printable(text: str) -> str:
    """Replace every sign that is no text, such as those that command a terminal."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text
    )


def _standing(source: Source, hints: Hints, *, pushed: bool) -> Standing:
    return Standing(
        slug=source.slug,
        number=source.polls + source.failures,
        interval_s=source.interval_s,
        ttl_s=source.ttl_s,
        last_new_at=source.last_new_at,
        urgent=source.kind == "cap",
        pushed=pushed,
        failures=source.failures,
        status=source.last_status or 200 * (source.failures == 0),
        hints=hints,
    )


def _views(services: Services, judged: Sequence[tuple[Source, Health]], now: datetime) -> list[SourceView]:
    born = {source.id: source.created_at for source, _ in judged}
    with services.database.read() as connection:
        histories = poll_log.histories(connection, born, now)
    return [SourceView(one, verdict, histories[one.id].weeks[::-1]) for one, verdict in judged]

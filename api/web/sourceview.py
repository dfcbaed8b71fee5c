"""What the pages about sources show: health in words, times in relation to now, a chart of the weeks.

Turns views into words and numbers for templates; reads no store. Called by ``api.web.routes.sources``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.source_views import SourceView, why_next
from api.web.wording import Words
from feeds.intake.sources import Source

_STEP, _BAR, _HEIGHT = 20, 14, 64
_BADGE = {"alarm": "urgent", "new": "soon", "fine": "later", "rest": "past"}
# Why a notice or a change waits: codes of ``feeds.intake.prepare`` with words of the pages for them.
_HOLDS = {
    "review-source": "hold.review_source",
    "untrusted-warning": "hold.untrusted_warning",
    "unauthorised-issuer": "hold.unauthorised_issuer",
    "id-number": "hold.id_number",
    "openness": "hold.openness",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One week of the chart; ``kind`` is ``""``, ``none`` (nothing came) or ``now`` (the newest week)."""

    x: int
    y: int
    height: int
    kind: str
    count: int
    ago: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Entries a week as bars of an SVG of ``width`` × ``height``; ``usual`` is where a dashed line is."""

    bars: tuple[Bar, ...]
    width: int
    height: int
    bar: int
    usual: int | None


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One source in the console, said in one language; ``usual`` is entries a week, ``""`` if not known."""

    source: Source
    state: str
    badge: str
    sentence: str
    last_good: str
    next: str
    chart: Chart | None
    this_week: int
    usual: str
    alarm: str


def item(
    view: SourceView, words: Words, now: datetime, headers: Mapping[str, str] | None = None
) -> SourceItem:
    """Say one source."""
    source, health = view.source, view.health
    return SourceItem(
        source=source,
        state=words(f"source.state_{health.state}"),
        badge=_BADGE[view.tone],
        sentence=_translated(health.zh, source.last_error, words) if words.lang == "zh" else health.en,
        last_good=since(source.last_ok_at, words, now),
        next=next_poll(source, words, now, headers),
        chart=chart(view),
        this_week=health.this_week,
        usual="" if health.per_week is None else f"{round(health.per_week, 1):g}",
        alarm=health.alarm,
    )


def chart(view: SourceView) -> Chart | None:
    """Draw the weeks; ``None`` while there is none."""
    weeks = view.weeks
    if not weeks:
        return None
    usual = view.health.per_week
    most = max(1, *weeks, round(usual or 0))
    bars = []
    for number, count in enumerate(weeks):
        height = max(2, round(count / most * _HEIGHT))
        last = number == len(weeks) - 1
        kind = "none" if not count else "now" if last else ""
        bars.append(Bar(number * _STEP, _HEIGHT - height, height, kind, count, len(weeks) - 1 - number))
    line = None if usual is None else _HEIGHT - round(usual / most * _HEIGHT)
    return Chart(tuple(bars), len(weeks) * _STEP, _HEIGHT, _BAR, line)


def since(then: datetime | None, words: Words, now: datetime) -> str:
    """Say how long ago something was."""
    if then is None:
        return words("source.never")
    return words(f"source.ago_{_unit(now - then)}", n=_count(now - then))


def next_poll(source: Source, words: Words, now: datetime, headers: Mapping[str, str] | None = None) -> str:
    """Say when a source is asked next, and why then."""
    if source.paused or source.held_at or source.gone_at or not source.url:
        return words("source.not_polled")
    due = source.next_poll_at
    if due is None or due <= now:
        return words("source.due")
    said = words(f"source.in_{_unit(due - now)}", n=_count(due - now))
    why = why_next(source, headers)
    return f"{said} · {words('source.why_' + why.replace('-', '_'))}" if why else said


def hold_reason(reason: str, words: Words) -> str:
    """Say why a notice or a change waits for an editor; an unknown reason is shown as it is."""
    kind, _, rest = reason.partition(":")
    if kind == "word" and rest:
        return words("hold.word", word=rest)
    if kind == "rule" and rest:
        return words("hold.rule", rule=rest)
    key = _HOLDS.get(reason, "")
    return words(key) if key else reason


def _translated(sentence: str, error: str, words: Words) -> str:
    """Say the error inside a sentence, which is English, in the reader's language where it is known."""
    return sentence.replace(error, words.explain(ValueError(error))) if error else sentence


def _unit(span: timedelta) -> str:
    seconds = span.total_seconds()
    return "days" if seconds >= 2 * 86_400 else "hours" if seconds >= 2 * 3600 else "minutes"


def _count(span: timedelta) -> int:
    size = {"days": 86_400, "hours": 3600, "minutes": 60}[_unit(span)]
    return max(1, int(span.total_seconds() // size))

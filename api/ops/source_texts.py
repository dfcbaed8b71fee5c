"""What ``mycity sources`` prints: times in relation to now, small charts, the steps of a trial.

Only makes text and values; asks and stores nothing. Called by ``api.ops.commands_sources``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from api.jobs.trying import Trial
from api.source_views import SourceView, why_next
from feeds.intake.ingest import Preview
from feeds.intake.sources import POLLED, Source

_BLOCKS = "▁▂▃▄▅▆▇█"
_SIGNS = {"ok": "✓", "odd": "!", "bad": "✗"}
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
LIST_COLUMNS = ("source", "kind", "state", "last good", "next", "errors", "new a week", "release")


def ago(then: datetime | None, now: datetime) -> str:
    """Say how long ago something was: ``3 h ago``; ``never`` for ``None``."""
    return "never" if then is None else f"{_span(now - then)} ago"


def ahead(then: datetime | None, now: datetime) -> str:
    """Say when something will be: ``in 20 min``, ``now`` if it is due; ``-`` for ``None``."""
    if then is None:
        return "-"
    return "now" if then <= now else f"in {_span(then - now)}"


def sparkline(values: Sequence[int]) -> str:
    """Draw numbers as small columns, the largest full height; a zero is the lowest line."""
    most = max(values, default=0)
    if not most:
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[-(-value * 7 // most)] for value in values)


def next_text(source: Source, now: datetime, headers: Mapping[str, str] | None = None) -> str:
    """Say when a source is asked next and which term decided."""
    if source.paused or source.gone_at or source.held_at:
        return "-"
    if source.next_poll_at is None and source.kind in POLLED:
        return "now"  # as after a pause
    why = why_next(source, headers)
    return f"{ahead(source.next_poll_at, now)}{f' ({why})' if why else ''}"


def list_row(view: SourceView, now: datetime) -> tuple[str, ...]:
    """One line of ``sources list``."""
    source, health = view.source, view.health
    usual = "" if health.per_week is None else f" {health.this_week}/{round(health.per_week, 1):g}"
    return (
        source.slug,
        source.kind,
        f"⚠ {health.state}" if health.alarm else health.state,
        ago(source.last_ok_at, now),
        next_text(source, now),
        str(source.failures) if source.failures else "",
        f"{sparkline(view.weeks)}{usual}",
        source.release,
    )


def view_values(view: SourceView) -> dict[str, Any]:
    """A source and its health as JSON-ready values."""
    health = view.health
    values = {item.name: getattr(view.source, item.name) for item in fields(Source)}
    return values | {
        "state": health.state,
        "alarm": health.alarm,
        "sentence": health.en,
        "sentence_zh": health.zh,
        "next_why": why_next(view.source) or "",
        "weeks": list(view.weeks),
        "per_week": health.per_week,
        "this_week": health.this_week,
    }


def setting_lines(source: Source) -> list[tuple[str, str]]:
    """The settings of a source, without the empty ones."""
    rows = [
        ("name", source.name),
        ("kind", source.kind),
        ("address", source.url or ""),
        ("agency", source.agency),
        ("place", source.place or ""),
        ("language", source.lang),
        ("time zone", source.timezone),
        ("licence", source.licence),
        ("interval", f"{source.interval_s // 60} min"),
        ("release", source.release),
        ("trust", str(source.trust)),
        ("tags", ", ".join(source.tags)),
        ("rules", "\n".join(source.rules)),
        ("full text", "yes" if source.full_text else ""),
        ("hub", source.hub),
        ("moving to", f"{source.moved_to} ({source.moved_count} polls agree)" if source.moved_to else ""),
        ("recipe", "\n".join(f"{key} = {_written(value)}" for key, value in source.recipe.items())),
    ]
    return [(name, value) for name, value in rows if value]


def trial_lines(trial: Trial) -> list[str]:
    """The steps of a trial, a sign and a name before the first line of each."""
    lines = []
    for step in trial.steps:
        first, *rest = step.said
        lines.append(f"{_SIGNS[step.state]} {step.name:<11} {first}")
        lines += [f"  {'':<11} {line}" for line in rest]
    return lines


def trial_values(trial: Trial, zone: ZoneInfo) -> dict[str, Any]:
    """A trial as JSON-ready values."""
    return {
        "ok": not trial.failed,
        "steps": [{"step": one.name, "state": one.state, "said": list(one.said)} for one in trial.steps],
        "entries": preview_rows(trial.preview, zone) if trial.preview else [],
    }


def preview_rows(preview: Preview, zone: ZoneInfo) -> list[dict[str, Any]]:
    """What would be stored, a mapping for each entry; dates in ``zone``."""
    odd: dict[int, list[str]] = {}
    for oddity in preview.prepared.oddities:
        odd.setdefault(oddity.line, []).append(oddity.problem)
    return [
        {
            "action": decision.action if like is None or like.kind == "similar_to" else like.kind,
            "title": row.content.title,
            "date": row.content.published.astimezone(zone).isoformat() if row.content.published else "",
            "url": row.content.url,
            "agency": row.content.agency,
            "lang": row.content.lang,
            "tags": [f"{tag.kind}:{tag.code}" for tag in row.tags],
            "held": row.hold,
            "like": like.notice_id if like else None,
            "oddities": odd.get(row.line, []),
        }
        for row, decision, like in preview.rows
    ]


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size * (2 if unit != "min" else 1):
            return f"{seconds // size} {unit}"
    return "1 min"

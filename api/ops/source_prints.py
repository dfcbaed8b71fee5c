"""Prints what ``mycity sources`` found out: trials, previews, rounds of polls. Decides nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.jobs.polling import Done
from api.jobs.trying import Trial
from api.ops import console
from api.ops import source_texts as texts
from api.source_views import printable
from feeds.catalogue.vocabulary import City
from feeds.intake.sources import Source
from feeds.intake.types import Oddity
from feeds.kernel.errors import MycityError

_MOST_ROWS = 20
_TITLE = 30  # characters


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep log lines of failures away from a person who is told of them in sentences anyway."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Show on a terminal that something is under way."""
    shown = Console(stderr=True)
    if not shown.is_terminal or console.options.json:
        yield
        return
    with shown.status(label):
        yield


def say_polled(done: Done, failures: Sequence[tuple[Source, MycityError]]) -> None:
    """Counts of those that answered as a table, and a sentence for each that did not."""
    columns = ("source", "read", "new", "changed", "same", "held", "duplicates", "withdrawn", "oddities")
    rows = [
        (s.slug, r.read, r.new, r.changed, r.same, r.held, r.duplicates, r.withdrawn, len(r.oddities))
        for s, r in done
    ]
    if console.options.json:
        polled = [
            dict(zip(columns, row, strict=True)) | {"unchanged": report.unchanged}
            for row, (_, report) in zip(rows, done, strict=True)
        ]
        console.say("", polled=polled, failed=[{"source": s.slug, "error": str(e)} for s, e in failures])
        return
    shown = [row for row, (_, report) in zip(rows, done, strict=True) if not report.unchanged]
    if shown:
        short = ("source", "read", "new", "changed", "same", "held", "dup.", "ended", "odd")
        console.table("Polled 已抓取", short, shown, "polled")
    idle = [source.slug for source, report in done if report.unchanged]
    if idle:
        more = f" … {len(idle) - _MOST_ROWS} more" if len(idle) > _MOST_ROWS else ""
        console.say(f"{len(idle)} not modified: {', '.join(idle[:_MOST_ROWS])}{more}")
    for source, report in done:
        if report.oddities:
            console.say(f"{source.slug}: {_codes(report.oddities)}")
        for oddity in report.oddities:
            if oddity.problem == "flood-held":
                console.say(f"⚠ {source.slug}: {oddity.message}")
    for source, error in failures:
        console.say(f"✗ {source.slug}: {error}")


def say_trial(trial: Trial, zone: ZoneInfo) -> None:
    """Show every step of a trial, and the beginning of what could not be read."""
    if console.options.json:
        console.say("", **texts.trial_values(trial, zone))
        return
    for line in texts.trial_lines(trial):
        console.say(line)
    if trial.body:
        console.say("What came begins with:")
        console.say(printable(trial.body.decode("utf-8", "replace")[:400]))


def say_preview(trial: Trial, zone: ZoneInfo, city: City) -> None:
    """Show what would be stored; where a step failed, the steps. Fits 80 columns; ``--json`` has it whole."""
    if trial.preview is None:
        say_trial(trial, zone)
        return
    rows = texts.preview_rows(trial.preview, zone)
    prepared = trial.preview.prepared
    whole = [oddity for oddity in prepared.oddities if not oddity.line]
    if console.options.json:
        listed = [{"problem": oddity.problem, "message": oddity.message} for oddity in whole]
        console.say("", source=trial.source.slug, entries=rows, oddities=listed)
        return
    if rows:
        source, said_name = trial.source, trial.preview.prepared.parsed.title
        name = said_name if source.name == source.url and said_name else source.name
        _draw(f"Would be stored 将会存入 ({len(rows)}, {name})", rows[:_MOST_ROWS], city)
    if len(rows) > _MOST_ROWS:
        console.say(f"… {len(rows) - _MOST_ROWS} more; --json shows all.")
    for oddity in whole:
        console.say(f"! {oddity.problem}: {oddity.message}")
    if prepared.skipped:
        console.say(f"{len(prepared.skipped)} more would be left out by keyword rules.")
    counts = Counter(row["action"] for row in rows)
    counts["same"] += prepared.same
    counts["held"] = sum(bool(row["held"]) for row in rows)
    said = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    odd = _codes(prepared.oddities)
    console.say(f"{said or 'Nothing would be stored'}{f'; oddities: {odd}' if odd else ''}.")


def _draw(title: str, rows: Sequence[dict[str, Any]], city: City) -> None:
    """Date and action stay whole on a narrow terminal; titles and names fold."""
    table = Table(title=title, title_justify="left")
    for column in ("would be", "date"):
        table.add_column(column, no_wrap=True)
    for column in ("title", "themes", "notes"):
        table.add_column(column, overflow="fold")
    for row in rows:
        name = row["title"]
        themes = [city.label(tag, "zh").split("、")[0] for tag in row["tags"] if tag.startswith("theme:")]
        notes = [f"held: {row['held']}"] if row["held"] else []
        cells = (
            row["action"],
            row["date"][:10],
            name if len(name) <= _TITLE else f"{name[: _TITLE - 1]}…",
            " ".join(themes),
            " ".join([*notes, *row["oddities"]]),
        )
        table.add_row(*map(Text, cells))
    Console().print(table)


def _codes(oddities: Iterable[Oddity]) -> str:
    """Distinct problems with how often each: ``no-column ×1, no-body ×71``."""
    counts = Counter(oddity.problem for oddity in oddities)
    return ", ".join(f"{name} ×{number}" for name, number in counts.items())

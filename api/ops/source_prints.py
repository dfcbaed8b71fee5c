"""Prints what ``mycity sources`` found out: trials, previews, rounds of polls. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from rich.console import Console

from api.jobs.polling import Done
from api.jobs.trying import Trial
from api.ops import console
from api.ops import source_texts as texts
from api.source_views import printable
from feeds.intake.sources import Source
from feeds.kernel.errors import MycityError


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
        polled = [dict(zip(columns, row, strict=True)) for row in rows]
        console.say("", polled=polled, failed=[{"source": s.slug, "error": str(e)} for s, e in failures])
        return
    if rows or not failures:
        console.table("Polled 已抓取", columns, rows, "polled")
    for source, report in done:
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


def say_preview(trial: Trial, zone: ZoneInfo) -> None:
    """Show what would be stored; where a step failed, the steps."""
    if trial.preview is None:
        say_trial(trial, zone)
        return
    rows = texts.preview_rows(trial.preview, zone)
    if console.options.json:
        console.say("", source=trial.source.slug, entries=rows)
        return
    columns = ("would be", "date", "title", "agency", "tags", "oddities", "address")
    shown = [
        (
            row["action"] + (f", held: {row['held']}" if row["held"] else ""),
            row["date"][:10],
            row["title"][:80],
            row["agency"],
            " ".join(row["tags"]),
            " ".join(row["oddities"]),
            row["url"],
        )
        for row in rows
    ]
    console.table(f"Would be stored 将会存入 ({len(rows)}, {trial.source.name})", columns, shown, "entries")
    skipped = len(trial.preview.prepared.skipped)
    if skipped:
        console.say(f"{skipped} more would be left out by keyword rules.")

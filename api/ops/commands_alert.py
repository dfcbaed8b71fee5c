"""The command that takes a warning in from a file and says, warning by warning, who was told and why not.

Called by ``mycity alert``; the work is :mod:`api.jobs.alerts`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.ops import console
from api.wiring import Services
from feeds.catalogue.notices import Notice
from feeds.intake.types import IngestReport
from feeds.kernel.errors import BadInputError

_COLUMNS = ("id", "title", "priority", "until", "told")


def alert(
    file: Path,
    source: Annotated[
        str, typer.Option(help="Whose warning it is; default: a trusted source for files.")
    ] = "",
) -> None:
    """Take in a CAP warning from a file, at once, and tell everybody whom it concerns."""
    from api.jobs.alerts import take_file
    from api.jobs.digests import send

    with console.services() as services:
        whose = services.sources.by_slug(source) if source else None
        landed, told = take_file(services, file, source=whose)
        sent = send(services).sent  # also what an earlier run has left in the outbox
        rows = [_row(services, notice, told) for notice in _touched(services, landed)]
        if console.options.json:
            console.say(
                "", read=landed.read, new=landed.new, changed=landed.changed, withdrawn=landed.withdrawn,
                held=landed.held, same=landed.same, warnings=told.notices, editions=told.editions,
                messages=dict(told.messages), sent=sent, unplaced=told.unplaced, notices=rows,
                oddities=[oddity.message for oddity in landed.oddities],
            )  # fmt: skip
        else:
            if rows:
                shown = [[row[name] for name in _COLUMNS] for row in rows]
                console.table("Warnings 预警", _COLUMNS, shown, "warnings")
            for oddity in landed.oddities:
                console.say(f"! {oddity.problem}: {oddity.message}")
            console.say(_summary(landed, told, sent))
            for number in told.unplaced:
                console.say(f"⚠ Notice {number} names no place of this city, so nobody was told.")
        if not (rows or landed.same or landed.held):
            if console.options.json:
                raise typer.Exit(1)
            raise BadInputError(f"Nothing of {file.name} was published, and nobody was told.")


def _touched(services: Services, landed: IngestReport) -> list[Notice]:
    ids = (*landed.new_ids, *landed.changed_ids, *landed.withdrawn_ids)
    found = services.notices.many(ids)
    return [found[one] for one in dict.fromkeys(ids) if one in found]


def _row(services: Services, notice: Notice, told: Any) -> dict[str, Any]:
    until = notice.content.expires
    people = told.told[notice.id]
    return {
        "id": notice.id,
        "title": notice.content.title,
        "priority": notice.priority,
        "until": f"{until.astimezone(services.zone):%Y-%m-%d %H:%M}" if until else "",
        "told": f"{people} people" if people else _why_nobody(services, notice, told),
        "people": people,
    }


def _why_nobody(services: Services, notice: Notice, told: Any) -> str:
    until = notice.content.expires
    if until is not None and until <= services.clock.now():
        return f"nobody: it ended on {until.astimezone(services.zone):%Y-%m-%d %H:%M}"
    if notice.state in ("in_review", "scheduled", "draft"):
        return "nobody: it waits for an editor"
    if notice.state == "withdrawn":
        return "nobody: it is withdrawn, and nobody had been told"
    if notice.state != "released":
        return f"nobody: it is not public ({notice.state})"
    if notice.id in told.unplaced:
        return "nobody: it names no place of this city"
    if notice.priority == "mandatory":
        return "nobody at once: it stands first in the next editions"
    if notice.priority == "normal":
        return "nobody at once: it is an ordinary notice"
    return "nobody: it concerns none, or they were told before"


def _summary(landed: IngestReport, told: Any, sent: int) -> str:
    messages = sum(told.messages.values())
    return (
        f"{landed.new} new, {landed.changed} changed, {landed.withdrawn} ended, {landed.same} the same, "
        f"{landed.held} wait for an editor; {told.editions} people told, "
        f"{messages} messages for them, {sent} sent now."
    )

"""Commands about notices: import, export, publish, withdraw, purge; tags, staff, audit."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from api.jobs.alerts import AlertReport, take_file, tell
from api.jobs.sending import send
from api.ops import console
from api.wiring import Services
from feeds.catalogue.notices import Notice
from feeds.desk.editing import SYSTEM
from feeds.intake.types import IngestReport
from feeds.kernel.errors import BadInputError, UsageError
from feeds.kernel.time import from_micros

_SHOWN_ODDITIES = 40
_WARNING_COLUMNS = ("id", "title", "priority", "until", "told")


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    notices = typer.Typer(no_args_is_help=True, help="Notices: import, export, publish, withdraw, purge.")
    tags = typer.Typer(
        no_args_is_help=True, help="Tags: what the rules say of a text, and what has no theme."
    )
    staff = typer.Typer(no_args_is_help=True, help="Who may use the editor pages.")
    audit = typer.Typer(no_args_is_help=True, help="The record of what was done at the desk.")
    notices.command("import")(notices_import)
    notices.command("export")(notices_export)
    notices.command("publish")(notices_publish)
    notices.command("withdraw")(notices_withdraw)
    notices.command("purge")(notices_purge)
    tags.command("suggest")(tags_suggest)
    tags.command("untagged")(tags_untagged)
    staff.command("add")(staff_add)
    audit.command("verify")(audit_verify)
    for name, group in (
        ("notices", notices),
        ("tags", tags),
        ("staff", staff),
        ("audit", audit),
    ):
        app.add_typer(group, name=name)
    app.command("alert")(alert)


def notices_import(
    file: Path,
    max_oddities: Annotated[
        int, typer.Option(help="How many oddities to print; all are counted.")
    ] = _SHOWN_ODDITIES,
) -> None:
    """Import a notice file (JSON Lines or CSV); every row that can be read is kept."""
    with console.services() as services, console.progress({"import": f"Importing {file.name}"}) as progress:
        report = services.ingestor.import_file(
            file, progress=lambda done, total: progress("import", done, total)
        )
        _say_import(services, file, report, max_oddities)


def notices_export(file: Path) -> None:
    """Export every notice to a JSON Lines file, in the format that import reads."""
    with console.services() as services:
        names = {source.id: source.name for source in services.sources.list()}
        temporary = file.with_suffix(file.suffix + ".part")
        count = 0
        with temporary.open("w", encoding="utf-8") as stream:
            for item in services.notices.export():
                if item.state != "purged":
                    stream.write(json.dumps(_exported(item, names, services.zone), ensure_ascii=False) + "\n")
                    count += 1
        temporary.replace(file)
        console.say(f"Wrote {count} notices to {file}.", written=count, file=str(file))


def notices_publish(notice_id: int) -> None:
    """Release a draft or a notice in review (an operator's override; it is in the audit)."""
    with console.services() as services:
        notice = services.notices.get(notice_id)
        if notice.state == "draft":
            services.desk.submit(notice_id, SYSTEM)
        released = services.notices.set_state(
            notice_id, "released", at=services.clock.now(), frm=("in_review", "scheduled")
        )
        services.audit.append(
            "override",
            actor="operator",
            at=services.clock.now(),
            notice_id=notice_id,
            details={"step": "approve"},
        )
        tell(services, notice_id)
        console.say(f"Notice {notice_id} is {released.state}.", id=notice_id, state=released.state)


def notices_withdraw(notice_id: int, reason: Annotated[str, typer.Option(help="Shown to readers.")]) -> None:
    """Withdraw a notice; it stays readable, marked with the reason."""
    with console.services() as services:
        state = services.desk.withdraw(notice_id, reason, SYSTEM).state
        tell(services, notice_id)
        console.say(f"Notice {notice_id} is {state}.", id=notice_id, state=state)


def notices_purge(notice_id: int, reason: Annotated[str, typer.Option(help="Kept in the audit.")]) -> None:
    """Remove what a notice said from everywhere; a neutral tombstone stays."""
    with console.services() as services:
        services.desk.purge(notice_id, reason, SYSTEM)
        console.say(f"Notice {notice_id} was purged.", id=notice_id, state="purged")


def alert(
    file: Path,
    source: Annotated[
        str, typer.Option(help="Whose warning it is; default: a trusted source for files.")
    ] = "",
) -> None:
    """Take in a CAP warning from a file, at once, and tell everybody whom it concerns."""
    with console.services() as services:
        whose = services.sources.by_slug(source) if source else None
        landed, told = take_file(services, file, source=whose)
        sent = send(services).sent  # also what an earlier run has left in the outbox
        rows = [_warning_row(services, notice, told) for notice in _warnings_of(services, landed)]
        if console.options.json:
            console.say(
                "", read=landed.read, new=landed.new, changed=landed.changed, withdrawn=landed.withdrawn,
                held=landed.held, same=landed.same, warnings=told.notices, editions=told.editions,
                messages=dict(told.messages), sent=sent, unplaced=told.unplaced, notices=rows,
                oddities=[oddity.message for oddity in landed.oddities],
            )  # fmt: skip
        else:
            if rows:
                shown = [[row[name] for name in _WARNING_COLUMNS] for row in rows]
                console.table("Warnings 预警", _WARNING_COLUMNS, shown, "warnings")
            for oddity in landed.oddities:
                console.say(f"! {oddity.problem}: {oddity.message}")
            console.say(_alert_summary(landed, told, sent))
            for number in told.unplaced:
                console.say(f"⚠ Notice {number} names no place of this city, so nobody was told.")
        if not (rows or landed.same or landed.held):
            if console.options.json:
                raise typer.Exit(1)
            raise BadInputError(f"Nothing of {file.name} was published, and nobody was told.")


def _warnings_of(services: Services, landed: IngestReport) -> list[Notice]:
    ids = (*landed.new_ids, *landed.changed_ids, *landed.withdrawn_ids)
    found = services.notices.many(ids)
    return [found[one] for one in dict.fromkeys(ids) if one in found]


def _warning_row(services: Services, notice: Notice, told: AlertReport) -> dict[str, Any]:
    until = notice.content.expires
    people = told.told[notice.id]
    return {
        "id": notice.id,
        "title": notice.content.title,
        "priority": notice.priority,
        "until": f"{until.astimezone(services.zone):%Y-%m-%d %H:%M}" if until else "",
        "told": f"{people} {'person' if people == 1 else 'people'}"
        if people
        else _why_nobody(services, notice, told),
        "people": people,
    }


def _why_nobody(services: Services, notice: Notice, told: AlertReport) -> str:
    until = notice.content.expires
    if until is not None and until <= services.clock.now():
        return f"nobody: it ended on {until.astimezone(services.zone):%Y-%m-%d %H:%M}"
    if notice.state == "in_review" and notice.reason == "unauthorised-issuer":
        return "nobody: its issuer may not cause this event at this severity; it waits for an editor"
    if notice.state in ("in_review", "scheduled", "draft"):
        return "nobody: it waits for an editor"
    if notice.state == "withdrawn":
        return "nobody: it is withdrawn, and nobody had been told"
    if notice.state != "released":
        return f"nobody: it is not public ({notice.state})"
    if notice.id in told.stale:
        return "nobody: it was sent more than a day ago and names no end; ask its issuer for a new one"
    if notice.id in told.unplaced:
        return "nobody: it names no place of this city"
    if notice.priority == "mandatory":
        return "nobody at once: it stands first in the next editions"
    if notice.priority == "normal":
        return "nobody at once: it is an ordinary notice"
    return "nobody: it concerns none, or they were told before"


def _alert_summary(landed: IngestReport, told: AlertReport, sent: int) -> str:
    messages = sum(told.messages.values())
    return (
        f"{landed.new} new, {landed.changed} changed, {landed.withdrawn} ended, {landed.same} the same, "
        f"{landed.held} wait for an editor; told: {told.editions}, "
        f"{messages} messages for them, {sent} sent now."
    )


def tags_suggest(text: str, agency: Annotated[str, typer.Option()] = "") -> None:
    """Show which tags the rules give a title, and why."""
    with console.services() as services:
        tags = services.tagger.tag(title=text, text="", agency=agency)
        rows = [
            (
                f"{tag.kind}:{tag.code}",
                services.city.label(f"{tag.kind}:{tag.code}", "zh"),
                round(tag.weight, 2),
                tag.cause,
            )
            for tag in tags
        ]
        console.table("Tags 标签", ("tag", "label", "weight", "cause"), rows, "tags")


def tags_untagged(limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """List notices that no theme rule fits, and the share of those that one does."""
    with console.services() as services:
        counts = services.notices.counts()
        rows = [
            (item.id, item.content.title, item.content.lang)
            for item in services.notices.untagged(limit=limit)
        ]
        console.table("Untagged 未归类", ("id", "title", "lang"), rows, "untagged")
        if not console.options.json:
            share = 1 - counts.untagged / counts.total if counts.total else 0.0
            console.say(f"{counts.untagged} of {counts.total} notices have no theme; {share:.1%} have one.")


def staff_add(
    name: str,
    role: Annotated[list[str] | None, typer.Option(help="writer, editor, duty; several times.")] = None,
    agency: Annotated[str, typer.Option(help="Slug of the agency; empty for the city.")] = "",
) -> None:
    """Add a member of staff and print the access key, this once."""
    with console.services() as services:
        if agency and agency not in services.city.agencies:
            near = ", ".join(services.city.suggest(f"agency:{agency}"))
            raise UsageError(f"There is no agency {agency!r}; nearest: {near}.")
        actor, key = services.staff.add(
            name, tuple(role or ["writer"]), agency=agency, at=services.clock.now()
        )
        console.say(
            f"Added {actor.name} ({', '.join(actor.roles)}). Access key, shown only now: {key}",
            name=actor.name,
            roles=actor.roles,
            access_key=key,
        )


def audit_verify() -> None:
    """Check the chain of the audit."""
    with console.services() as services:
        verdict = services.audit.verify()
        if verdict.broken_at is not None:
            console.say(
                f"The chain is broken at row {verdict.broken_at}.",
                rows=verdict.rows,
                broken_at=verdict.broken_at,
            )
            raise typer.Exit(1)
        console.say(
            f"{verdict.rows} rows, unbroken; newest hash {verdict.newest_hash[:16]}…",
            rows=verdict.rows,
            broken_at=None,
            newest_hash=verdict.newest_hash,
        )


def _say_import(services: Services, file: Path, report: IngestReport, most: int) -> None:
    kinds = Counter(oddity.problem for oddity in report.oddities)
    counts = services.notices.counts()
    values: dict[str, Any] = {
        "read": report.read,
        "new": report.new,
        "changed": report.changed,
        "same": report.same,
        "dropped": report.dropped,
        "untagged": len(report.untagged),
        "oddities": dict(kinds),
        "oddity_rows": [vars_of(oddity) for oddity in report.oddities] if console.options.json else [],
        "notices": counts.total,
        "seconds": {name: round(value, 3) for name, value in report.seconds.items()},
    }
    if console.options.json:
        console.say("", **values)
        _fail_if_useless(file, report)
        return
    rarest_first = sorted(report.oddities, key=lambda oddity: (kinds[oddity.problem], oddity.line))
    for oddity in rarest_first[:most]:
        console.say(f"{file.name}:{oddity.line}: {oddity.message}")
    if len(report.oddities) > most:
        console.say(f"… and {len(report.oddities) - most} more; --max-oddities shows them, --json lists all.")
    if kinds:
        console.say("Oddities: " + ", ".join(f"{name} {count}" for name, count in kinds.most_common()))
    _fail_if_useless(file, report)
    if report.new == report.changed == 0 and report.dropped == 0:
        console.say(f"Nothing changed: all {report.same} rows were already stored.")
    else:
        console.say(
            f"{report.read} rows read: {report.new} new, {report.changed} changed, {report.same} the same, "
            f"{report.dropped} not usable; {len(report.untagged)} without a theme."
        )


def _fail_if_useless(file: Path, report: IngestReport) -> None:
    """A file of which nothing could be used is a failure, not a success with a footnote."""
    if report.read == report.dropped:
        raise BadInputError(f"{file.name} holds no row that could be used; see docs/notice-file.md.")


def vars_of(oddity: Any) -> dict[str, Any]:
    """Return an oddity as JSON-ready values."""
    return {name: getattr(oddity, name) for name in ("line", "field", "problem", "message", "dropped")}


# How exact a date is where nothing else is kept of it.
_USUAL_PRECISION = {
    "published": "instant", "deadline": "day", "formed": "day", "effective": "day", "lapses": "day",
    "expires": "day",
}  # fmt: skip


def _date_text(local: datetime, precision: str) -> str:
    """A date as exact as it was given, so that reading it again gives the same instant."""
    if precision == "month":
        return local.strftime("%Y-%m")
    return local.date().isoformat() if precision == "day" else local.isoformat()


def _exported(item: Notice, names: dict[int, str], zone: ZoneInfo) -> dict[str, Any]:
    """One row of a notice file."""
    values = item.content.to_dict()
    row: dict[str, Any] = {"id": item.guid, "source": names.get(item.source_id or 0, "desk")}
    for name, value in values.items():
        if name in ("published", "deadline", "formed", "effective", "lapses", "expires"):
            precision = values.get(f"{name}_precision", _USUAL_PRECISION[name])
            value = _date_text(from_micros(value).astimezone(zone), precision)
        row[
            {"upstream_tags": "tags", "validity": "status", "kind": "type", "audience": "roles"}.get(
                name, name
            )
        ] = value
    row.pop("extra", None)
    row.pop("published_precision", None)
    row.pop("deadline_precision", None)
    return row

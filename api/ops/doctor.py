"""The doctor: checks that an installation can run, and says what to do where it cannot.

Reads only; changes nothing. Called by ``mycity doctor``.
"""

from __future__ import annotations

import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy.exc import SQLAlchemyError

from api.mailing import mail_gaps
from api.settings import Settings
from delivery.channels.email import parse_smtp_url
from delivery.mail_domains import parse_rates, parse_warmup
from delivery.mime import sender_address
from delivery.outbox import OutboxStore
from delivery.outbox_log import Held, OutboxLog
from feeds.catalogue.city_files import load_city
from feeds.catalogue.store import NoticeStore
from feeds.intake.health import health
from feeds.intake.sources import SourceStore
from feeds.kernel.db import Database
from feeds.kernel.errors import MycityError

Status = Literal["ok", "note", "bad"]
_NAMED = 5  # sources
_LONGEST_WAIT_S = 600
OUR_PACKAGES = ("feeds", "profiles", "recommender", "delivery", "api")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, how it went, and one sentence."""

    name: str
    status: Status
    message: str
    line: str = ""  # to be copied as it is


def examine(settings: Settings) -> list[Finding]:
    """Run every check; the installation is fit if none is ``bad``."""
    checks: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("city", _city),
        ("database", _database),
        ("secret key", _key),
        ("model", _model),
        ("mail", _mail),
        ("sms", _sms),
        ("at work", _at_work),
    )
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings.extend(check(settings))
        except (MycityError, OSError) as error:
            findings.append(Finding(name, "bad", str(error)))
    return findings


def _python(_: Settings) -> Iterator[Finding]:
    ours = version("mycity") if _installed("mycity") else "not installed"
    yield Finding(
        "python", "ok", f"Python {sys.version.split()[0]}, MyCity {ours}, SQLite {sqlite3.sqlite_version}."
    )
    if sqlite3.sqlite_version_info < (3, 35):
        yield Finding("sqlite", "bad", "SQLite is older than 3.35; use a newer Python build.")


def _packages(_: Settings) -> Iterator[Finding]:
    """Our package names are plain words; another distribution could have overwritten them."""
    owners = packages_distributions()
    for name in OUR_PACKAGES:
        others = sorted(set(owners.get(name, [])) - {"mycity"})
        if others:
            yield Finding(
                "packages",
                "bad",
                f"The package {name!r} also belongs to {', '.join(others)}; use an own venv.",
            )
    yield Finding("packages", "ok", "The five packages are ours alone.")


def _city(settings: Settings) -> Iterator[Finding]:
    city = load_city(settings.city)
    counts = f"{len(city.themes)} themes, {len(city.places)} places, {len(city.rules)} rules"
    yield Finding("city", "ok", f"{city.name.zh} ({city.slug}): {counts}.")


def _database(settings: Settings) -> Iterator[Finding]:
    from api.ops.migrate import current, newest

    if settings.database.startswith("sqlite") and not settings.database_url and not settings.home.exists():
        yield Finding("database", "note", f"No database yet in {settings.home}; `mycity migrate` makes it.")
        return
    database = Database(settings.database)
    try:
        stands, known = current(database), newest()
    except Exception as error:
        raise MycityError(f"The database cannot be opened ({str(error).splitlines()[0]}).") from error
    finally:
        database.close()
    if stands == known:
        yield Finding("database", "ok", f"{database.dialect}, schema {stands}.")
    else:
        yield Finding(
            "database", "note", f"{database.dialect}, schema {stands}, newest {known}; run `mycity migrate`."
        )


def _key(settings: Settings) -> Iterator[Finding]:
    try:
        settings.key()
    except MycityError:
        only_demo = (settings.home / "demo" / "ready.json").exists() and not _has_own(settings)
        yield Finding(
            "secret key", "note" if only_demo else "bad",
            "MYCITY_SECRET_KEY is missing or shorter than 32 characters; set it once and keep it, "
            "for example with the line below. The demo does without.",
            f"MYCITY_SECRET_KEY={secrets.token_urlsafe(32)}",
        )  # fmt: skip
    else:
        yield Finding("secret key", "ok", "set.")


def _has_own(settings: Settings) -> bool:
    """Whether there is a database beside the demo's; an empty file is none."""
    from api.ops.migrate import current

    if settings.database_url:
        return True
    database = Database(settings.database)
    try:
        return bool(current(database))
    except Exception:
        return True  # said already by the check of the database
    finally:
        database.close()


def _model(settings: Settings) -> Iterator[Finding]:
    from api.jobs import watching
    from api.jobs.notebook import Notebook
    from api.ops.console import clock
    from recommender.model_file import ModelShelf

    able = find_spec("lightfm") is not None
    training = "can train" if able else "cannot train (install mycity[train])"
    found = watching.view_of(
        ModelShelf(settings.models), Notebook(settings.notebook), clock().now(), watching.limits_of(settings)
    )
    status: Status = "bad" if found.verdict.alarm else "ok" if found.verdict.state == "fine" else "note"
    yield Finding("model", status, f"{found.verdict.why} This installation {training}.")


def _mail(settings: Settings) -> Iterator[Finding]:
    faults = list(_mail_faults(settings))
    yield from (Finding("mail", "bad", fault) for fault in faults)
    if not (settings.smtp_url and settings.mail_from):
        yield Finding(
            "mail", "note", "mail is only captured; set MYCITY_SMTP_URL and MYCITY_MAIL_FROM to send."
        )
    elif not faults:
        yield Finding(
            "mail", "ok", f"real mail as {settings.mail_from}; try `mycity channels test email ADDRESS`."
        )
        yield from (Finding("mail", "note", gap) for gap in mail_gaps(settings))


def _mail_faults(settings: Settings) -> Iterator[str]:
    """What is set and cannot be read; with it no service would start, or no mail leave."""
    checks: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        ("MYCITY_SMTP_URL", settings.smtp_url, parse_smtp_url),
        ("MYCITY_MAIL_FROM", settings.mail_from, sender_address),
        ("MYCITY_MAIL_RATES", settings.mail_rates, parse_rates),
        ("MYCITY_MAIL_WARMUP", settings.mail_warmup, parse_warmup),
    )
    for name, value, read in checks:
        try:
            if value:
                read(value)
        except MycityError as error:
            yield str(error) if str(error).startswith(name) else f"{name} cannot be read: {error}"


def _sms(settings: Settings) -> Iterator[Finding]:
    if not settings.sms_providers:
        yield Finding(
            "sms", "note", "Text messages are captured; MYCITY_SMS_PROVIDERS sends them, see docs/sms.md."
        )
        return
    from api.sms_wiring import read_terms, require_templates

    terms = read_terms(settings)
    for provider in terms.values():
        require_templates(provider, settings.sms_link)
    if settings.sms_budget <= 0:
        yield Finding("sms", "bad", "MYCITY_SMS_BUDGET is not set; without it no text is sent.")
        return
    yield Finding("sms", "ok", f"{', '.join(terms)}; at most {settings.sms_budget:g} a month.")


def _at_work(settings: Settings) -> Iterator[Finding]:
    """What waits for a person, or for a process that should be running."""
    from api.ops.console import clock
    from api.ops.migrate import current, newest

    if settings.database.startswith("sqlite") and not settings.database_url and not settings.home.exists():
        return
    database = Database(settings.database)
    try:
        if current(database) == newest():
            zone = ZoneInfo(load_city(settings.city).timezone)
            yield from at_work(database, clock().now(), zone)
    except SQLAlchemyError:
        return  # said already by the check of the database
    finally:
        database.close()


def at_work(database: Database, now: datetime, zone: tzinfo = UTC) -> Iterator[Finding]:
    """Check what waits in a database: sources with alarms, the desk, the queue of messages."""
    yield _alarms(SourceStore(database), now)
    yield _waiting(NoticeStore(database))
    stuck = OutboxLog(database).held(now)
    if stuck is not None:
        yield Finding("senders", "note" if stuck.until > now else "bad", held_text(stuck, now, zone))
    yield _queue(OutboxStore(database), now, stuck is not None)
    yield _held(OutboxStore(database))


def _alarms(sources: SourceStore, now: datetime) -> Finding:
    polled = [one for one in sources.list() if one.url]
    found = [(one.slug, verdict) for one in polled if (verdict := health(one, None, now)).alarm]
    if not found:
        return Finding("sources", "ok", f"{len(polled)} polled, none with an alarm.")
    named = ", ".join(f"{slug} ({verdict.state})" for slug, verdict in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return Finding(
        "sources",
        "note",
        f"{len(found)} of {len(polled)} with an alarm: {named}{more}; see `mycity sources list --alarms`.",
    )


def _waiting(notices: NoticeStore) -> Finding:
    held, changes = notices.sizes().get("in_review", 0), notices.count_pending()
    if not held + changes:
        return Finding("desk", "ok", "Nothing waits for an editor.")
    return Finding(
        "desk", "note", f"Waiting for an editor: {held} notices, {changes} upstream changes; open /editor/."
    )


def _held(outbox: OutboxStore) -> Finding:
    held = outbox.held_runs()
    if not held:
        return Finding("runs", "ok", "No run waits for a person.")
    numbers = ", ".join(str(one.run_id) for one in held[:5])
    bad = any(one.why == "bounces" for one in held)
    return Finding(
        "runs", "bad" if bad else "note",
        f"Runs that wait for a person: {numbers}; look at /editor/outbox or `mycity outbox status`.",
    )  # fmt: skip


def held_text(held: Held, now: datetime, zone: tzinfo) -> str:
    """Say which due messages a sender holds, and when they come back if it died."""
    many = f"{held.count} messages are" if held.count > 1 else "1 message is"
    since = f"{many} held by a sender since {_hour(held.since, now, zone)}"
    if held.until <= now:
        return f"{since} that has died, and nothing takes them back; run `mycity worker`."
    return f"{since}; if it has died, they come back at {_hour(held.until, now, zone)} by `mycity worker`."


def _hour(instant: datetime, now: datetime, zone: tzinfo) -> str:
    local = instant.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == now.astimezone(zone).date() else f"{local:%Y-%m-%d %H:%M}"


def _queue(outbox: OutboxStore, now: datetime, stuck: bool = False) -> Finding:
    status = outbox.status(now)
    waited, paused = status.oldest_due_seconds or 0, ", ".join(name or "all" for name in status.paused)
    if waited <= _LONGEST_WAIT_S:
        if stuck:
            return Finding("queue", "ok", "Nothing waits for a sender beside what one holds.")
        return Finding("queue", "ok", "No message has waited for ten minutes.")
    since = f"A message has been due for {waited / 60:.0f} minutes"
    if paused:
        return Finding("queue", "note", f"{since}; sending is switched off ({paused}).")
    if status.leased:
        return Finding("queue", "note", f"{since}; {status.leased} are being sent now.")
    return Finding("queue", "bad", f"{since} and nothing sends; run `mycity worker`.")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True

"""The timer: APScheduler fires ticks, nothing more. The only module that imports apscheduler.

What is due is decided by rows in the database, never by the timer's own memory, so a missed tick
costs a delay and a doubled one nothing. Called by ``mycity serve`` and ``mycity scheduler``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from api.jobs.alert_proof import resend
from api.jobs.alerts import catch_up
from api.jobs.corrections import plan_corrections
from api.jobs.digests import plan, trim_runs
from api.jobs.engagement import settle
from api.jobs.hub import tick as tick_hub
from api.jobs.mailroom import tick_mailroom
from api.jobs.people import tick_people, tidy
from api.jobs.polling import poll_due, say_alarms
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.jobs.sms_watch import tick_sms
from api.jobs.sweeping import tick_sweep
from api.jobs.training_apart import Trainer, tick_train
from api.jobs.webhooks import tend
from api.jobs.websub import subscribe_due
from api.jobs.worker import Worker, wake
from api.jobs.workshop import Workshop
from api.settings import Settings
from api.wiring import Services
from delivery.channels.capture import CaptureChannel
from delivery.outbox_leases import JobLeases

_log = structlog.get_logger(__name__)


def tick_poll(services: Services, workshop: Workshop | None = None) -> dict[str, int]:
    """Poll what is due."""
    done = poll_due(services, workshop=workshop)
    reports = [report for _, report in done]
    if any(source.kind == "cap" and not report.unchanged for source, report in done):
        send(services)  # a warning does not wait for the next digest
    return {
        "answered": len(reports),
        "unchanged": sum(report.unchanged for report in reports),
        "new": sum(report.new for report in reports),
        "changed": sum(report.changed for report in reports),
    }


def tick_digests(services: Services) -> dict[str, int]:
    """Plan due digests and send due messages."""
    planned, corrected = plan(services), plan_corrections(services)
    sent = send(services)
    return {
        "planned": planned.planned,
        "corrections": corrected.messages,
        "claimed": sent.claimed,
        "sent": sent.sent,
    }


def tick_alerts(services: Services) -> dict[str, int]:
    """Relay what a process that died had no time to relay, and send whatever alert still waits."""
    report = catch_up(services)
    sent = send(services).sent  # also what another process has put into the outbox and left there
    return {"notices": report.notices, "messages": report.messages.total(), "sent": sent}


def tick_alert_watch(services: Services) -> dict[str, int]:
    """Write once more to whom nobody knows to have got a warning; end warnings whose period is over."""
    now = services.clock.now()
    again = resend(services, now)
    if again:
        wake()
    return {"again": again, "expired": len(services.notices.expire_due(now))}


def tick_health(services: Services) -> dict[str, int]:
    """Judge every source against its own past, and say which alarms began or ended."""
    changes = services.sources.check_health(services.clock.now())
    say_alarms(changes)
    begun = sum(bool(change.now.alarm) for change in changes)
    return {"begun": begun, "over": len(changes) - begun}


def tick_watch(services: Services) -> dict[str, str]:
    """Judge the model, and measure once an hour what the recommender does."""
    from api.jobs.watching import watch  # its numerical libraries are loaded by the first look

    found = watch(services)
    return {"model": found.serving or "rules", "state": found.verdict.state}


def tick_engagement(services: Services) -> dict[str, int]:
    """Judge opens and clicks whose minute is over, and end webhooks that have failed for days."""
    return settle(services) | tend(services)


def housekeeping(services: Services) -> dict[str, int]:
    """End what is over: notices past their period, old captured messages, old polls, old feedback."""
    now = services.clock.now()
    removed = 0
    for channel in {id(item): item for item in services.channels.values()}.values():
        if isinstance(channel, CaptureChannel):
            removed += channel.expire(timedelta(days=services.settings.capture_days), now)
    return {
        "expired": len(services.notices.expire_due(now)),
        "captures_removed": removed,
        "polls_forgotten": services.sources.trim(now),
        "feedback_forgotten": services.feedback.trim(now),
        "people_tidied": tidy(services),
        "runs_forgotten": trim_runs(services),
    }


JOBS = (
    "poll", "websub", "alerts", "alert-watch", "health", "select", "digests", "train", "watch", "people",
    "sweep",
    "mailroom", "hub", "engagement", "housekeeping",
)  # fmt: skip
WEBSUB_SECONDS = 300
ALERT_SECONDS = 300
ALERT_WATCH_SECONDS = 60
HEALTH_SECONDS = 900
TRAIN_SECONDS = 600
WATCH_SECONDS = 900
PEOPLE_SECONDS = 60
SMS_SECONDS = 60
MAILROOM_SECONDS = 60
HUB_SECONDS = 15
ENGAGEMENT_SECONDS = 60
SWEEP_SECONDS = 60
# A job is held for so long at most by a scheduler that died in the middle of it.
_LEASE = timedelta(minutes=10)


def interval_seconds(settings: Settings) -> dict[str, float]:
    """How often each job looks whether something is due."""
    return {
        "poll": settings.poll_seconds,
        "websub": WEBSUB_SECONDS,
        "alerts": ALERT_SECONDS,
        "alert-watch": ALERT_WATCH_SECONDS,
        "health": HEALTH_SECONDS,
        "select": settings.select_minutes * 60,
        "digests": settings.digest_minutes * 60,
        "train": TRAIN_SECONDS,
        "watch": WATCH_SECONDS,
        "people": PEOPLE_SECONDS,
        "sms": SMS_SECONDS,
        "mailroom": MAILROOM_SECONDS,
        "sweep": SWEEP_SECONDS,
        "hub": HUB_SECONDS,
        "engagement": ENGAGEMENT_SECONDS,
        "housekeeping": 3600,
    }


def start(services: Services) -> Callable[[], None]:
    """Start ticking in the background, and sending.

    Every tick takes its job's lease in the database first: of two schedulers started by mistake one does
    each job, and the other takes over when it ends.

    Returns:
        A function that stops the timer and waits for a tick under way.
    """
    # Its processes start when a round first needs them, and stay for the rounds to come.
    size = services.settings.poll_processes
    workshop = Workshop(services.settings.city, size=size) if size else None
    trainer = Trainer()
    ticks: dict[str, Callable[[Services], Any]] = {
        "poll": lambda services: tick_poll(services, workshop),
        "websub": subscribe_due,
        "alerts": tick_alerts,
        "alert-watch": tick_alert_watch,
        "health": tick_health,
        "select": select_all,
        "digests": tick_digests,
        "train": lambda services: tick_train(services, trainer),
        "watch": tick_watch,
        "people": tick_people,
        "sms": tick_sms,
        "mailroom": tick_mailroom,
        "sweep": tick_sweep,
        "hub": tick_hub,
        "engagement": tick_engagement,
        "housekeeping": housekeeping,
    }
    leases, holder = JobLeases(services.database), secrets.token_hex(8)
    worker = Worker(services).start()
    timer: Any = BackgroundScheduler(timezone=services.zone)
    for name, seconds in interval_seconds(services.settings).items():
        timer.add_job(
            _guarded(name, _in_turn(name, ticks[name], seconds, leases, holder), services),
            "interval",
            seconds=seconds,
            id=name,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
    timer.start()

    def stop() -> None:
        trainer.close()  # a fit under way is given up: the next start makes it
        timer.shutdown()
        worker.stop()
        for name in ticks:
            leases.give(name, holder)
        if workshop is not None:
            workshop.close()

    return stop


def _in_turn(
    name: str, tick: Callable[[Services], Any], seconds: float, leases: JobLeases, holder: str
) -> Callable[[Services], Any]:
    """A tick that runs only while this scheduler holds the job, and keeps it until its next turn is near."""

    def run(services: Services) -> Any:
        begun = services.clock.now()
        if not leases.take(name, holder, begun, max(_LEASE, timedelta(seconds=seconds))):
            return "another scheduler does this"
        try:
            return tick(services)
        finally:
            leases.take(name, holder, begun, timedelta(seconds=seconds * 1.5))

    return run


def _guarded(name: str, tick: Callable[[Services], Any], services: Services) -> Callable[[], None]:
    """A tick that fails is logged and tried again at its next time; it never stops the timer."""

    def run() -> None:
        try:
            _log.info("tick", job=name, result=str(tick(services))[:300])
        except Exception as error:
            _log.error("tick_failed", job=name, error=f"{type(error).__name__}: {error}")

    return run

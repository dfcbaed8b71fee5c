"""The timer: APScheduler fires ticks, nothing more. The only module that imports apscheduler.

What is due is decided by rows in the database, never by the timer's own memory, so a missed tick
costs a delay and a doubled one nothing. Called by ``mycity serve`` and ``mycity scheduler``.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
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
HOUSEKEEPING_SECONDS = 3600
# What a scheduler held when it died is taken over after so long; one that lives renews in time.
_LEASE = timedelta(minutes=2)
_RENEW_SECONDS = 20.0
_INTERVALS: dict[str, float | Callable[[Settings], float]] = {
    "poll": lambda settings: settings.poll_seconds,
    "websub": WEBSUB_SECONDS,
    "alerts": ALERT_SECONDS,
    "alert-watch": ALERT_WATCH_SECONDS,
    "health": HEALTH_SECONDS,
    "select": lambda settings: settings.select_minutes * 60,
    "digests": lambda settings: settings.digest_minutes * 60,
    "train": TRAIN_SECONDS,
    "watch": WATCH_SECONDS,
    "people": PEOPLE_SECONDS,
    "sms": SMS_SECONDS,
    "mailroom": MAILROOM_SECONDS,
    "sweep": SWEEP_SECONDS,
    "hub": HUB_SECONDS,
    "engagement": ENGAGEMENT_SECONDS,
    "housekeeping": HOUSEKEEPING_SECONDS,
}
JOBS = tuple(_INTERVALS)


def interval_seconds(settings: Settings) -> dict[str, float]:
    """How often each job looks whether something is due."""
    return {name: often(settings) if callable(often) else often for name, often in _INTERVALS.items()}


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
    turns = Turns(services).start()
    worker = Worker(services).start()
    timer: Any = BackgroundScheduler(timezone=services.zone)
    for name, seconds in interval_seconds(services.settings).items():
        timer.add_job(
            _guarded(name, turns.in_turn(name, ticks[name]), services),
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
        turns.stop(ticks)
        if workshop is not None:
            workshop.close()

    return stop


class Turns:
    """The jobs that this scheduler holds; a thread of its own renews them as long as the process lives.

    Args:
        services: The joined parts.
        renew_seconds: Pause between renewals; several fit into a lease.
    """

    def __init__(self, services: Services, *, renew_seconds: float = _RENEW_SECONDS) -> None:
        self._services, self._seconds = services, renew_seconds
        self._leases, self._holder = JobLeases(services.database), secrets.token_hex(8)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-leases", daemon=True)

    def start(self) -> Turns:
        """Begin renewing; returns itself."""
        self._thread.start()
        return self

    def in_turn(self, name: str, tick: Callable[[Services], Any]) -> Callable[[Services], Any]:
        """A tick that runs only while this scheduler holds the job."""

        def run(services: Services) -> Any:
            if not self._leases.take(name, self._holder, services.clock.now(), _LEASE):
                return "another scheduler does this"
            return tick(services)

        return run

    def renew(self) -> int:
        """Hold on to all jobs that are held; returns how many."""
        return self._leases.renew(self._holder, self._services.clock.now(), _LEASE)

    def stop(self, names: Iterable[str]) -> None:
        """End renewing, and give back these jobs."""
        self._stop.set()
        self._thread.join()
        for name in names:
            self._leases.give(name, self._holder)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.renew()
            except Exception as error:
                _log.error("leases_not_renewed", error=f"{type(error).__name__}: {error}"[:300])


def _guarded(name: str, tick: Callable[[Services], Any], services: Services) -> Callable[[], None]:
    """A tick that fails is logged and tried again at its next time; it never stops the timer."""

    def run() -> None:
        try:
            _log.info("tick", job=name, result=str(tick(services))[:300])
        except Exception as error:
            _log.error("tick_failed", job=name, error=f"{type(error).__name__}: {error}")

    return run

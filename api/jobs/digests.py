"""Planning: who gets a digest or an immediate message now. Everybody at once, in a few statements.

Planning can be run twice, killed, or done by two schedulers: the key of each message names its slot, and
nothing comes twice. What a message says is decided when it is prepared (``api.jobs.building``); nothing is
ranked, written or sent here. Called by the scheduler, the sweeper and ``mycity digests plan``;
docs/digests.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from api.jobs import copying
from api.wiring import Services
from delivery.compose import TEMPLATE_VERSION
from delivery.digest_plans import DigestPlanner, Terms
from delivery.digest_runs import RunStore

#: What may carry a digest; a feed and a page are pulled.
CHANNELS = ("email", "sms", "webhook", "webpush", "wechat", "apprise")
# The channel of a demo and of tests, which keeps messages in files and reaches nobody.
_CAPTURE = "capture"
# Runs are kept so long, for whoever asks why nothing came.
_KEPT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What planning did.

    Attributes:
        due: Daily and weekly subscriptions whose hour had come.
        planned: Messages put into the outbox, immediate ones included.
        immediate: Those of them that are sent as soon as they may.
        copies: Messages beside them that go to relatives.
        runs: Runs that were made or went on.
        completed: Runs of which nothing waits any more.
    """

    due: int = 0
    planned: int = 0
    immediate: int = 0
    copies: int = 0
    runs: int = 0
    completed: int = 0

    @property
    def empty(self) -> int:
        """Due subscriptions that got no message: nothing new, at rest, unconfirmed, or planned before."""
        return self.due - (self.planned - self.immediate)


def terms_of(services: Services) -> Terms:
    """What every subscription of this installation has in common."""
    real = [name for name, port in services.channels.items() if port.name != _CAPTURE and name in CHANNELS]
    return Terms(services.zone, services.city.calendar, CHANNELS, real, TEMPLATE_VERSION)


def plan(services: Services, *, now: datetime | None = None) -> PlanReport:
    """Plan what is due: digests whose hour has come, and messages for who wants news at once."""
    now = now or services.clock.now()
    planner, runs, terms = DigestPlanner(services.database), RunStore(services.database), terms_of(services)
    runs.give_back(now)  # before planning: what ended unsent is in today's windows
    digests = planner.plan(now, terms)
    soon = planner.plan_immediate(now, terms)
    copies = copying.add_rows(services, now=now)
    touched = digests.runs | soon.runs
    runs.count_rows(touched)
    return PlanReport(
        due=digests.due,
        planned=digests.rows + soon.rows,
        immediate=soon.rows,
        copies=copies,
        runs=len(touched),
        completed=runs.complete_due(now),
    )


def trim_runs(services: Services) -> int:
    """Forget runs of long ago."""
    return RunStore(services.database).trim(services.clock.now() - _KEPT)


def missing(services: Services, *, days: int = 7) -> list[datetime]:
    """Slots of the last days that no run was made for: what the sweeper plans and an operator must see."""
    runs = RunStore(services.database)
    return runs.missing(services.clock.now(), services.zone, services.city.calendar, days=days)

"""Subscribing to sources that have a hub: asking, renewing, leaving, and taking in what hubs send.

Each function may run twice or be killed: what was not confirmed is asked again, and whatever a hub
sent is looked for by a poll no later than polling alone would have. Called by the scheduler
(:func:`subscribe_due`) and by ``api.web.routes.hooks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from typing import Literal

import structlog

from api.wiring import Services
from feeds.intake.sources import Source
from feeds.intake.types import Fetched
from feeds.intake.websub_rules import (
    Judgement,
    Subscription,
    Treatment,
    can_reach,
    judge,
    lease_of,
    next_step,
    ping_at,
    request_form,
    weigh,
    wish,
)
from feeds.kernel.errors import BlockedAddressError, FetchError, MycityError, NotFoundError
from feeds.kernel.http import HttpStatusError

MOST_CALLS = 50  # in one round; it must end even where every hub is slow
_log = structlog.get_logger(__name__)


def callbacks(services: Services) -> str:
    """Return our callback addresses without their last part."""
    return f"{services.settings.base_url}/hooks/websub/"


# -- the timer's side --------------------------------------------------------------------------------


def subscribe_due(services: Services) -> dict[str, int]:
    """Ask the hubs whose turn it is: new subscriptions, renewals, and leaving where that is due.

    Returns:
        How many were ``asked``, ``failed`` and ``left``.
    """
    now = services.clock.now()
    sources = {source.id: source for source in services.sources.list()}
    have = {item.source_id: item for item in services.websub.all()}
    asking = _Asking(services)
    for source_id in sorted(sources.keys() | have.keys()):
        if asking.calls >= MOST_CALLS:
            break
        source, old = sources.get(source_id), have.get(source_id)
        wanted = _reachable(services, wish(source)) if source else None
        step = next_step(old, wanted, now)
        if step == "leave" and old:
            asking.leave(old)
        elif step == "ask" and wanted:
            asking.ask(source_id, *wanted)
    return asking.done


def _reachable(services: Services, wanted: tuple[str, str] | None) -> tuple[str, str] | None:
    allowed = tuple(part.strip() for part in services.settings.allow_private.split(","))
    base = services.settings.base_url
    if wanted is None or can_reach(base, wanted[0], allowed):
        return wanted
    _say_unreachable(base)
    return None


@cache
def _say_unreachable(base_url: str) -> None:
    """Say it once in the life of a process."""
    _log.warning(
        "websub_needs_a_public_address",
        base_url=base_url,
        advice="Hubs cannot call this address, so sources are only polled; set MYCITY_BASE_URL.",
    )


class _Asking:
    """One round of calls to hubs; one that does not answer is called once in it."""

    def __init__(self, services: Services) -> None:
        self._services, self._store, self._client = services, services.websub, services.client()
        self._silent: dict[str, FetchError] = {}
        self.calls = 0
        self.done = {"asked": 0, "failed": 0, "left": 0}

    def ask(self, source_id: int, hub: str, topic: str) -> None:
        """Subscribe, or renew."""
        now = self._services.clock.now()
        have = self._store.ensure(source_id, hub=hub, topic=topic, at=now)
        if not self._store.asked(source_id, at=now):
            return  # another process is asking
        error = self._silent.get(hub) or self._call(have, "subscribe")
        if error is None:
            self.done["asked"] += 1
            return
        self.done["failed"] += 1
        self._store.failed(
            source_id,
            error=str(error),
            at=self._services.clock.now(),
            retry_after=error.retry_after if isinstance(error, HttpStatusError) else None,
            final=isinstance(error, BlockedAddressError),
        )
        _fall_back(self._services, source_id)

    def leave(self, have: Subscription) -> None:
        """End a subscription here, and tell its hub where that still sends; 410 tells it otherwise."""
        now = self._services.clock.now()
        self._store.ended(have.source_id, at=now)
        self.done["left"] += 1
        if have.runs(now) and have.hub not in self._silent:
            self._call(have, "unsubscribe")

    def _call(self, have: Subscription, mode: Literal["subscribe", "unsubscribe"]) -> FetchError | None:
        self.calls += 1
        try:
            form = request_form(have, mode, callbacks(self._services))
            named_by = self._services.sources.get(have.source_id).url or ""
            self._client.post(have.hub, form=form, named_by=named_by)
        except FetchError as error:
            _log.warning("websub_call_failed", source_id=have.source_id, mode=mode, error=str(error))
            if not isinstance(error, HttpStatusError) or error.status in (429, 503):
                self._silent[have.hub] = error
            return error
        except Exception as error:
            # One hub must never keep the others from being asked, whatever it answered.
            _log.error(
                "websub_call_broke", source_id=have.source_id, error=f"{type(error).__name__}: {error}"
            )
            return FetchError(f"The hub's answer could not be read ({type(error).__name__}).")
        return None


# -- the hub's side ----------------------------------------------------------------------------------


def verify(services: Services, path: str, *, mode: str, topic: str, lease: str, reason: str) -> Judgement:
    """Answer a hub that asks whether we meant it, and note what follows from that."""
    store, now = services.websub, services.clock.now()
    have = store.by_path(path)
    judgement = judge(have, mode, topic)
    if have is None or judgement in ("refuse", "again", "stop"):
        return judgement
    if judgement == "denied":
        store.denied(have.source_id, reason=_plain(reason), at=now)
        _fall_back(services, have.source_id)
        _log.warning("websub_denied", source_id=have.source_id, reason=_plain(reason)[:200])
    else:
        store.verified(have.source_id, lease=lease_of(lease), at=now)
    return judgement


def receive(
    services: Services, have: Subscription, *, signature: str, links: Sequence[str], body: bytes
) -> Treatment:
    """Decide about a message and note that it came; quick, for the hub is waiting.

    From here on a poll is due no later than it would be without a hub, so that nothing is lost if
    the content is never taken in.
    """
    treatment = weigh(have, signature, links, body)
    if treatment == "ignore":
        services.websub.refused(have.source_id)
        _fall_back(services, have.source_id)
        _log.warning("websub_bad_signature", source_id=have.source_id)
        return treatment
    services.websub.pushed(have.source_id, at=services.clock.now())
    source = _listening(services, have.source_id)
    if source is None:
        return "ignore"
    if treatment == "ping" or _needs_a_poll(source):
        remind(services, have)
        return "ping"
    _fall_back(services, have.source_id)
    return "take"


def remind(services: Services, have: Subscription) -> None:
    """Poll a source soon, because its hub has sent something that is not taken in as it is."""
    source = _listening(services, have.source_id)
    if source is not None:
        _poll_by(services, source, ping_at(source, services.clock.now()))


def take(services: Services, have: Subscription, body: bytes, content_type: str) -> None:
    """Take in what a hub sent, under the rules of a poll; if that fails, poll the source instead.

    How the source stands as a polled one (validators, counts, failures) stays as it is.
    """
    source = _listening(services, have.source_id)
    if source is None or source.url is None:
        return
    now = services.clock.now()
    fetched = Fetched(200, source.url, body, {"content-type": content_type}, now)
    try:
        prepared = services.preparer.read(source, fetched, now)
        report = services.ingestor.take(source, fetched, prepared)
    except MycityError as error:
        _log.warning("websub_push_not_taken", source=source.slug, error=str(error))
        _look_instead(services, have)
    except Exception as error:
        # Whatever a hub sends, the next message must find this service alive.
        _log.error("websub_push_broke", source=source.slug, error=f"{type(error).__name__}: {error}")
        _look_instead(services, have)
    else:
        _log.info("websub_push", source=source.slug, new=report.new, changed=report.changed)


def _look_instead(services: Services, have: Subscription) -> None:
    # Where even this cannot be stored, the poll that was agreed on before the hub was answered stands.
    with suppress(MycityError):
        remind(services, have)


def _fall_back(services: Services, source_id: int) -> None:
    """Poll a source no later than it would be polled without a hub."""
    source = _listening(services, source_id)
    if source is not None:
        _poll_by(services, source, services.clock.now() + timedelta(seconds=source.interval_s))


def _poll_by(services: Services, source: Source, at: datetime) -> None:
    if not source.failures:  # else it has asked for patience, and no hub can shorten that
        services.sources.poll_by(source.id, at=at)


def _listening(services: Services, source_id: int) -> Source | None:
    """A source, unless nothing of it is taken in at the moment."""
    try:
        source = services.sources.get(source_id)
    except NotFoundError:
        return None
    stopped = source.paused or source.held_at is not None or source.gone_at is not None
    return None if stopped else source


def _needs_a_poll(source: Source) -> bool:
    """Whether a message of its hub only means that it should be looked at.

    A first answer is archive and must be whole, entries without text are completed from their pages,
    and a warning is believed from its source alone.
    """
    return source.polls == 0 or source.full_text or source.kind == "cap"


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)

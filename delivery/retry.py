"""Whether and when a failed message is tried again; the error's type decides. Pure.

Called by ``delivery.sending``. The waits grow so that a provider that is down for an hour costs
nobody a digest, and no message comes later than its ``expires_at``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from delivery.errors import DeliveryError, PermanentError, SuppressedError, UnknownOutcomeError
from delivery.types import Lane

WAITS: tuple[timedelta, ...] = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240))
MAX_ATTEMPTS = len(WAITS) + 1
PATIENCE, CALM_PATIENCE = timedelta(minutes=15), timedelta(hours=1)
# Channels whose messages bear a reference that the receiver recognises: a mail's Message-ID, a webhook's id.
REPEATABLE = ("email", "webhook")


def next_attempt(attempts: int, error: Exception, channel: str = "email") -> timedelta | None:
    """Return how long to wait before the next attempt, or ``None`` for never.

    Args:
        attempts: Attempts made so far, this one included; from 1.
        error: What the last attempt ended with. Anything that is not a :class:`DeliveryError` is a
            fault of ours and tried again, since a repaired program may succeed.
        channel: A mail or webhook whose outcome is unknown is sent once more under the same reference;
            an SMS or any other message never, because it costs money and cannot be recognised.

    Raises:
        ValueError: If ``attempts`` is below 1.
    """
    if attempts < 1:
        raise ValueError("attempts are counted from 1")
    if isinstance(error, PermanentError | SuppressedError):
        return None
    if isinstance(error, UnknownOutcomeError) and (channel not in REPEATABLE or attempts > 1):
        return None
    return WAITS[attempts - 1] if attempts <= len(WAITS) else None


def retry_at(
    attempts: int, error: Exception, *, channel: str, now: datetime, expires_at: datetime
) -> datetime | None:
    """Return the instant of the next attempt, or ``None`` if there is none before ``expires_at``."""
    wait = next_attempt(attempts, error, channel)
    if wait is None or now + wait >= expires_at:
        return None
    return now + wait


def throttled_until(seconds: float, *, lane: Lane, now: datetime, expires_at: datetime) -> datetime | None:
    """Return when a message that was told to wait is tried again, or ``None`` if that is after its end.

    However long it was told to wait, it looks again after :data:`PATIENCE` (where somebody waits for it) or
    :data:`CALM_PATIENCE`: the budget may have been raised meanwhile.
    """
    most = PATIENCE if lane in ("alert", "confirmation") else CALM_PATIENCE
    due = now + min(timedelta(seconds=max(seconds, 0.0)), most)
    return due if due < expires_at else None


def final_state(error: Exception) -> str:
    """Name the state of a delivery that is not tried again."""
    if isinstance(error, SuppressedError):
        return "suppressed"
    if isinstance(error, UnknownOutcomeError):
        return "unknown"
    return "failed"


__all__ = [
    "CALM_PATIENCE", "MAX_ATTEMPTS", "PATIENCE", "REPEATABLE", "WAITS", "DeliveryError", "final_state",
    "next_attempt", "retry_at", "throttled_until",
]  # fmt: skip

"""When to ask a source again: one formula over what it asks for, how often it publishes, and what went wrong.

It only counts: nothing is fetched, stored or slept. Called by ``feeds.intake.sources`` after every poll
and by ``mycity sources test``. Pure.

After a good answer the wait is the longest of

* ``interval``: what the operator set (at least :data:`SHORTEST_S`);
* ``ttl``, ``max-age``, ``expires``, ``retry-after``: what the source asked for;
* ``quiet``: a 48th of the time since it last brought something new, so that a source that has just spoken
  is asked at its interval and one that has been silent for seven weeks once a day. Whatever comes after a
  silence is thus read at most about 2 % of that silence late. Warnings (CAP) never wait for this reason;
* ``push``: a day, where its hub tells us itself and polling is only the second string (not for warnings).

After a bad one it doubles with each failure in a row: from five minutes where the next attempt may well
succeed (nobody answered, a timeout, 5xx), from the source's own interval where the answer was clear (4xx, or
bytes that cannot be read). A 429 or 503 that says when to come back is obeyed up to a week.

Everything is clipped to a day (or the operator's interval, if that is longer), and spread upwards by at most
a tenth, so that sources added together do not march in step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal
from zlib import crc32

SHORTEST_S = 300
LONGEST_S = 86_400
LONGEST_RETRY_S = 7 * 86_400
QUIET_SHARE = 48
SPREAD = 0.1
_DOUBLINGS = 20  # far beyond the longest wait; keeps the shift small

Why = Literal[
    "interval", "ttl", "max-age", "expires", "retry-after", "quiet", "push", "errors", "limit", "gone"
]


@dataclass(frozen=True, slots=True)
class Hints:
    """What an answer's headers say about the next request, in seconds from now; ``None`` where silent.

    Attributes:
        max_age_s: What is left of ``max-age`` (else ``s-maxage``) after ``Age``; 0 for ``no-store``
            and ``no-cache``, which ask for no wait.
        expires_s: ``Expires`` counted from ``Date``; not read where Cache-Control speaks (RFC 9111 §5.3).
        retry_after_s: ``Retry-After``, given in seconds or as a date.
    """

    max_age_s: int | None = None
    expires_s: int | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the formula knows of a source right after an answer (or the lack of one).

    Attributes:
        slug: Its short name; with ``number`` it fixes the spread.
        number: How many times it has been asked.
        interval_s: The operator's interval.
        ttl_s: What its document last asked for; 0 where it does not say.
        last_new_at: When it last brought something new, or was first read; ``None`` if it never was.
        urgent: It brings warnings.
        pushed: Its hub tells us what is new, under a lease that stands.
        failures: Failed polls in a row, this one included; 0 after a good answer.
        status: HTTP status of the answer; 0 where nobody answered.
    """

    slug: str
    number: int
    interval_s: int
    ttl_s: int = 0
    last_new_at: datetime | None = None
    urgent: bool = False
    pushed: bool = False
    failures: int = 0
    status: int = 200
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True, slots=True)
class NextPoll:
    """When to ask again.

    Attributes:
        at: The instant; ``None`` where the source must not be asked again.
        wait_s: Seconds until then, spread included; 0 with ``at`` ``None``.
        why: The term that decided; ``limit`` where the longest wait cut it short.
    """

    at: datetime | None
    wait_s: int
    why: Why


def next_poll(standing: Standing, now: datetime) -> NextPoll:
    """Say when a source should be asked again, and why then.

    Args:
        standing: How it stands after the answer that has just come.
        now: When that was.

    Returns:
        The instant and the deciding term; among equal terms the first of the module's list.
    """
    if standing.status == 410:
        return NextPoll(None, 0, "gone")
    wait, why = _failed(standing) if standing.failures else _fine(standing, now)
    spread = min(wait, LONGEST_S) * SPREAD * _chance(standing.slug, standing.number)
    seconds = math.ceil(wait + spread)
    return NextPoll(now + timedelta(seconds=seconds), seconds, why)


def _fine(standing: Standing, now: datetime) -> tuple[float, Why]:
    hints, calm = standing.hints, not standing.urgent
    quiet = (now - standing.last_new_at).total_seconds() if standing.last_new_at and calm else 0
    terms: list[tuple[float, Why]] = [
        (max(standing.interval_s, SHORTEST_S), "interval"),
        (standing.ttl_s, "ttl"),
        (hints.max_age_s or 0, "max-age"),
        (hints.expires_s or 0, "expires"),
        (hints.retry_after_s or 0, "retry-after"),
        (quiet / QUIET_SHARE, "quiet"),
        (LONGEST_S if standing.pushed and calm else 0, "push"),
    ]
    return _clipped(*max(terms, key=lambda term: term[0]), longest=_longest(standing))


def _failed(standing: Standing) -> tuple[float, Why]:
    interval = max(standing.interval_s, SHORTEST_S)
    passing = standing.status in (0, 408) or standing.status >= 500
    first = SHORTEST_S if passing else interval
    wait = min(first << min(standing.failures - 1, _DOUBLINGS), _longest(standing))
    asked = standing.hints.retry_after_s or 0
    if asked <= wait:
        return wait, "errors"
    longest = LONGEST_RETRY_S if standing.status in (429, 503) else LONGEST_S
    return _clipped(asked, "retry-after", longest=max(longest, _longest(standing)))


def _clipped(wait: float, why: Why, *, longest: float) -> tuple[float, Why]:
    return (wait, why) if wait <= longest else (longest, "limit")


def _longest(standing: Standing) -> int:
    return max(LONGEST_S, standing.interval_s)


def _chance(slug: str, number: int) -> float:
    """A number in [0, 1) that is the same for the same poll of the same source, on every machine."""
    return crc32(f"{slug}:{number}".encode()) / 2**32


def hints_of(headers: Mapping[str, str], now: datetime) -> Hints:
    """Read what an answer's headers say about the next request.

    Args:
        headers: Names in lower case.
        now: When the answer came; used where it bears no ``Date``.

    Returns:
        Whole seconds, never negative. What cannot be read counts as not said, except an unreadable
        ``Expires`` (``0`` is common), which means "already over" (RFC 9111 §5.3).
    """
    directives = _directives(headers.get("cache-control", ""))
    date = _date(headers.get("date", "")) or now
    retry = headers.get("retry-after", "").strip()
    age = _whole(headers.get("age", "").strip()) or 0
    max_age = _whole(directives.get("max-age", ""))
    if max_age is None:
        max_age = _whole(directives.get("s-maxage", ""))
    if "no-store" in directives or "no-cache" in directives:
        max_age, age = 0, 0
    expires = None
    if max_age is None and "expires" in headers:
        over = _date(headers["expires"])
        expires = _from(over, date) if over else 0
    after = _whole(retry)
    if after is None and (when := _date(retry)):
        after = _from(when, now)
    return Hints(None if max_age is None else max(0, max_age - age), expires, after)


def _directives(text: str) -> dict[str, str]:
    """Names in lower case → values without quotation marks; of a repeated one the first counts."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def _whole(text: str) -> int | None:
    return int(text[:9]) if text.isascii() and text.isdecimal() else None


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _from(when: datetime, now: datetime) -> int:
    return max(0, math.ceil((when - now).total_seconds()))

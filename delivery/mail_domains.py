"""How fast mail may go to each provider, and how many mails a new sender may send a day. Pure.

A provider that says "too many" is given half its rate for a while, and then slowly more again. Whoever is
refused is told when a place is free, each a later one, so that ten thousand waiting mails do not come back
all at once. It sends nothing and keeps nothing beyond this process. Called by ``delivery.channels.email``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from feeds.kernel.errors import UsageError

_RATE = re.compile(r"^(\d+(?:\.\d+)?)\s*/\s*(s|m|h)\Z")
_NAME = re.compile(r"^(\*|[a-z0-9-]+(\.[a-z0-9-]+)+)\Z")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
EVERYBODY = "*"
_LONGEST = 600.0
# A provider that was never limited here and says "too many" begins anew at this rate.
_UNKNOWN_RATE = 2.0
_LEAST_SHARE = 1 / 64
_MORE_EACH_MINUTE = 0.1
_FIRST_PAUSE = 30.0
_GROWTH = 1.5
_ENOUGH = 1_000_000


def parse_rates(text: str) -> dict[str, tuple[str, float]]:
    """Read ``qq.com|foxmail.com=5/s, 163.com=300/m, *=50/s``.

    Returns:
        Domain (or ``*``) → (name of the bucket it shares, mails a second).

    Raises:
        UsageError: If a part does not fit.
    """
    rates: dict[str, tuple[str, float]] = {}
    for part in filter(None, (piece.strip().lower() for piece in text.split(","))):
        names, _, rate = part.partition("=")
        match = _RATE.match(rate.strip())
        domains = [name.strip() for name in names.split("|")]
        if match is None or float(match.group(1)) <= 0 or not all(map(_NAME.match, domains)):
            raise UsageError(
                f"MYCITY_MAIL_RATES: {part!r} does not fit; write e.g. qq.com=5/s, 163.com=300/m, *=50/s."
            )
        for domain in domains:
            rates[domain] = (domains[0], float(match.group(1)) / _SECONDS[match.group(2)])
    return rates


class Bucket:
    """Lets mails through at a rate; may be slowed and recovers. Not safe for threads by itself.

    Args:
        rate: Mails a second; as many may go at once after a pause (at least one).
        now: Seconds of any steady clock.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.share = 1.0
        self._slowed = 0
        self._tokens = self._most = max(1.0, rate)
        self._at = self._promised = self._blocked = now

    def take(self, now: float) -> float:
        """Return 0 and take a place, or the seconds after which one is kept free."""
        self._pass(now)
        if self._tokens >= 1.0 and now >= self._blocked:
            self._tokens -= 1.0
            return 0.0
        begin = max(now, self._blocked)
        self._promised = max(self._promised, begin) + 1.0 / (self.rate * self.share)
        return min(self._promised - now, _LONGEST)

    def slow(self, now: float) -> float:
        """Half the rate from now on and nothing for a moment; returns the seconds until the next try."""
        self._pass(now)
        if now >= self._blocked:  # several threads hear the same "too many" once
            self._slowed = min(self._slowed + 1, 5)
            self.share = max(self.share / 2, _LEAST_SHARE)
            self._blocked = now + min(_FIRST_PAUSE * 2.0 ** (self._slowed - 1), _LONGEST)
        self._tokens = 0.0
        return max(self.take(now), self._blocked - now)

    def _pass(self, now: float) -> None:
        """Let time go by: places come back, and a slowed rate grows by a tenth of the full one a minute."""
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        open_for = max(0.0, now - max(self._blocked, self._at - passed))
        self.share = min(1.0, self.share + open_for / 60.0 * _MORE_EACH_MINUTE)
        if self.share >= 1.0:
            self._slowed = 0
        self._tokens = min(self._most, self._tokens + open_for * self.rate * self.share)


class MailRates:
    """The buckets of all providers; safe to use from several threads.

    Args:
        rates: From :func:`parse_rates`; empty means no limit until a provider asks for one.
        clock: Steady seconds.
    """

    def __init__(self, rates: Mapping[str, tuple[str, float]], clock: Callable[[], float]) -> None:
        self._rates, self._clock = dict(rates), clock
        self._buckets: dict[str, Bucket] = {}
        self._guard = threading.Lock()

    def wait(self, domain: str) -> float:
        """Take a place for one mail to a domain: 0, or the seconds to wait."""
        with self._guard:
            bucket = self._of(domain, None)
            return bucket.take(self._clock()) if bucket else 0.0

    def slow(self, domain: str) -> float:
        """A provider said "too many": slow down, and return the seconds to wait."""
        with self._guard:
            bucket = self._of(domain, _UNKNOWN_RATE)
            return bucket.slow(self._clock()) if bucket else _FIRST_PAUSE

    def shares(self) -> dict[str, float]:
        """Provider → share of its rate that it gets now, where that is below 1."""
        with self._guard:
            return {name: bucket.share for name, bucket in self._buckets.items() if bucket.share < 1.0}

    def _of(self, domain: str, otherwise: float | None) -> Bucket | None:
        """The bucket of a domain. Those without a rate of their own have one each, at the rate of ``*``."""
        name, rate = self._rates.get(domain) or (domain, self._rates.get(EVERYBODY, ("", 0.0))[1])
        if name not in self._buckets:
            if not rate and not otherwise:
                return None
            if len(self._buckets) >= 10_000:  # a flood of invented domains must not fill the memory
                self._buckets.clear()
            self._buckets[name] = Bucket(rate or otherwise or 1.0, self._clock())
        bucket = self._buckets[name]
        if not rate and bucket.share >= 1.0 and otherwise is None:
            del self._buckets[name]  # was slowed once, and has recovered
            return None
        return bucket


@dataclass(frozen=True, slots=True)
class Warmup:
    """How many mails a new sender may send on a day: ``first``, then half as many more each further day."""

    start: date
    first: int

    def limit(self, day: date) -> int | None:
        """Most mails of a day; ``None`` for no limit any more."""
        days = (day - self.start).days
        if days < 0:
            return self.first
        limit = self.first * _GROWTH ** min(days, 60)
        return None if limit >= _ENOUGH else int(limit)


def parse_warmup(text: str) -> Warmup | None:
    """Read ``2026-12-01,200``: from which day, and how many mails on the first; empty means no limit.

    Raises:
        UsageError: If it is neither.
    """
    if not text.strip():
        return None
    day, _, first = (part.strip() for part in text.partition(","))
    try:
        found = Warmup(date.fromisoformat(day), int(first))
    except ValueError as error:
        raise UsageError(
            "MYCITY_MAIL_WARMUP: write the first day and its mails, e.g. 2026-12-01,200 ."
        ) from error
    if found.first < 1:
        raise UsageError("MYCITY_MAIL_WARMUP: at least one mail must be allowed on the first day.")
    return found


class DailyQuota:
    """Counts the mails of a day against a new sender's limit; asks the ledger for places by the dozen.

    Args:
        warmup: The limits.
        today: The present local day.
        reserve: (day, wanted, limit) → how many more may be sent; what several processes share.
    """

    def __init__(
        self, warmup: Warmup, today: Callable[[], date], reserve: Callable[[date, int, int], int]
    ) -> None:
        self._warmup, self._today, self._reserve = warmup, today, reserve
        self._guard = threading.Lock()
        self._day: date | None = None
        self._left = 0

    def take(self) -> bool:
        """Take a place for one mail; False when the day is full."""
        with self._guard:
            day = self._today()
            limit = self._warmup.limit(day)
            if limit is None:
                return True
            if day != self._day:
                self._day, self._left = day, 0
            if self._left < 1:
                self._left = self._reserve(day, max(1, min(20, limit // 10)), limit)
            if self._left < 1:
                return False
            self._left -= 1
            return True

"""What the guarded client gives back: answers, the hops that led there, errors that carry a status. Pure.

Raised and made by ``feeds.kernel.http``; read by the intake and by ``mycity sources test``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast

from feeds.kernel.errors import FetchError


@dataclass(frozen=True, slots=True)
class Tls:
    """What protected a connection.

    Attributes:
        version: As the library writes it, for example ``TLSv1.3``.
        name: The first name the certificate stands for; ``""`` if it says none.
        valid_until: When the certificate lapses, UTC; ``None`` where it is not readable.
    """

    version: str
    name: str = ""
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One request on the way to an answer.

    Attributes:
        url: What was asked.
        status: What it answered; 0 if there was no answer.
        address: The IP address dialled (the last, if several were tried); ``""`` if none was.
        seconds: From resolving the name to the end of this request, without waiting for a turn.
        tls: ``None`` for plain http, and where no connection came about.
    """

    url: str
    status: int
    address: str
    seconds: float
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an address answered: success with a body within the caps, or 304 without one.

    Attributes:
        url: The address that finally answered.
        headers: Names in lower case; repeated ones joined by ``, ``.
        moved_to: The new address if every redirect on the way was permanent, else ``""``.
        hops: Every request that was made, in order; the last one gave this answer.
    """

    status: int
    url: str
    body: bytes
    headers: Mapping[str, str]
    fetched_at: datetime
    moved_to: str = ""
    hops: tuple[Hop, ...] = ()


class HttpStatusError(FetchError):
    """A status that is no success.

    Attributes:
        status: Three digits.
        retry_after: Seconds the server asks us to wait; ``None`` where not given.
        headers: As in :class:`Answer`.
        body: The beginning of what came with it, at most 4 KiB and unpacked, for whoever looks for the cause.
    """

    def __init__(
        self,
        message: str,
        status: int,
        retry_after: float | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.headers = headers or {}
        self.body = body


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: for a name, for one connection attempt, for one read, and for everything together."""

    connect: float = 10.0
    read: float = 20.0
    total: float = 60.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent, the same at every hop.

    Attributes:
        headers: Names and values without Host.
        body: ``b""`` for a GET.
        allowed: The statuses that are an answer; all others raise.
        follow: Whether a redirect is followed; else it is a status like any other.
    """

    method: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    allowed: tuple[int, ...] = field(default=(200,))
    follow: bool = True


def hops_of(error: FetchError) -> tuple[Hop, ...]:
    """Tell the requests that were made before an error of the guarded client; none if it was another's."""
    return cast("tuple[Hop, ...]", getattr(error, "hops", ()))


def retry_after(text: str, now: datetime) -> float | None:
    """Read a Retry-After header (seconds or a date) as seconds from ``now``; ``None`` if it is neither."""
    if text.isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - now).total_seconds())
    except (ValueError, OverflowError):
        return None


_ADVICE = {
    401: "it asks for a login, which sources cannot have",
    403: "it does not let us in, so ask its owner whether we may poll it",
    404: "nothing is there, so check the address",
    410: "it is gone for good, so look for its successor",
    429: "it wants to be asked less often",
    503: "it is out of service for now and will be asked again",
}


def describe_status(status: int, allowed: tuple[int, ...], wait: float | None) -> str:
    """Say in half a sentence what an unwelcome status means: after the address, before the full stop."""
    wanted = "200" if 304 in allowed or len(allowed) == 1 else f"one of {', '.join(map(str, allowed))}"
    advice = _ADVICE.get(status, "its server has trouble of its own" if status >= 500 else "")
    later = f", in {wait:.0f} seconds at the earliest" if wait else ""
    return f"answered {status} instead of {wanted}{'; ' + advice if advice else ''}{later}"

"""The rules of a WebSub subscriber: when to ask a hub, what its questions mean, who really speaks. Pure.

W3C WebSub, the subscriber's side. Called by ``feeds.intake.websub`` (which remembers) and
``api.jobs.websub`` (which talks).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from feeds.kernel.addresses import is_public_address

if TYPE_CHECKING:
    from feeds.intake.sources import Source  # which asks us which hubs can be relied on

State = Literal["asked", "active", "ended", "failed"]
Step = Literal["rest", "ask", "leave"]
Judgement = Literal["start", "again", "stop", "denied", "refuse"]
Treatment = Literal["take", "ping", "ignore"]

LEASE_S = 14 * 86_400  # what we ask for, and the longest we believe
SHORTEST_S = 3600  # a shorter lease is not renewed in time, which would be one request after the other
UNSAID_S = 86_400  # a hub that names no lease is believed for a day
DELAYS_S = (1800, 7200, 28_800, 86_400)  # between asks that came to nothing
MOST_FAILURES = len(DELAYS_S) + 1
GIVEN_UP = timedelta(days=7)
DENIED_FOR = timedelta(days=30)
LEAVING = timedelta(hours=1)  # how long an old hub has to ask whether we really leave
PING_REST = timedelta(minutes=5)  # between polls that a hub's messages cause
BAD_SIGNATURE = "A message to our callback address was not signed with our secret; it was ignored."
MISSED = "A poll found what the hub should have told us; the source is polled as usual until it does."
UNRELIABLE = (BAD_SIGNATURE, MISSED)
_SHA = frozenset({"sha256", "sha384", "sha512"})
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_SELF = re.compile(r";\s*rel\s*=\s*(?:\"[^\"]*\bself\b[^\"]*\"|self\b)", re.IGNORECASE)
_HOUSE_NAMES = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")


@dataclass(frozen=True, slots=True)
class Subscription:
    """How we stand with the hub of one source; its text shows neither path nor secret.

    Attributes:
        path: Last part of our callback address; 256 bits.
        secret: What the hub signs with; 256 bits. Neither changes at a renewal, so that the hub and we
            agree on both at every moment, whether or not a renewal comes through.
        state: ``asked`` (not confirmed), ``active`` (confirmed at least once), ``ended`` (we left),
            ``failed`` (the hub denied us, or did not confirm :data:`MOST_FAILURES` asks in a row).
        lease_until: Until when the hub has promised to tell us.
        next_at: When to ask again; of an ended one, when the row may serve another hub.
        failures: Asks in a row that the hub has not confirmed, one that is under way included.
        last_push_at: When a properly signed message last came.
    """

    source_id: int
    hub: str
    topic: str
    path: str = field(repr=False)
    secret: str = field(repr=False)
    state: State
    asked_at: datetime
    lease_until: datetime | None
    next_at: datetime | None
    failures: int
    last_error: str
    last_push_at: datetime | None

    def runs(self, now: datetime) -> bool:
        """Whether the hub owes us messages now."""
        return self.state == "active" and self.lease_until is not None and self.lease_until > now


# -- asking ------------------------------------------------------------------------------------------


def wish(source: Source) -> tuple[str, str] | None:
    """Return the hub and topic that this source should be subscribed at, or ``None``.

    A source that is read over https is not handed to a hub that would get our secret in the clear.
    """
    if source.paused or source.gone_at is not None or not (source.url and source.hub and source.topic):
        return None
    if source.url.lower().startswith("https:") and not source.hub.lower().startswith("https:"):
        return None
    return source.hub, source.topic


def next_step(have: Subscription | None, wanted: tuple[str, str] | None, now: datetime) -> Step:
    """Decide what to do about one source's subscription now."""
    if have is None:
        return "ask" if wanted else "rest"
    due = have.next_at is None or have.next_at <= now
    if have.state == "ended":
        return "ask" if wanted and due else "rest"
    if wanted != (have.hub, have.topic):
        return "leave"
    return "ask" if due else "rest"


def request_form(have: Subscription, mode: Literal["subscribe", "unsubscribe"], base: str) -> dict[str, str]:
    """Return the form that a hub is sent (W3C WebSub §5.1).

    Args:
        have: The subscription.
        mode: What we want.
        base: Our callback addresses without their last part, ending in ``/``.
    """
    form = {"hub.mode": mode, "hub.topic": have.topic, "hub.callback": base + have.path}
    if mode == "subscribe":
        form |= {"hub.lease_seconds": str(LEASE_S), "hub.secret": have.secret}
    return form


def can_reach(base_url: str, hub: str, allow_private: Sequence[str] = ()) -> bool:
    """Whether a hub can call us back: anybody a public address, an intranet hub a private one too.

    Args:
        base_url: Our own address.
        hub: The hub's.
        allow_private: ``host:port`` of intranet addresses that we may call.
    """
    host = (urlsplit(base_url).hostname or "").lower()
    try:
        public = is_public_address(ip_address(host))
    except ValueError:
        public = "." in host and not host.endswith(_HOUSE_NAMES)
    return public or _place(hub) in {item.lower() for item in allow_private}


def _place(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    host = (parts.hostname or "").lower()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def retry_in(failures: int, retry_after: float | None = None) -> timedelta:
    """How long to wait after so many asks without a confirmation; Retry-After is obeyed to 7 days."""
    wait = GIVEN_UP if failures >= MOST_FAILURES else timedelta(seconds=DELAYS_S[max(failures, 1) - 1])
    return max(wait, min(timedelta(seconds=min(retry_after or 0, 1e9)), GIVEN_UP))


# -- verifying ---------------------------------------------------------------------------------------


def judge(have: Subscription | None, mode: str, topic: str) -> Judgement:
    """Decide what a hub's question to our callback address means.

    Returns:
        ``start``: confirm, the lease begins. ``again``: confirm (an answer of ours may have been lost),
        but we have not asked, so the lease stays as it is. ``stop``: confirm that we leave.
        ``denied``: the hub will not serve us. ``refuse``: not what we want, or nobody's address.
    """
    if have is None or topic != have.topic:
        return "refuse"
    if have.state == "ended":
        return "stop" if mode == "unsubscribe" else "refuse"
    if mode == "denied":
        return "denied"
    if mode != "subscribe":
        return "refuse"
    return "start" if have.failures else "again"


def lease_of(text: str) -> timedelta:
    """Read ``hub.lease_seconds``: at most 14 days, a day where there is no sensible number."""
    seconds = int(text[:18]) if text.isascii() and text.isdigit() else 0
    return timedelta(seconds=min(seconds or UNSAID_S, LEASE_S))


def renew_after(lease: timedelta) -> timedelta:
    """Return when to renew: after four fifths of the lease, so that there is time to try again.

    A hub with leases below an hour is asked once an hour, and the source polled as usual in between.
    """
    shortest = timedelta(seconds=SHORTEST_S)
    return lease * 4 / 5 if lease >= shortest else shortest


# -- content -----------------------------------------------------------------------------------------


def check_signature(header: str, secret: str, body: bytes) -> Literal["good", "weak", "bad"]:
    """Tell who signed a message, in constant time.

    Args:
        header: ``X-Hub-Signature``: ``method=hexadecimal``.
        secret: The one we gave.
        body: The bytes as they came.

    Returns:
        ``good`` for sha256, sha384 and sha512; ``weak`` for a correct sha1, which proves too little to
        take the content but enough to go and look; else ``bad``.
    """
    method, _, given = header.strip().partition("=")
    method = method.lower()
    if method not in _SHA and method != "sha1":
        return "bad"
    right = hmac.new(secret.encode(), body, method).hexdigest()
    if not hmac.compare_digest(given.strip().lower().encode("utf-8", "replace"), right.encode()):
        return "bad"
    return "good" if method in _SHA else "weak"


def weigh(have: Subscription, signature: str, links: Sequence[str], body: bytes) -> Treatment:
    """Decide what to do with a message to our callback address.

    Args:
        have: The subscription that the address belongs to.
        signature: ``X-Hub-Signature``.
        links: ``Link`` headers.
        body: The bytes as they came.

    Returns:
        ``take`` its content; ``ping``: believe none of it, but poll the source soon (nothing in it, a
        weak signature, or it speaks of another topic); ``ignore`` it.
    """
    signed = check_signature(signature, have.secret, body)
    if signed == "bad":
        return "ignore"
    named = topics_of(links)
    known = not named or have.topic in named
    return "take" if signed == "good" and known and body.strip() else "ping"


def topics_of(links: Sequence[str]) -> list[str]:
    """Return the addresses that ``Link`` headers call ``self``."""
    return [
        target.strip() for line in links for target, rest in _LINK.findall(line[:8000]) if _SELF.search(rest)
    ]


def ping_at(source: Source, now: datetime) -> datetime:
    """When to poll a source whose hub says that there is something: now, but not every minute."""
    last = source.last_polled_at
    return now if last is None else max(now, last + PING_REST)


def after_ask(
    have: Subscription, failures: int, at: datetime, retry_after: float | None = None
) -> dict[str, Any]:
    """Where an ask that is not confirmed leaves a subscription; a running lease goes on."""
    state: State = "failed" if failures >= MOST_FAILURES else "asked"
    return {
        "state": "active" if have.runs(at) else state,
        "failures": failures,
        "next_at": at + retry_in(failures, retry_after),
    }

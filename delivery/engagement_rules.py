"""Opens and clicks: the codes in counted addresses, and how automatic ones are recognised. Pure.

A code names a delivery and a notice and carries a keyed mark, so no row is stored for a link and none
can be guessed. Mail is opened by many machines before a person sees it (filters that follow every
link, proxies that fetch every image): what looks like one is marked and never learned from. When in
doubt it is automatic. Called by ``api.jobs.engagement``.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Kind = Literal["open", "click"]
#: ``waiting``: not judged yet. ``person``: nothing speaks against it. The others say what does.
Verdict = Literal["waiting", "person", "head", "prefetch", "agent", "proxy", "early", "burst", "unsent"]

#: Nobody has read a mail so soon after it was handed over; filters have.
EARLY = timedelta(seconds=10)
#: Different links of one mail within this time are followed by a machine.
BURST = timedelta(seconds=3)
#: How long an event waits, so that what comes right after it can speak too.
SETTLE = timedelta(minutes=1)
#: Stored of one delivery at most; more says nothing more.
MOST = 100
_MAC = 16
_CODE = re.compile(r"[A-Za-z0-9_-]{24,64}")
_MACHINE = re.compile(
    r"bot\b|crawl|spider|slurp|preview|scanner|\bscan|fetcher|monitor|checker|proofpoint|barracuda|mimecast|"
    r"symantec|messagelabs|trendmicro|sophos|fireeye|forcepoint|fortinet|safelinks|urldefense|bitdefender|"
    r"kaspersky|headless|phantomjs|microsoft office|ms-?office|skypeuri|whatsapp|facebookexternal|"
    r"\b(?:python|aiohttp|httpx2?|curl|wget|libwww|java|okhttp|go-http|axios|node|ruby|perl|php|apache-http)\b",
    re.IGNORECASE,
)
_PROXY = re.compile(r"googleimageproxy|ggpht|yahoomailproxy|yahoo.*cache", re.IGNORECASE)
_BARE = re.compile(r"mozilla/[\d.]+\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Event:
    """One request for a counted address.

    Attributes:
        notice_id: 0 of an open.
    """

    id: int
    delivery_id: int
    notice_id: int
    profile_id: int
    kind: Kind
    at: datetime
    verdict: Verdict


def code_for(key: bytes, delivery_id: int, notice_id: int) -> str:
    """Return the code of one link: URL-safe, the same for the same pair, unguessable without the key."""
    packed = _packed(delivery_id) + _packed(notice_id)
    return urlsafe_b64encode(packed + _mac(key, packed)).rstrip(b"=").decode()


def pair_of(key: bytes, code: str) -> tuple[int, int] | None:
    """Return (delivery id, notice id) of a code of ours; ``None`` for any other text."""
    if not _CODE.fullmatch(code):
        return None
    try:
        raw = urlsafe_b64decode(code + "=" * (-len(code) % 4))
    except (NotBase64, ValueError):
        return None
    packed, mark = raw[:-_MAC], raw[-_MAC:]
    if not hmac.compare_digest(mark, _mac(key, packed)):
        return None
    numbers = _unpacked(packed)
    # base64 has spare bits: of several spellings only the one we write is ours
    if len(numbers) != 2 or code_for(key, *numbers) != code:
        return None
    return numbers[0], numbers[1]


def at_once(
    kind: Kind, headers: Mapping[str, str], *, head: bool, sent_at: datetime | None, now: datetime
) -> Verdict:
    """Judge one request by itself.

    Args:
        kind: What was asked for.
        headers: Names in lower case.
        head: Only the head was asked for.
        sent_at: When the mail was handed over; ``None`` if it was not yet.
        now: When the request came.

    Returns:
        Why it is automatic, or ``waiting`` for what comes after it.
    """
    agent = headers.get("user-agent", "").strip()
    purpose = " ".join(headers.get(name, "") for name in ("purpose", "sec-purpose", "x-purpose", "x-moz"))
    if head:
        return "head"
    if re.search(r"prefetch|prerender|preview", purpose, re.IGNORECASE):
        return "prefetch"
    if kind == "open" and (_PROXY.search(agent) or _BARE.match(agent)):
        return "proxy"  # fetched by a mail provider for a person who may never look
    if not agent or _BARE.match(agent) or _MACHINE.search(agent):
        return "agent"
    if kind == "click" and headers.get("sec-fetch-dest", "document") not in ("document", "empty"):
        return "agent"  # a link that was loaded as a picture or a frame
    if sent_at is None:
        return "unsent"
    return "early" if now - sent_at < EARLY else "waiting"


def settled(events: Sequence[Event]) -> dict[int, Verdict]:
    """Judge the waiting events of one delivery together.

    Args:
        events: All of the delivery, judged ones included.

    Returns:
        Event id → verdict, for those that waited. A click is a ``burst`` if another notice's link was
        followed within three seconds of it, by whomever.
    """
    clicks = [event for event in events if event.kind == "click"]
    found: dict[int, Verdict] = {}
    for event in events:
        if event.verdict != "waiting":
            continue
        others = (one for one in clicks if one.notice_id != event.notice_id)
        rushed = event.kind == "click" and any(abs(one.at - event.at) <= BURST for one in others)
        found[event.id] = "burst" if rushed else "person"
    return found


def _mac(key: bytes, packed: bytes) -> bytes:
    derived = hmac.digest(key, b"mycity/engagement/code", "sha256")
    return hmac.digest(derived, packed, "sha256")[:_MAC]


def _packed(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _unpacked(data: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number, shift = 0, 0
    return numbers if shift == 0 else []

"""Joins the SMS adapters to what follows: reads a provider's call, keeps it, acts on it.

Never decides what a text means (``api.jobs.inbound``) or what a receipt changes (``api.jobs.receipts``).
Called by the SMS hooks and, through ``api.sms_wiring``, by what comes over SMPP.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from api.jobs import inbound, receipts
from api.wiring import Services
from delivery.sms_inbound import Inbound
from delivery.types import Receipt
from feeds.kernel.errors import MycityError
from profiles.inbox import InboundRow
from profiles.tokens import derived_secret

_log = structlog.get_logger(__name__)
#: Providers that call an address of ours; SMPP speaks over its own connection.
PROVIDERS = ("aliyun", "tencent", "twilio")
_AT_ONCE = ("stop", "not_me")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a call brought, written down: texts to act on, and reports already applied."""

    rows: tuple[InboundRow, ...] = ()
    receipts: int = 0


def hook_secret(services: Services, provider: str) -> str:
    """Return the secret part of a provider's address; the same one always, unguessable without our key."""
    return derived_secret(services.key, "sms-hook", provider)


def hook_address(services: Services, provider: str) -> str:
    """Return the address to enter in a provider's console."""
    return f"{services.settings.base_url}/hooks/sms/{provider}/{hook_secret(services, provider)}"


def read(services: Services, provider: str, headers: Mapping[str, str], body: bytes, url: str) -> Kept | None:
    """Check and read a call, and write down what it brought; ``None`` if it cannot be the provider's."""
    if provider not in PROVIDERS:
        return None
    module = importlib.import_module(f"delivery.channels.{provider}")
    try:
        reports, texts = module.read_callback(
            headers, body, url, _signing_key(services, provider), now=services.clock.now()
        )
    except (MycityError, ValueError) as error:
        _log.warning("sms_call_refused", provider=provider, error=type(error).__name__)
        return None
    noted = getattr(services.channels.get("sms"), "noted", None)
    return keep(services, noted(reports) if noted and reports else reports, texts)


def keep(services: Services, reports: Sequence[Receipt], texts: Sequence[Inbound]) -> Kept:
    """Write reports and texts down; reports and stops take effect at once, other texts by :func:`act`.

    Signing up takes a moment, and whoever wants to stop must not wait behind a thousand who begin.
    """
    counts = {"acted": 0, "known": 0, "ignored": 0, "failed": 0}
    rows = inbound.keep(services, texts, counts)
    for row in rows:
        if row.word in _AT_ONCE:
            inbound.act(services, row)
    moved = receipts.take(services, reports).moved if reports else 0
    return Kept(tuple(row for row in rows if row.word not in _AT_ONCE), moved)


def act(services: Services, kept: Kept) -> None:
    """Act on the texts of a call; one that fails is tried again by the people tick."""
    for row in kept.rows:
        inbound.act(services, row)


def _signing_key(services: Services, provider: str) -> str:
    """What a provider signs its calls with; Twilio alone does."""
    value = getattr(services.settings, f"sms_{provider}_secret", "")
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)

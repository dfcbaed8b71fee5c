"""Makes the mail channel from the settings: signatures, rates, a new sender's days, TLS. Opens no socket.

Called by the wiring, and by ``mycity doctor`` for what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from api.settings import Settings
from delivery.channels.email import EmailChannel
from delivery.dkim import DkimSigner, read_keys
from delivery.mail_domains import DailyQuota, MailRates, parse_rates, parse_warmup
from delivery.mail_store import MailStore
from delivery.mime import sender_address
from feeds.kernel.db import Database
from feeds.kernel.errors import MycityError
from feeds.kernel.time import Clock


def open_mail(
    settings: Settings,
    database: Database,
    clock: Clock,
    zone: ZoneInfo,
    *,
    on_dead: Callable[[str, str], None] | None = None,
) -> EmailChannel:
    """Make the channel.

    Args:
        settings: What is set about mail.
        database: Keeps the places of a new sender's days.
        clock: Tells the day.
        zone: Where the day begins.
        on_dead: Told the Message-ID and the code of a mail whose address does not exist.

    Raises:
        UsageError: If a setting about mail does not fit; it says which and how it is written.
    """
    warmup = parse_warmup(settings.mail_warmup)

    def today() -> datetime:
        return clock.now().astimezone(zone)

    quota = None
    if warmup is not None:
        quota = DailyQuota(warmup, lambda: today().date(), MailStore(database).reserve)
    return EmailChannel(
        settings.smtp_url,
        tls=settings.mail_tls,
        signer=open_signer(settings),
        rates=MailRates(parse_rates(settings.mail_rates), time.monotonic),
        quota=quota,
        on_dead=on_dead,
    )


def open_signer(settings: Settings) -> DkimSigner | None:
    """Read the keys that mails are signed with; ``None`` where there are none.

    Raises:
        UsageError: If a key cannot be read.
    """
    if not settings.dkim_keys:
        return None
    return DkimSigner(dkim_domain(settings), read_keys(settings.dkim_keys, settings.home))


def dkim_domain(settings: Settings) -> str:
    """The domain mails are signed for: as set, else that of the sender."""
    if settings.dkim_domain:
        return settings.dkim_domain.strip().lower()
    return sender_address(settings.mail_from).rpartition("@")[2] if settings.mail_from else ""


def mail_gaps(settings: Settings) -> Iterator[str]:
    """Say what an operator still has to do before many mails are sent; each a sentence with the remedy."""
    if not (settings.smtp_url and settings.mail_from):
        return  # nothing is sent, so nothing is missing
    try:
        sender = sender_address(settings.mail_from).rpartition("@")[2]
        signer = open_signer(settings)
        parse_rates(settings.mail_rates)
        parse_warmup(settings.mail_warmup)
    except MycityError as error:
        yield str(error)
        return
    if signer is None:
        yield "Mails are not signed: make a key with `mycity mail dkim-new` and set MYCITY_DKIM_KEYS."
    elif not (sender == signer.domain or sender.endswith(f".{signer.domain}")):
        yield (
            f"MYCITY_DKIM_DOMAIN is {signer.domain}, but mails come from {sender}; "
            "large providers want both to be the same domain."
        )
    if not settings.mail_bounces:
        yield "Bounces go to the sender: set MYCITY_MAIL_BOUNCES to a domain whose mail you take in."
    elif not settings.bounce_url:
        yield (
            "Nobody reads bounces here: set MYCITY_BOUNCE_URL, or let the mail server pipe them into "
            "`mycity mail bounce -`."
        )
    if not settings.base_url.startswith("https://"):
        yield "MYCITY_BASE_URL is not https, so mailboxes will not offer to unsubscribe with one click."

"""Takes in what comes back by mail: bounces, complaints, and refusals on the spot; each becomes a receipt.

What follows for people is decided by :mod:`api.jobs.receipts`. A mail is put away after its receipt is
stored, so a process that is killed loses nothing, and taking one twice changes nothing. It never keeps the
mail, its words or an address. Called by the scheduler, ``mycity mail bounce`` and the mail channel's wiring.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import structlog

from api.wiring import Services
from delivery.bounce_reports import find_token, read_report
from delivery.bounces import Mailbox, open_mailbox
from delivery.types import Receipt
from feeds.kernel.errors import MycityError

_log = structlog.get_logger(__name__)
PROVIDER = "email"
_EACH_ROUND = 500


@dataclass(frozen=True, slots=True)
class MailroomReport:
    """What a round took in.

    Attributes:
        read: Mails looked at.
        verdicts: ``bounced``, ``failed``, ``complained``, ``delivered`` → mails.
        ignored: Automatic answers and other mails that report nothing.
        strange: Reports without a token of ours, and mails that nobody can read; left for a person.
    """

    read: int = 0
    verdicts: tuple[tuple[str, int], ...] = ()
    ignored: int = 0
    strange: int = 0


def take_one(services: Services, raw: bytes, *, recipient: str = "") -> str:
    """Take in one mail, e.g. from the mail server's pipe.

    Args:
        services: The joined parts.
        raw: As it arrived.
        recipient: The envelope's recipient, where the mail server tells it.

    Returns:
        The verdict, ``ignored`` for a mail that reports nothing, ``strange`` for a report that is not ours or
        cannot be read.
    """
    from api.jobs.receipts import take

    found = read_report(raw, services.key, recipient=recipient)
    if found.broken:
        return "strange"
    if found.verdict is None:
        return "ignored"
    if found.delivery_id is None:
        return "strange"
    number = f"d{found.delivery_id}"
    take(services, [Receipt(PROVIDER, "", found.verdict, services.clock.now(), found.code, number)])
    return found.verdict


def tick_mailroom(services: Services) -> MailroomReport:
    """Take in what waits in the mailbox of ``MYCITY_BOUNCE_URL``; nothing where none is set."""
    url = services.settings.bounce_url
    if not url or services.demo:
        return MailroomReport()
    box = open_mailbox(url)
    try:
        return take_all(services, box)
    finally:
        box.close()


def take_all(services: Services, box: Mailbox, *, limit: int = _EACH_ROUND) -> MailroomReport:
    """Take in at most ``limit`` mails of a mailbox."""
    found: Counter[str] = Counter()
    for mail in box.fetch(limit):
        verdict = take_one(services, mail.raw)
        found[verdict] += 1
        if verdict == "strange":
            box.leave(mail.name)
        else:
            box.done(mail.name)
    if found:
        _log.info("mailroom", **found)
    verdicts = tuple((name, n) for name, n in sorted(found.items()) if name not in ("ignored", "strange"))
    return MailroomReport(found.total(), verdicts, found["ignored"], found["strange"])


def refused(services: Services, message_id: str, code: str) -> None:
    """Note that a server refused an address for good while a mail was handed over.

    The row is still in its sender's hands; the receipt waits until it is written.
    """
    number = find_token([message_id], services.key)
    if number is None:
        return  # a mail without a row, e.g. of `mycity channels test`
    try:
        services.receipts.take(
            [Receipt(PROVIDER, "", "bounced", services.clock.now(), code, f"d{number}")], services.clock.now()
        )
    except MycityError as error:  # the refusal itself is recorded with the row
        _log.warning("refusal_not_kept", delivery=number, error=type(error).__name__)

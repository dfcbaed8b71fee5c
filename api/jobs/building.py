"""From claimed rows of the outbox to messages: prepares many at once, in a few queries for all of them.

One broken row spoils no other. It never sends, never writes the outbox (the caller fixes what was prepared)
and never decides what is worth telling. Kinds of messages register in :data:`MAKERS`, the forms of a digest
in :data:`COMPOSERS`. Called by ``api.jobs.sending``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from api.digest_views import DigestSurface
from api.jobs import copying
from api.jobs.recipients import Recipient, recipients
from api.wiring import Services
from delivery.bounce_reports import bounce_token, return_path
from delivery.compose import compose_confirmation, compose_mail, compose_sms
from delivery.errors import DeliveryError, PermanentError, RetryableError
from delivery.types import Delivery, Digest, MailMessage, Message, Prepared
from profiles.tokens import derived_secret
from profiles.types import Profile

_log = structlog.get_logger(__name__)

Maker = Callable[[Services, Sequence[Delivery]], list[Prepared]]
Composer = Callable[[Services, Delivery, Profile, Digest, str], Message]


def prepare(services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
    """Make the messages of claimed rows, in their order; one broken row spoils no other."""
    groups: dict[str, list[Delivery]] = {}
    for row in rows:
        groups.setdefault(kind_of(row), []).append(row)
    done: dict[int, Prepared] = {}
    for kind, part in groups.items():
        done |= {one.row.id: one for one in _made(services, kind, part)}
    missing = RetryableError("Nothing was prepared for this row; it is tried again.")
    return [done.get(row.id) or Prepared(row, error=missing) for row in rows]


def kind_of(row: Delivery) -> str:
    """What a row is to become; rows of old know only digests."""
    return str(row.recipe.get("kind", "digest"))


def build(services: Services, row: Delivery) -> Message | None:
    """Make one message; ``None`` where there is nothing to say.

    Raises:
        DeliveryError: What speaks against it, e.g. that the resident stopped the channel.
    """
    found = prepare(services, [row])[0]
    if found.error is not None:
        raise found.error
    return found.message


def _made(services: Services, kind: str, rows: Sequence[Delivery]) -> list[Prepared]:
    maker = MAKERS.get(kind)
    if maker is None:
        unknown = PermanentError(
            f"Nothing here makes messages of the kind {kind!r}; the row is of another version."
        )
        return [Prepared(row, error=unknown) for row in rows]
    try:
        return maker(services, rows)
    except Exception as error:
        if len(rows) == 1:
            return [Prepared(rows[0], error=_as_ours(error))]
        _log.warning("prepared_one_by_one", kind=kind, rows=len(rows), error=type(error).__name__)
        return [one for row in rows for one in _made(services, kind, [row])]


def _as_ours(error: Exception) -> DeliveryError:
    if isinstance(error, DeliveryError):
        return error
    return RetryableError(f"The message could not be prepared ({type(error).__name__}); it is tried again.")


# Messages

SURFACES: Mapping[str, DigestSurface] = {"sms": "sms", "webpush": "sms", "wechat": "sms", "apprise": "sms"}


def message_for(services: Services, row: Delivery, profile: Profile, digest: Digest, address: str) -> Message:
    """Give a digest the form of its row's channel.

    Raises:
        PermanentError: If no form is known for the channel, or the digest cannot have it.
    """
    composer = COMPOSERS.get(row.channel)
    if composer is None:
        raise PermanentError(f"No message can be written for the channel {row.channel!r}.")
    return composer(services, row, profile, digest, address)


def sender(services: Services) -> str:
    """Who writes our mails."""
    return services.settings.mail_from or f"notices@{services.authority}"


def message_id(services: Services, row: Delivery) -> str:
    """The Message-ID of a delivery: the same at every attempt; a bounce that quotes it is known by it."""
    return f"<d.{bounce_token(services.key, row.id)}@{services.authority}>"


def with_return_path(services: Services, row: Delivery, mail: MailMessage) -> MailMessage:
    """Name the address that this very mail bounces to, where bounces are taken in."""
    domain = services.settings.mail_bounces
    return replace(mail, envelope_from=return_path(services.key, row.id, domain)) if domain else mail


def _mail(services: Services, row: Delivery, profile: Profile, digest: Digest, address: str) -> Message:
    mail = compose_mail(
        digest,
        to=address,
        sender=sender(services),
        message_id=message_id(services, row),
        date=digest.window_end,
    )
    return with_return_path(services, row, mail)


def _sms(services: Services, row: Delivery, profile: Profile, digest: Digest, address: str) -> Message:
    return compose_sms(digest, to=address, out_id=f"d{row.id}", whom=copying.whom(services, row))


def _later(module: str, function: str) -> Composer:
    """A composer that is loaded when its channel is first used."""

    def compose(services: Services, row: Delivery, profile: Profile, digest: Digest, address: str) -> Message:
        made: Message = getattr(importlib.import_module(module), function)(
            services, row, profile, digest, address
        )
        return made

    return compose


COMPOSERS: dict[str, Composer] = {
    "email": _mail,
    "sms": _sms,
    "webhook": _later("api.jobs.webhook_building", "compose"),
    "webpush": _later("api.jobs.further", "compose"),
    "wechat": _later("api.jobs.further", "compose"),
    "apprise": _later("api.jobs.further", "compose"),
}


def _confirmations(services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
    """Ask whether an address is theirs; nothing to say once it was confirmed."""
    readers = recipients(services, rows, confirming=True)
    done = []
    for row in rows:
        reader = readers[row.id]
        if isinstance(reader, DeliveryError):
            done.append(Prepared(row, error=reader))
        elif reader.verified:
            done.append(Prepared(row, why="confirmed"))
        else:
            done.append(Prepared(row, _confirmation(services, row, reader)))
    return done


def _confirmation(services: Services, row: Delivery, reader: Recipient) -> Message:
    token = derived_secret(services.key, "confirm", row.profile_id, row.channel, reader.address)
    mail = compose_confirmation(
        services.city.name.of(row.recipe["lang"]),
        lang=row.recipe["lang"],
        url=f"{services.settings.base_url}/c/{token}",
        sample=bool(services.city.sample_mark),
        to=reader.address,
        sender=sender(services),
        message_id=message_id(services, row),
        date=row.due_at,
    )
    return with_return_path(services, row, mail)


def _maker(module: str) -> Maker:
    """The ``make`` of a module that is loaded when its kind first comes."""

    def make(services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
        made: list[Prepared] = importlib.import_module(module).make(services, rows)
        return made

    return make


MAKERS: dict[str, Maker] = {
    "digest": _maker("api.jobs.digest_building"),
    "confirm": _confirmations,
    "alert": _maker("api.jobs.alert_building"),
    "reply": _maker("api.jobs.reply_building"),
}

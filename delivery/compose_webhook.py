"""Gives a :class:`Digest` the form of a JSON document for another program, and signs it. Pure.

The same digest gives the same bytes. Sensitive or discreet content shrinks to a neutral sentence, as
in mail. It never sends, and knows neither the clock nor the database. Called by ``api.jobs``; the
channel calls :func:`sign` at the moment of sending.

Source: the Standard Webhooks specification (webhook-id, webhook-timestamp, webhook-signature v1).
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from delivery.errors import PermanentError
from delivery.types import Digest, EntryView, WebhookMessage
from delivery.wording import one_line, readable, words

PREFIX = "whsec_"
#: Of the shape of ``data``; grows when a field changes its meaning, not when one is added.
SCHEMA = 1


def compose_webhook(
    digest: Digest,
    *,
    to: str,
    secrets: Sequence[str],
    delivery_id: int,
    profile_id: int,
    kind: str = "digest",
) -> WebhookMessage:
    """Write the message of a digest.

    Args:
        digest: At least one entry.
        to: The address that its owner gave and proved.
        secrets: What it is signed with, newest first.
        delivery_id: The outbox row; names the message on every retry.
        profile_id: Whose address it is.
        kind: ``digest``, ``correction``, ``alert`` …; the message's type is ``notices.<kind>``.

    Raises:
        PermanentError: If the digest is empty, or there is no secret to sign with.
    """
    if not digest.entries:
        raise PermanentError("The digest has no entry; an empty message is never sent.")
    neutral = words(digest.lang)["neutral"]
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "city": one_line(digest.city_name),
        "lang": digest.lang,
        "sample": digest.sample,
        "discreet": digest.discreet,
        "window": {"start": _instant(digest.window_start), "end": _instant(digest.window_end)},
        "timezone": digest.timezone,
        "page_url": digest.page_url,
        "count": len(digest.entries),
        "note": neutral if digest.discreet else "",
        "entries": [] if digest.discreet else [_entry(entry, digest) for entry in digest.entries],
    }
    return message(
        f"notices.{kind}", data, at=digest.window_end, to=to, secrets=secrets,
        message_id=f"msg_d{delivery_id}", profile_id=profile_id, out_id=f"d{delivery_id}",
    )  # fmt: skip


def message(
    kind: str,
    data: Mapping[str, Any],
    *,
    at: datetime,
    to: str,
    secrets: Sequence[str],
    message_id: str,
    profile_id: int = 0,
    out_id: str = "",
) -> WebhookMessage:
    """Wrap any data as a message: ``{"type", "timestamp", "data"}``.

    Args:
        kind: The type, words separated by full stops.
        data: JSON values.
        at: What the message is about in time; not when it is sent.
        to: Where it goes.
        secrets: What it is signed with, newest first.
        message_id: The same on every retry.
        profile_id: Whose address it is.
        out_id: Our own reference.

    Raises:
        PermanentError: If there is no secret to sign with.
    """
    if not secrets:
        raise PermanentError("This webhook has no secret; a message is never sent without a signature.")
    body = json.dumps(
        {"type": kind, "timestamp": _instant(at), "data": data}, ensure_ascii=False, separators=(",", ":")
    )
    return WebhookMessage(
        to=to, message_id=message_id, body=body.encode(), secrets=tuple(secrets),
        profile_id=profile_id, out_id=out_id,
    )  # fmt: skip


def sign(message: WebhookMessage, at: datetime) -> dict[str, str]:
    """Return the three headers that sign a message when it is sent at this moment.

    One signature for each secret, separated by a space, so that a receiver may change its secret in time.

    Raises:
        PermanentError: If a secret is not ``whsec_`` and base64.
    """
    second = str(int(at.timestamp()))
    signed = b".".join((message.message_id.encode(), second.encode(), message.body))
    marks = [hmac.digest(secret_key(secret), signed, "sha256") for secret in message.secrets]
    return {
        "webhook-id": message.message_id,
        "webhook-timestamp": second,
        "webhook-signature": " ".join(f"v1,{b64encode(mark).decode()}" for mark in marks),
    }


def secret_key(secret: str) -> bytes:
    """Return the bytes of a ``whsec_…`` secret.

    Raises:
        PermanentError: If it is none; the text never repeats it.
    """
    try:
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    except (NotBase64, ValueError) as error:
        raise PermanentError("The secret of this webhook cannot be read; make a new one.") from error


def _entry(entry: EntryView, digest: Digest) -> dict[str, Any]:
    # What may not stand in a subject line may not stand in another program's log either.
    if entry.sensitive or entry.quiet_subject:
        return {"sensitive": True, "title": words(digest.lang)["neutral"], "url": digest.page_url}
    deadline = entry.deadline
    return {
        "sensitive": False,
        "id": entry.entry_id,
        "notice": entry.notice_id,
        "revision": entry.revision,
        "title": one_line(entry.title),
        "url": entry.url,
        "summary": one_line(entry.summary),
        "lang": entry.lang,
        "agency": one_line(entry.agency),
        "published": _instant(entry.published),
        "updated": _instant(entry.updated),
        "deadline": _instant(deadline) if deadline else None,
        "deadline_has_time": bool(deadline) and entry.deadline_has_time,
        "phone": one_line(entry.phone),
        "mark": entry.mark,
        "mark_note": one_line(entry.mark_note),
        "reasons": [one_line(reason) for reason in entry.reasons if reason.strip()],
        "tags": [readable(tag) for tag in entry.tags],
        "source": {"name": one_line(entry.source_name), "url": entry.source_url, "licence": entry.licence},
        "also": [{"name": one_line(who.name), "url": who.url} for who in entry.also],
    }


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

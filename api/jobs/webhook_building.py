"""Composes the message of a webhook for the outbox: a digest, signed with its owner's secrets.

Sends nothing. Called by ``api.jobs.building`` for rows of the channel ``webhook``.
"""

from __future__ import annotations

from api.wiring import Services
from delivery.compose_webhook import compose_webhook
from delivery.errors import SuppressedError
from delivery.types import Delivery, Digest, WebhookMessage
from profiles.types import Profile

#: How an outbox row's key begins → the last word of the message's type; else it is a digest.
KINDS = {"fix": "correction", "alert": "alert"}


def compose(
    services: Services, row: Delivery, profile: Profile, digest: Digest, address: str
) -> WebhookMessage:
    """Write one message.

    Raises:
        SuppressedError: If the webhook was taken away or ended since the row was planned.
        PermanentError: If the digest is empty.
    """
    held = services.webhooks.get(row.profile_id, now=services.clock.now())
    if held is None or held.ended_at is not None:
        raise SuppressedError("The webhook was stopped.")
    return compose_webhook(
        digest,
        to=address,
        secrets=held.secrets,
        delivery_id=row.id,
        profile_id=profile.id,
        kind=KINDS.get(row.dedupe_key.partition(":")[0], "digest"),
    )

"""Queues short answers: what is said to whom is a row of the outbox, the number stands elsewhere.

Builds no text and sends nothing (``api.jobs.reply_building`` writes the message when it is due). The same
key queues once. Called by ``inbound``, ``phones``, ``copying`` and ``people``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from api.wiring import Services
from delivery.types import NewDelivery
from delivery.windows import allowed_at

Template = Literal[
    "welcome", "unplaced", "already", "stopped", "help", "kept", "still", "code", "copyask", "copyon",
    "copyoff", "copyend",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Attributes:
        key: Unique; the dedupe key is made of it.
        number: Whose phone it is for. Not kept; the row is bound to its blind index and never goes elsewhere.
        profile_id: Whose matter it is; 0 for somebody we do not know.
        inbound: Goes to the sender of this text; else ``copy`` says to which copy's address; else it
            goes to the profile's own phone.
        code: Number of the code it shows.
        life: After this it is of no use.
        patient: Nobody waits for it: it keeps quiet hours.
    """

    key: str
    template: Template
    lang: str
    number: str = field(kw_only=True)
    profile_id: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    inbound: int = 0
    copy: int = 0
    code: int = 0
    life: timedelta = timedelta(hours=2)
    patient: bool = False


def queue(services: Services, reply: Reply) -> bool:
    """Put an answer into the outbox; return whether it is new."""
    now = services.clock.now()
    due = allowed_at("sms", now, services.zone) if reply.patient else now
    recipe: dict[str, object] = {"kind": "reply", "template": reply.template, "lang": reply.lang}
    recipe["params"] = dict(reply.params)
    bound = services.contacts.index_of("sms", reply.number)
    more = {"inbound": reply.inbound, "copy_id": reply.copy, "code": reply.code, "bound": bound}
    recipe |= {name: value for name, value in more.items() if value}
    row = NewDelivery(
        dedupe_key=f"reply:{reply.key}",
        profile_id=reply.profile_id,
        channel="sms",
        lane="confirmation",
        due_at=due,
        expires_at=due + reply.life,
        recipe=recipe,
    )
    return services.outbox.enqueue([row], now) > 0

"""To whom claimed rows go: residents and those who get a copy; asked for many rows at once.

It looks once more whether they still want it, whatever was planned. It writes nothing and never logs an
address. Called by ``api.jobs.building`` and the makers of messages beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.wiring import Services
from delivery.errors import DeliveryError, SuppressedError
from delivery.types import Delivery
from profiles.standing import standing
from profiles.types import Profile

# The channel of a demo and of tests, which keeps messages in files and reaches nobody.
_CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Recipient:
    """To whom a row goes: a resident, or whoever gets a copy of what they get.

    Attributes:
        copy: Number of the copy's recipient, or ``None``.
    """

    profile: Profile
    address: str
    verified: bool
    copy: int | None = None


def recipients(
    services: Services, rows: Sequence[Delivery], *, confirming: bool = False
) -> dict[int, Recipient | DeliveryError]:
    """Tell for each row (by its id) who gets it, or what speaks against it.

    Args:
        services: The joined parts.
        rows: Any channels.
        confirming: The message asks for the confirmation itself, so an unconfirmed address will do.
    """
    profiles = {profile.id: profile for profile in services.profiles.many(row.profile_id for row in rows)}
    pairs = sorted({(row.profile_id, row.channel) for row in rows})
    contacts = services.contacts.many(pairs)
    live = _live(services, pairs)
    copies = _copies(services, rows)
    found: dict[int, Recipient | DeliveryError] = {}
    for row in rows:
        pair = (row.profile_id, row.channel)
        profile, contact = profiles.get(row.profile_id), contacts.get(pair)
        number = row.recipe.get("copy")
        if profile is None:
            found[row.id] = SuppressedError("The profile was erased.")
        elif number is not None:
            address = copies.get(number, "")
            gone = SuppressedError("The copy was stopped.")
            found[row.id] = Recipient(profile, address, True, number) if address else gone
        elif pair not in live or contact is None:
            found[row.id] = SuppressedError(f"The channel {row.channel} was stopped.")
        elif not confirming and contact.verified_at is None and not _reaches_nobody(services, row.channel):
            found[row.id] = SuppressedError("The address was replaced and is not confirmed.")
        else:
            found[row.id] = Recipient(profile, contact.address, contact.verified_at is not None)
    return found


def _live(services: Services, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Which of (profile id, channel) have a live subscription."""
    with services.database.read() as connection:
        return {pair for pair, found in standing(connection, pairs).items() if found.live}


def _copies(services: Services, rows: Sequence[Delivery]) -> Mapping[int, str]:
    """Copy number → address, of those that are still wanted."""
    wanted = sorted({row.recipe["copy"] for row in rows if row.recipe.get("copy") is not None})
    if not wanted:
        return {}
    found = services.copies.many(wanted)
    return {number: copy.address for number, copy in found.items()}


def _reaches_nobody(services: Services, channel: str) -> bool:
    port = services.channels.get(channel)
    return port is None or port.name == _CAPTURE

"""Makes the messages of queued answers: finds the number, asks what speaks against it, writes the text.

An answer goes to whoever wrote to us, even if their number is suppressed (they are told that it is); what
nobody asked for never does. Sends nothing. Called by ``api.jobs.building`` for rows of the kind ``reply``.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.wiring import Services
from delivery.compose_reply import compose_reply
from delivery.errors import DeliveryError, SuppressedError
from delivery.types import Delivery, Prepared
from profiles.codes import CODE_LIFE


def make(services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
    """Prepare answers; one that has become pointless is skipped with its reason."""
    numbers = _Numbers(services, rows)
    done = []
    for row in rows:
        try:
            done.append(_prepared(services, row, numbers))
        except DeliveryError as error:
            done.append(Prepared(row, error=error))
    return done


def _prepared(services: Services, row: Delivery, numbers: _Numbers) -> Prepared:
    recipe = row.recipe
    params = dict(recipe.get("params", {}))
    number = numbers.of(row)
    asked_for = "inbound" in recipe
    if not asked_for and services.suppressions.holds("sms", number, services.clock.now()):
        raise SuppressedError("The number wants nothing.")
    if why := _pointless(services, row):
        return Prepared(row, why=why)
    if "code" in recipe:
        code = services.codes.get(recipe["code"], number)
        if code is None or services.clock.now() >= code.made_at + CODE_LIFE:
            return Prepared(row, why="over")
        params["code"] = code.digits
    city = services.city
    message = compose_reply(
        recipe["template"],
        params,
        lang=recipe["lang"],
        signature=city.sms_signature,
        link=services.settings.sms_link,
        sample=bool(city.sample_mark),
        to=number,
        out_id=f"d{row.id}",
    )
    return Prepared(row, message)


def _pointless(services: Services, row: Delivery) -> str:
    """Why an answer that was queued need not go out any more, or ``""``."""
    template = row.recipe["template"]
    if template == "copyask":
        copy = services.copies.get(row.recipe["copy_id"])
        return "confirmed" if copy is None or copy.confirmed_at or copy.ended_at else ""
    if template == "code":
        contact = services.contacts.get(row.profile_id, "sms")
        return "confirmed" if contact is None or contact.verified_at else ""
    if template == "still":
        contact = services.contacts.get(row.profile_id, "sms")
        return "confirmed" if contact is None or contact.verified_at else ""
    return ""


class _Numbers:
    """The numbers of a batch, read in a few queries."""

    def __init__(self, services: Services, rows: Sequence[Delivery]) -> None:
        self._services = services
        self._inbound = services.inbox.many(row.recipe["inbound"] for row in rows if "inbound" in row.recipe)
        own = {(r.profile_id, "sms") for r in rows if "inbound" not in r.recipe and "copy_id" not in r.recipe}
        self._contacts = services.contacts.many(own) if own else {}

    def of(self, row: Delivery) -> str:
        """The number a row goes to.

        Raises:
            SuppressedError: If it is not known any more, or is not the one that was meant.
        """
        if "inbound" in row.recipe:
            found = self._inbound.get(row.recipe["inbound"])
            number = found.number if found else ""
        elif "copy_id" in row.recipe:
            copy = self._services.copies.get(row.recipe["copy_id"])
            number = copy.address if copy else ""
        else:
            contact = self._contacts.get((row.profile_id, "sms"))
            number = contact.address if contact else ""
        if not number:
            raise SuppressedError("The number is not kept any more.")
        if self._services.contacts.index_of("sms", number) != row.recipe.get("bound"):
            raise SuppressedError("The number was replaced; the answer was for the one before.")
        return number

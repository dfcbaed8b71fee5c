"""What comes back from providers: texts that residents sent, and numbers in one form. Pure.

The adapters fill these in; ``api`` acts on them. Called by ``delivery.channels.*``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any, Literal

from delivery.sms_errors import BadCallbackError
from delivery.types import Receipt

BEIJING = timezone(timedelta(hours=8))  # the time in which domestic providers write
# What ``ask`` returns where the provider has answered and surely never saw the text.
Unheard = Literal["unheard"]
UNHEARD: Unheard = "unheard"
# A provider's list of texts may lag behind; only after this long its silence means "never seen".
LISTED_AFTER = timedelta(minutes=15)
_MOST_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Inbound:
    """A text that somebody sent to our number.

    Attributes:
        ref: The same if the provider tells us twice.
        from_number: E.164.
        to: The number or extension it was sent to, as the provider writes it.
    """

    provider: str
    ref: str
    from_number: str
    text: str
    at: datetime
    to: str = ""


Events = tuple[list[Receipt], list[Inbound]]
OnEvent = Callable[[Sequence[Receipt], Sequence[Inbound]], None]


def e164(number: str, nation: str = "") -> str:
    """Write a number as ``+86…``: domestic ones come bare, others with 00 or without a plus.

    Args:
        number: As the provider wrote it.
        nation: The country's number where the provider gives it apart.
    """
    digits = "".join(char for char in number if char.isdigit())
    if not digits:
        return ""
    if nation.strip("+"):
        return f"+{nation.strip('+')}{digits}"
    if number.strip().startswith("+"):
        return f"+{digits}"
    digits = digits.removeprefix("00")
    return f"+86{digits}" if len(digits) == 11 and digits.startswith("1") else f"+{digits}"


def invented_ref(*values: str) -> str:
    """A reference for texts to which the provider gives none, from what they say."""
    return blake2b("\x1f".join(values).encode("utf-8", "replace"), digest_size=12).hexdigest()


def instant(text: object, otherwise: datetime) -> datetime:
    """Read ``2026-10-12 09:00:00`` as Beijing's time, or seconds since 1970."""
    try:
        if isinstance(text, int | float):
            return datetime.fromtimestamp(text, UTC)
        return datetime.strptime(str(text)[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return otherwise


def json_items(body: bytes, provider: str) -> list[Mapping[str, Any]]:
    """Read a callback's JSON: a list of objects, or one.

    Raises:
        BadCallbackError: If it is neither.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadCallbackError(f"The call of {provider} is not JSON; nothing was taken from it.") from error
    items = value if isinstance(value, list) else [value]
    if len(items) > _MOST_ITEMS or not all(isinstance(item, dict) for item in items):
        raise BadCallbackError(f"The call of {provider} is not a list of at most {_MOST_ITEMS} reports.")
    return items

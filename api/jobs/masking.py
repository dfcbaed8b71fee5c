"""Masks addresses for operators: their owner recognises them, nobody else can use them. Pure.

What is shown is a share of the address, so that a short one is not left almost whole. Called by
``api.jobs.outbox_answers`` and ``api.jobs.alert_proof``, and so by the desk's pages, tables and commands.
"""

from __future__ import annotations

import phonenumbers

HIDDEN = "****"


def masked(channel: str, address: str) -> str:
    """Mask an address.

    Args:
        channel: A mail address and a phone number show a little; of any other channel nothing is shown.
        address: As it is kept; ``""`` stays so.

    Returns:
        ``z***@m***.example``, ``+86****01``, or stars alone.
    """
    if not address:
        return ""
    if channel == "email":
        local, _, domain = address.rpartition("@")
        name, _, top = domain.rpartition(".")
        return f"{_first(local)}***@{_first(name)}***.{top}"
    return _phone(address) if channel == "sms" else HIDDEN


def _first(word: str) -> str:
    """The first letter, where that is no more than half."""
    return word[:1] if len(word) > 1 else ""


def _phone(address: str) -> str:
    """The country's code and the last two digits; of a number below eight digits only a quarter."""
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return HIDDEN
    national = phonenumbers.national_significant_number(number)
    shown = min(2, len(national) // 4)
    return f"+{number.country_code}{HIDDEN}{national[len(national) - shown :]}"

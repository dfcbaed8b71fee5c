"""What a message centre says in words and numbers: receipts, states, errors, kinds of numbers. Pure.

Called by ``delivery.channels.smpp``.

Source: SMPP Protocol Specification 3.4, sections 5.1.3 and 5.2, appendix B for the text of receipts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from delivery.channels import smpp_pdu as pdu
from delivery.channels.smpp_pdu import Short
from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError
from delivery.sms_errors import RefusedNumberError
from delivery.types import Receipt, ReceiptState

NAME = "smpp"
BUSY = (pdu.THROTTLED, pdu.QUEUE_FULL)
_LATER = (0x04, 0x08, 0x0D, 0x0E, 0x0F, 0x45, 0x64, 0xFF)  # our session or their trouble, not this message
_FIELD = re.compile(r"\b(id|stat|err):\s*(\S+)", re.IGNORECASE)
_UNDER_WAY = ("ENROUTE", "ACCEPTD", "UNKNOWN", "BUFFRED")


def read_receipt(short: Short, now: datetime) -> Receipt | None:
    """Read a receipt: its optional parameters if they are there, else its text.

    Returns:
        ``None`` for one that only says "on its way".
    """
    text = pdu.text_of(short.data, short.coding)
    said: Mapping[str, str] = {name.lower(): value for name, value in _FIELD.findall(text)}
    ref = short.options.get(pdu.TAG_RECEIPTED_ID, b"").rstrip(b"\0").decode("latin-1") or said.get("id", "")
    number = short.options.get(pdu.TAG_MESSAGE_STATE, b"")
    word = pdu.STATES.get(number[0], "UNKNOWN") if number else said.get("stat", "UNKNOWN").upper()
    state = state_of(word)
    if not ref or state is None:
        return None
    code = said.get("err", "")[:12]
    return Receipt(NAME, ref, state, now, word if state == "delivered" else f"{word} {code}".strip())


def classify(status: int) -> DeliveryError:
    """Name the error that a status other than 0 means."""
    name = pdu.ERRORS.get(status, f"0x{status:X}")
    note = f"The message centre answered {name}"
    if status in BUSY:
        return ThrottledError(f"{note}: slow down.", 2)
    if status == 0x0B:
        return RefusedNumberError(f"{note}: no such number.", "invalid")
    if status in _LATER:
        return RetryableError(f"{note}; it is tried again.")
    return PermanentError(f"{note}; it will not take this message.")


def state_of(word: str) -> ReceiptState | None:
    """Read a state's word; ``None`` for one that is not the last."""
    if word.startswith("DELIV"):
        return "delivered"
    return None if word.startswith(_UNDER_WAY) else "failed"


def type_of(source: str) -> tuple[int, int]:
    """Type of number and numbering plan: a word, an international number, or the network's own."""
    if source.startswith("+"):
        return (1, 1)
    return (0, 0) if source.isdecimal() or not source else (5, 0)

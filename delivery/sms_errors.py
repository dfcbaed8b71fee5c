"""An error that says something about a number, not only about one message. Pure data.

Raised by the adapters of text message providers, acted on by ``delivery.sms_pool``.
"""

from __future__ import annotations

from typing import Literal

from delivery.errors import PermanentError
from feeds.kernel.errors import MycityError

Reason = Literal["invalid", "opted_out"]


class RefusedNumberError(PermanentError):
    """The provider will never deliver to this number.

    Args:
        message: One sentence without the number.
        reason: ``invalid`` (no such number, no mobile phone) or ``opted_out`` (on the provider's list
            of those who refused).
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class ForgedCallbackError(MycityError):
    """A call to one of our hooks is not signed by the provider; nothing in it was believed."""


class BadCallbackError(MycityError):
    """A call to one of our hooks cannot be read."""

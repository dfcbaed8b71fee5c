"""Why a message could not be sent; the type alone decides whether it is tried again.

DeliveryError
├── RetryableError        the provider is busy or unreachable; try again by ``delivery.retry``
│   └── ThrottledError    not now: a bucket is empty, or the provider asks for patience; costs no attempt
├── PermanentError        this message will never be accepted; trying again would only annoy
│   └── DeadAddressError  the address itself does not exist: what a bounce would say later
├── SuppressedError       the recipient has stopped this channel since the row was planned
└── UnknownOutcomeError   the line broke after the content was handed over; it may have arrived
"""

from __future__ import annotations

from feeds.kernel.errors import MycityError


class DeliveryError(MycityError):
    """A message could not be sent."""


class RetryableError(DeliveryError):
    """The provider is busy or unreachable; a later attempt may succeed."""


class ThrottledError(RetryableError):
    """Not now, but soon: the row goes back and the attempt does not count.

    Args:
        message: One sentence for the log.
        seconds: How long to wait at least.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class PermanentError(DeliveryError):
    """This message will never be accepted."""


class DeadAddressError(PermanentError):
    """The address does not exist; nothing more should be sent to it.

    Args:
        message: One sentence for the log, without the address.
        code: The status the server gave, e.g. ``5.1.1``.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class SuppressedError(DeliveryError):
    """The recipient has stopped this channel."""


class UnknownOutcomeError(DeliveryError):
    """The line broke after the content was handed over; the message may have arrived."""

"""The channel ``sms``: reserves the money, chooses the provider, sends, and puts the money right.

A text that a provider surely did not take goes to the next one at once; one that may have been taken
goes nowhere until somebody knows. Its accounts are in the database (never open while a provider is
called); it never reads a resident. Called by ``delivery.sending`` and ``api.jobs``.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from delivery.errors import (
    DeliveryError,
    PermanentError,
    RetryableError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.sms_budget import Attempt, Outcome, Pot, SmsBudget
from delivery.sms_errors import RefusedNumberError
from delivery.sms_inbound import UNHEARD, Inbound, OnEvent, Unheard
from delivery.sms_scales import SmsScales
from delivery.sms_templates import Provider
from delivery.sms_text import split
from delivery.sms_weights import choose_order
from delivery.types import Accepted, Message, Receipt, SmsMessage
from feeds.kernel.time import Clock

_ALERT = re.compile(r"^(?:alert|update|cancel)-")
_OURS = re.compile(r"^d[0-9]+$")
_FRESH = timedelta(seconds=15)
_LOST = timedelta(minutes=5)  # a process that has not recorded an answer by then is not there any more
Found = Receipt | Accepted | Unheard | None


class ProviderPort(Protocol):
    """One provider: a channel that can be asked."""

    name: str

    def send(self, message: Message) -> Accepted:
        """Hand over one text."""

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Receipt | Unheard | None:
        """Say what became of a text; ``None``: not known."""

    def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True, slots=True)
class Member:
    """A provider and what the operator's file says of it."""

    port: ProviderPort
    terms: Provider


class SmsPool:
    """Hands texts to one of several providers. Safe to call from several threads.

    Args:
        members: Name → provider.
        budget: Where money is reserved.
        scales: Where the weights are kept.
        clock: Tells months and times.
        seed: Of the choice; ``None``: another one each time.
        on_event: Told of receipts (also of numbers that a provider refuses) and of residents' texts.
        index_of: The blind index of a number; with it nobody is asked about another number than the one
            that a text went to.
    """

    name = "sms"

    def __init__(
        self,
        members: Mapping[str, Member],
        budget: SmsBudget,
        scales: SmsScales,
        *,
        clock: Clock,
        seed: int | None = None,
        on_event: OnEvent | None = None,
        index_of: Callable[[str], str] = lambda _number: "",
    ) -> None:
        self._members, self._budget, self._scales, self._clock = dict(members), budget, scales, clock
        self._random = random.Random(seed)  # noqa: S311
        self._guard = threading.Lock()
        self._weights: tuple[datetime, Mapping[str, int]] | None = None
        self.on_event = on_event
        self._index_of = index_of

    @property
    def providers(self) -> dict[str, Provider]:
        """What the operator's file says of each."""
        return {name: member.terms for name, member in self._members.items()}

    def port(self, name: str) -> ProviderPort | None:
        """One provider's adapter."""
        member = self._members.get(name)
        return member.port if member else None

    def send(self, message: Message) -> Accepted:
        """Hand over one text through one provider.

        A text that was taken before (the process died before that was written down) is not sent again.

        Raises:
            RefusedNumberError, PermanentError: No provider will ever take it.
            ThrottledError: The month's money is used up, or a provider asks for patience.
            RetryableError: No provider could be reached.
            UnknownOutcomeError: It may have been taken, now or at an earlier attempt.
        """
        if not isinstance(message, SmsMessage):
            raise PermanentError("The SMS channel was given a message that is not a text.")
        earlier = self._budget.attempts(message.out_id) if _OURS.match(message.out_id) else []
        if (taken := _taken_before(earlier)) is not None:
            return taken
        failed = {attempt.provider for attempt in earlier}
        errors: list[RetryableError] = []
        for name in self._order(message, failed):
            try:
                return self._through(name, message)
            except RetryableError as error:
                errors.append(error)
        raise min(errors, key=_patience)

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Found:
        """Ask about a text that may have been taken.

        Returns:
            A receipt; that it was taken, where only that is known; ``"unheard"`` if surely no provider took
            it; ``None`` if nobody can tell yet, or it went to another number than ``to``: then it is for a
            person to decide.
        """
        earlier = self._budget.attempts(out_id)
        now = self._clock.now()
        if all(attempt.outcome in _NOTHING_TAKEN for attempt in earlier):
            # Nothing was ever handed over; a process that is just about to would have reserved by now.
            return UNHEARD if now - sent_at > _LOST else None
        last = earlier[-1]
        if last.outcome == "" and now - last.at < _LOST:
            return None
        if last.number_index and last.number_index != self._index_of(to):
            return None
        # The process died between the provider's answer and the outbox.
        taken = Accepted(last.provider, last.provider_ref) if last.outcome in _TAKEN else None
        member = self._members.get(last.provider)
        if member is None:
            return taken
        found = member.port.ask(out_id, last.provider_ref or provider_ref, to, last.at)
        if isinstance(found, Receipt):
            self._budget.noted([found], now)
        elif found == UNHEARD and last.is_open:
            self._budget.settle(last.id, "unheard", at=now)
        else:
            return taken
        return found

    def noted(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Account for receipts; returns those to act on, with our own reference where it is known."""
        return self._budget.noted(receipts, self._clock.now())

    def received(self, receipts: Sequence[Receipt], texts: Sequence[Inbound]) -> None:
        """Take what a provider sends us: account for it, join parts, hand it on."""
        whole = self.noted(receipts)
        if self.on_event is not None and (whole or texts):
            self.on_event(whole, texts)

    def listen(self) -> None:
        """Open what receives receipts and texts by itself (SMPP)."""
        for member in self._members.values():
            listen = getattr(member.port, "listen", None)
            if listen is not None:
                listen()

    def close(self) -> None:
        """Release every provider's connections."""
        for member in self._members.values():
            member.port.close()

    def _order(self, message: SmsMessage, failed: set[str]) -> list[str]:
        fit = [name for name, member in self._members.items() if member.terms.carries(message)]
        if not fit:
            raise PermanentError(
                f"No provider has a price for this number's country and the template {message.template_id}; "
                "see `mycity sms templates`."
            )
        with self._guard:
            return choose_order(fit, self._current(), self._random, last=failed)

    def _current(self) -> Mapping[str, int]:
        now = self._clock.now()
        if self._weights is None or not timedelta() <= now - self._weights[0] < _FRESH:
            written = self._scales.current().weights
            rest = {name: member.terms.weight for name, member in self._members.items()}
            self._weights = (now, {name: written.get(name, weight) for name, weight in rest.items()})
        return self._weights[1]

    def _through(self, name: str, message: SmsMessage) -> Accepted:
        """One attempt by one provider, with its money reserved before and settled after."""
        member = self._members[name]
        attempt = self._reserve(member, message)
        try:
            accepted = member.port.send(message)
        except DeliveryError as error:
            self._settle(attempt, _outcome(error))
            if isinstance(error, RefusedNumberError):
                self._refused(name, message, error)
            raise
        except Exception as error:  # a fault of ours, and nobody knows how far it came
            self._settle(attempt, "unknown")
            raise UnknownOutcomeError(
                f"The text may have been taken; {type(error).__name__} came between."
            ) from error
        self._settle(attempt, "accepted", ref=accepted.ref, segments=_billed(accepted))
        return Accepted(name, accepted.ref, accepted.note)

    def _reserve(self, member: Member, message: SmsMessage) -> int:
        price = member.terms.price(message.to)
        if price is None:
            raise PermanentError("There is no price for this number's country.")
        # The parts in which it travels: a character that would straddle two of them may make one more.
        segments = max(message.segments, len(split(message.text, message.to.startswith("+86"))))
        now = self._clock.now()
        attempt = self._budget.reserve(
            message.out_id, member.terms.name, pot_of(message), price=price, segments=segments, at=now,
            number_index=self._index_of(message.to),
        )  # fmt: skip
        if attempt is None:
            raise ThrottledError(
                "The month's money for text messages is used up; raise MYCITY_SMS_BUDGET or wait.",
                (self._budget.next_month(now) - now).total_seconds(),
            )
        return attempt

    def _settle(self, attempt: int, outcome: Outcome, *, ref: str = "", segments: int = 0) -> None:
        """Record it; if that fails the reservation stays, which errs on the safe side."""
        early: Receipt | None = None
        with contextlib.suppress(Exception):
            early = self._budget.settle(attempt, outcome, at=self._clock.now(), ref=ref, segments=segments)
        if early is not None:
            self._tell(early)

    def _refused(self, name: str, message: SmsMessage, error: RefusedNumberError) -> None:
        """A number that never works is like a mailbox that is not there: its resident is told."""
        state: Literal["bounced", "complained"] = "bounced" if error.reason == "invalid" else "complained"
        self._tell(Receipt(name, "", state, self._clock.now(), error.reason, message.out_id))

    def _tell(self, receipt: Receipt) -> None:
        if self.on_event is not None:
            with contextlib.suppress(Exception):
                self.on_event([receipt], [])


_TAKEN = ("accepted", "delivered")
_NOTHING_TAKEN = ("throttled", "retry", "refused", "unheard")


def pot_of(message: SmsMessage) -> Pot:
    """Whether a text may use the money that is kept for alerts."""
    return "alert" if _ALERT.match(message.template_id) else "calm"


def _taken_before(earlier: Sequence[Attempt]) -> Accepted | None:
    """What an earlier attempt came to, if another one must not be made.

    Raises:
        UnknownOutcomeError: If it may have been taken.
    """
    for attempt in reversed(earlier):
        if attempt.outcome in _TAKEN:
            return Accepted(attempt.provider, attempt.provider_ref, "taken at an earlier attempt")
        if attempt.is_open:
            raise UnknownOutcomeError(
                "An earlier attempt may have been taken; `mycity sms resend` sends it all the same."
            )
    return None


def _outcome(error: DeliveryError) -> Outcome:
    if isinstance(error, UnknownOutcomeError):
        return "unknown"
    if isinstance(error, ThrottledError):
        return "throttled"
    return "retry" if isinstance(error, RetryableError) else "refused"


def _patience(error: RetryableError) -> float:
    return error.seconds if isinstance(error, ThrottledError) else 0.0


def _billed(accepted: Accepted) -> int:
    found = re.fullmatch(r"segments=([0-9]{1,3})", accepted.note)
    return int(found[1]) if found else 0

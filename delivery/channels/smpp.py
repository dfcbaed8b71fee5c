"""Texts over SMPP 3.4: one connection kept open, long texts in parts, receipts and answers received.

The connection is made by the first use, kept alive, and made anew with growing pauses when it
breaks. The moment a submission has left, silence means "may have been taken", not "try again". It
never reads the database; what comes in goes to ``on_event``. Called by ``delivery.sms_pool``.

Source: SMPP Protocol Specification 3.4.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

from delivery.channels import smpp_pdu as pdu
from delivery.channels.smpp_pdu import Packet, Short
from delivery.channels.smpp_session import Session
from delivery.channels.smpp_words import BUSY, classify, read_receipt, state_of, type_of
from delivery.errors import (
    DeliveryError,
    PermanentError,
    RetryableError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.sms_inbound import Events, Inbound, OnEvent, e164, invented_ref
from delivery.types import Accepted, Message, Receipt, ReceiptState, SmsMessage
from feeds.kernel.errors import UsageError
from feeds.kernel.time import Clock, SystemClock

_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_PART_PAUSES = (0.1, 0.3, 1.0, 2.0)
_PART_LIFE = timedelta(minutes=5)
_QUIET_SECONDS = 30.0
_IS_RECEIPT = 0x04  # of esm_class: a receipt of the message centre


@dataclass(frozen=True, slots=True)
class SmppAddress:
    """Where and how to bind.

    Attributes:
        source: The number or word that texts come from; providers at home give it.
        window: Submissions under way at once.
        rate: Most submissions a second that the provider allows; 0: as fast as it takes them.
        hex_ids: The provider writes ids hexadecimal in its answers and decimal in receipts.
    """

    host: str
    port: int
    user: str
    password: str
    tls: bool
    source: str
    window: int
    rate: float
    hex_ids: bool


def parse_smpp_url(url: str) -> SmppAddress:
    """Read ``smpp://user:password@host:2775?source=1069…&window=10`` (``smpps`` with TLS).

    Raises:
        UsageError: If it is not such an address; the message holds no password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        window, rate = int(given.get("window", "10")), float(given.get("rate", "0"))
    except ValueError:
        parts, port, given, window, rate = urlsplit(""), None, {}, 0, 0.0
    if parts.scheme not in ("smpp", "smpps") or not parts.hostname or not 1 <= window <= 1000 or rate < 0:
        raise UsageError(
            "Write the message centre's address as "
            "smpp://user:password@host:2775?source=1069…&window=10&rate=50 (smpps:// with TLS)."
        )
    tls = parts.scheme == "smpps"
    return SmppAddress(
        host=parts.hostname, port=port or (3550 if tls else 2775), user=unquote(parts.username or ""),
        password=unquote(parts.password or ""), tls=tls, source=given.get("source", ""), window=window,
        rate=rate, hex_ids=given.get("ids") == "hex",
    )  # fmt: skip


class SmppChannel:
    """Hands texts to one message centre. Safe to call from several threads.

    Args:
        url: See :func:`parse_smpp_url`.
        on_event: Told of receipts and of texts that residents sent; called from a thread of its own.
            If it raises, the message centre is asked to send them again.
        clock: Stamps what comes in.
        connect_seconds: Patience for connecting and binding.
        answer_seconds: Patience for the answer to a submission.
        quiet_seconds: After so long without a sign of life it is asked for one.
        context: For TLS; the default verifies the certificate.
        pauses: Between attempts to connect; the last one is repeated.
        calm_seconds: How long nothing is sent after the message centre said "too fast".
    """

    name = "smpp"

    def __init__(
        self,
        url: str,
        *,
        on_event: OnEvent | None = None,
        clock: Clock | None = None,
        connect_seconds: float = 10.0,
        answer_seconds: float = 30.0,
        quiet_seconds: float = _QUIET_SECONDS,
        context: ssl.SSLContext | None = None,
        pauses: Sequence[float] = _PAUSES,
        calm_seconds: float = 1.0,
    ) -> None:
        self._at = parse_smpp_url(url)
        self.on_event = on_event
        self._clock = clock or SystemClock()
        self._connect_seconds, self._answer_seconds = connect_seconds, answer_seconds
        self._quiet_seconds, self._pauses, self._context = quiet_seconds, pauses, context
        self._calm_seconds = calm_seconds
        self._state = threading.Condition()
        self._session: Session | None = None
        self._failure: RetryableError | None = None
        self._keeper: threading.Thread | None = None
        self._stop = threading.Event()
        self._reference = random.randrange(256)  # noqa: S311
        self._not_before = self._next_slot = 0.0
        self._pieces: dict[tuple[str, str, int, int], tuple[datetime, dict[int, str]]] = {}

    def listen(self) -> None:
        """Connect and stay connected, so that receipts and answers arrive without anything being sent."""
        with self._state:
            if self._keeper is None or not self._keeper.is_alive():
                self._stop.clear()
                self._keeper = threading.Thread(target=self._keep, name="smpp-keep", daemon=True)
                self._keeper.start()

    def send(self, message: Message) -> Accepted:
        """Submit one text, in as many parts as it needs.

        Returns:
            With the ids of all parts, joined by commas, in order.

        Raises:
            RefusedNumberError: No such number.
            PermanentError: Refused for good.
            ThrottledError: Slow down.
            RetryableError: Not connected, name or password refused, or trouble over there.
            UnknownOutcomeError: It left and no answer came, or only some parts were taken.
        """
        if not isinstance(message, SmsMessage):
            raise PermanentError("The SMPP channel was given a message that is not a text.")
        domestic = message.to.startswith("+86")
        with self._state:
            self._reference = (self._reference + 1) % 256
            reference = self._reference
        parts = pdu.parts_of(message.text, reference, domestic=domestic)
        session = self._ready()
        ids: list[str] = []
        for part in parts:
            try:
                ids.append(self._submit_part(session, message.to, part, first=not ids))
            except DeliveryError as error:
                if not ids:
                    raise
                raise UnknownOutcomeError(
                    f"Only {len(ids)} of {len(parts)} parts were taken; then: {error}"
                ) from error
        return Accepted(self.name, ",".join(ids))

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Receipt | None:
        """Ask what became of a text; possible only if its ids are known."""
        states = [self._query(ref) for ref in provider_ref.split(",") if ref]
        if not states or None in states:
            return None
        state: ReceiptState = "delivered" if set(states) == {"delivered"} else "failed"
        return Receipt(self.name, provider_ref, state, self._clock.now(), "", out_id)

    def close(self) -> None:
        """Say good-bye and close; a later ``send`` connects again."""
        self._stop.set()
        with self._state:
            session, self._session = self._session, None
            keeper, self._keeper = self._keeper, None
            self._state.notify_all()
        if session is not None:
            session.unbind()
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join(self._connect_seconds + 1)

    def _submit_part(self, session: Session, to: str, part: pdu.Part, *, first: bool) -> str:
        """Submit one part; a later one waits out a busy moment, since the first has gone already."""
        for pause in (*_PART_PAUSES, None):
            try:
                return self._submit(session, to, part)
            except ThrottledError:
                if first or pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _submit(self, session: Session, to: str, part: pdu.Part) -> str:
        self._pace()
        body = Short(
            source=self._at.source, destination=to.lstrip("+"), data=part.data, coding=part.coding,
            esm_class=0x40 if part.has_header else 0, registered=1, source_type=type_of(self._at.source),
        ).encode()  # fmt: skip
        answer = session.request(pdu.SUBMIT_SM, body)
        if answer.status != pdu.OK:
            if answer.status in BUSY:
                self._not_before = time.monotonic() + self._calm_seconds
            raise classify(answer.status)
        return self._id(pdu.Reader(answer.body).text())

    def _id(self, text: str) -> str:
        if self._at.hex_ids:
            with contextlib.suppress(ValueError):
                return str(int(text, 16))
        return text.replace(",", ";")

    def _pace(self) -> None:
        """Keep to the provider's rate, and be quiet for a while after it said "too fast"."""
        with self._state:
            now = time.monotonic()
            if now < self._not_before:
                raise ThrottledError(
                    "The message centre asked to slow down a moment ago.", self._not_before - now
                )
            wait = max(0.0, self._next_slot - now)
            if wait > 1.0:
                raise ThrottledError("More texts are under way than the agreed rate allows.", wait)
            if self._at.rate:
                self._next_slot = max(now, self._next_slot) + 1 / self._at.rate
        if wait:
            time.sleep(wait)

    def _query(self, ref: str) -> ReceiptState | None:
        body = pdu.query_body(ref, self._at.source, type_of(self._at.source))
        answer = self._ready().request(pdu.QUERY_SM, body)
        if answer.status != pdu.OK:
            return None
        read = pdu.Reader(answer.body)
        read.text(), read.text()
        return state_of(pdu.STATES.get(read.take(1)[0], "UNKNOWN"))

    def _ready(self) -> Session:
        """Return the open session, waiting for one that is being made."""
        self.listen()
        until = time.monotonic() + self._connect_seconds * 2
        with self._state:
            while (session := self._session) is None or session.closed.is_set():
                if self._failure is not None:
                    raise self._failure
                if not self._state.wait(min(0.5, max(0.0, until - time.monotonic()))) and (
                    time.monotonic() >= until or self._stop.is_set()
                ):
                    raise RetryableError("There is no connection to the message centre; it is tried again.")
            return session

    def _keep(self) -> None:
        """Connect, watch, connect again; runs until ``close``."""
        failures = 0
        while not self._stop.is_set():
            try:
                session = self._open()
            except RetryableError as error:
                with self._state:
                    self._failure = error
                    self._state.notify_all()
                self._stop.wait(self._pauses[min(failures, len(self._pauses) - 1)])
                failures += 1
                continue
            with self._state:
                self._session, self._failure = session, None
                self._state.notify_all()
            began = time.monotonic()
            while not session.closed.wait(min(1.0, self._quiet_seconds / 2)) and not self._stop.is_set():
                session.pulse(self._quiet_seconds)
            # One that breaks at once counts like one that could not be made.
            failures = 0 if time.monotonic() - began > 5 else failures + 1
            if session.closed.is_set() and failures > 1:
                self._stop.wait(self._pauses[min(failures - 2, len(self._pauses) - 1)])

    def _open(self) -> Session:
        at = self._at
        try:
            line = socket.create_connection((at.host, at.port), timeout=self._connect_seconds)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if at.tls:
                line = (self._context or ssl.create_default_context()).wrap_socket(
                    line, server_hostname=at.host
                )
            line.settimeout(None)
            patience = struct.pack("ll", int(self._answer_seconds) + 1, 0)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        except OSError as error:
            raise RetryableError(f"The message centre cannot be reached ({error}).") from error
        session = Session(
            line, window=at.window, answer_seconds=self._answer_seconds, take=self._received
        )  # fmt: skip
        try:
            body = pdu.bind_body(at.user, at.password)
            answer = session.request(pdu.BIND_TRANSCEIVER, body, seconds=self._connect_seconds)
        except (RetryableError, UnknownOutcomeError) as error:
            session.close()
            raise RetryableError(f"The message centre does not let us in ({error})") from error
        if answer.status != pdu.OK:
            session.close()
            name = pdu.ERRORS.get(answer.status, f"0x{answer.status:X}")
            raise RetryableError(
                f"The message centre refused the bind ({name}); check user, password and allowed addresses."
            )
        return session

    def _received(self, packets: Sequence[Packet]) -> None:
        """Turn received packets into receipts and texts, and hand them on together."""
        receipts: list[Receipt] = []
        texts: list[Inbound] = []
        before = {key: (at, dict(pieces)) for key, (at, pieces) in self._pieces.items()}
        for packet in packets:
            with contextlib.suppress(pdu.BadPacketError):  # what cannot be read will not improve
                more = self._event(pdu.decode_short(packet.body))
                receipts += more[0]
                texts += more[1]
        if self.on_event is None or not (receipts or texts):
            return
        try:
            self.on_event(receipts, texts)
        except BaseException:
            self._pieces = before  # the last part will come again; the first ones will not
            raise

    def _event(self, short: Short) -> Events:
        now = self._clock.now()
        if short.esm_class & 0x3C == _IS_RECEIPT:
            receipt = read_receipt(short, now)
            return ([receipt] if receipt else []), []
        text = self._joined(short, now)
        if text is None:
            return [], []
        sender = e164(("+" if short.source_type[0] == 1 else "") + short.source)
        ref = invented_ref(sender, short.destination, text, now.strftime("%Y%m%d%H%M"))
        return [], [Inbound(self.name, ref, sender, text, now, short.destination)]

    def _joined(self, short: Short, now: datetime) -> str | None:
        """Return a text once all its parts are here."""
        data, reference, total, number = pdu.part_of(short)
        text = pdu.text_of(data, short.coding)
        self._pieces = {key: kept for key, kept in self._pieces.items() if now - kept[0] < _PART_LIFE}
        if total == 1:
            return text
        key = (short.source, short.destination, reference, total)
        pieces = self._pieces.setdefault(key, (now, {}))[1]
        pieces[number] = text
        if len(pieces) < total:
            return None
        del self._pieces[key]
        return "".join(pieces[place] for place in sorted(pieces))

"""Mail over SMTP with the standard library, one open connection for each sending thread.

A connection is used again while it is fresh. The moment that the final dot has left, a broken line
means "may have been taken", not "try again". It never builds text and never reads the database.

Providers that ask for it get mail slowly (:mod:`delivery.mail_domains`): a mail that has to wait goes back at
once, it holds up no thread.

Source: RFC 5321; RFC 1047 for the gap between the final dot and the answer; the help pages of a
large mailbox provider that answers 550 where it means "slow down".
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from delivery.bounce_reports import is_dead
from delivery.errors import (
    DeadAddressError,
    DeliveryError,
    PermanentError,
    RetryableError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.mail_domains import DailyQuota, MailRates
from delivery.mime import Signer, address, sender_address, to_bytes
from delivery.types import Accepted, MailMessage, Message
from feeds.kernel.errors import UsageError

# A provider that says this gets less mail for a while.
_SLOW_DOWN = re.compile(
    r"frequency.limited|frequen|rate.?limit|too many|too fast|throttl|slow down|频率|过于频繁", re.IGNORECASE
)
# A provider that says this takes the same mail later.
_LATER = re.compile(r"try again|temporar|greylist|graylist|稍后", re.IGNORECASE)
_STATUS = re.compile(r"(?<![\d.])5\.\d{1,3}\.\d{1,3}(?![\d.])")
# On this machine nobody listens in between; certificates of mail servers there are seldom real.
_HERE = ("127.0.0.1", "::1", "localhost")
_QUOTA_PAUSE = 1800.0
TlsPolicy = Literal["opportunistic", "require", "none"]
_ADDRESS = re.compile(r"[^\s<>@:;,]+@")
_FRESH_SECONDS = 20.0
_MAILS_PER_CONNECTION = 500
_TIMEOUT = 30.0
# The answer to the final dot may take as long as the server's filters (RFC 5321 asks for 10 min).
_ANSWER_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class SmtpAddress:
    """Where and how to hand over mail, read from ``smtp://user:password@host:port?starttls=1``."""

    host: str
    port: int
    user: str
    password: str
    tls: bool
    starttls: bool


def parse_smtp_url(url: str) -> SmtpAddress:
    """Read ``smtp://`` (port 25, 587 with ``starttls=1``) or ``smtps://`` (port 465).

    Raises:
        UsageError: If it is neither, or names no host. The message never repeats the password.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or port == -1:
        raise UsageError("Write the mail server's address as smtp://user:password@host:587?starttls=1 .")
    starttls = parse_qs(parts.query).get("starttls", ["0"])[-1] in ("1", "true", "yes")
    usual = 465 if parts.scheme == "smtps" else 587 if starttls else 25
    return SmtpAddress(
        host=parts.hostname,
        port=port or usual,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=parts.scheme == "smtps",
        starttls=starttls,
    )


class _Line:
    """One open connection and how long it may be used."""

    def __init__(self, smtp: smtplib.SMTP) -> None:
        self.smtp = smtp
        self.used = time.monotonic()
        self.mails = 0

    def is_fresh(self) -> bool:
        return time.monotonic() - self.used < _FRESH_SECONDS and self.mails < _MAILS_PER_CONNECTION


class EmailChannel:
    """Hands mails to one SMTP server. Safe to call from several threads.

    Args:
        url: See :func:`parse_smtp_url`.
        timeout: Seconds for each step before the content is handed over.
        answer_timeout: Seconds to wait for the answer to the content.
        context: For TLS; the default verifies the server's certificate.
        tls: ``require`` refuses a server that offers none, ``opportunistic`` uses it where it is offered (not
            on this machine), ``none`` never does. A certificate that does not hold is never overlooked.
        signer: Signs every mail.
        rates: How fast each provider may get mail.
        quota: How many mails a new sender may send a day.
        on_dead: Told the Message-ID and the code of a mail whose address does not exist; by any thread.
    """

    name = "email"

    def __init__(
        self,
        url: str,
        *,
        timeout: float = _TIMEOUT,
        answer_timeout: float = _ANSWER_TIMEOUT,
        context: ssl.SSLContext | None = None,
        tls: TlsPolicy = "opportunistic",
        signer: Signer | None = None,
        rates: MailRates | None = None,
        quota: DailyQuota | None = None,
        on_dead: Callable[[str, str], None] | None = None,
    ) -> None:
        self._target = parse_smtp_url(url)
        self._timeout = timeout
        self._answer_timeout = answer_timeout
        self._context = context
        self._tls = tls
        self._signer = signer
        self._rates = rates or MailRates({}, time.monotonic)
        self._quota = quota
        self._on_dead = on_dead
        self._local = threading.local()
        self._lines: set[_Line] = set()
        self._guard = threading.Lock()

    def send(self, message: Message) -> Accepted:
        """Hand over one mail.

        Raises:
            DeadAddressError: The server says that there is no such mailbox.
            PermanentError: Not a mail, not one usable recipient, or refused for good.
            ThrottledError: Its provider gets no more mail just now, or said "too frequent".
            RetryableError: Unreachable, busy (4xx), or login refused.
            UnknownOutcomeError: The line broke after the final dot; it may have been taken.
        """
        if not isinstance(message, MailMessage):
            raise PermanentError("The mail channel was given a message that is not a mail.")
        sender, recipient = sender_address(message.envelope_from or message.sender), address(message.to)
        domain = recipient.rpartition("@")[2]
        self._ask_leave(domain)
        data = to_bytes(message, self._signer, end=b".\r\n")
        try:
            return self._deliver(message, sender, recipient, data)
        except DeadAddressError as error:
            if self._on_dead is not None:
                self._on_dead(message.message_id, error.code)
            raise
        except ThrottledError as error:
            seconds = max(error.seconds, self._rates.slow(domain))
            raise ThrottledError(str(error), seconds) from error

    def _ask_leave(self, domain: str) -> None:
        """Take a place among the mails to a provider and among those of the day."""
        wait = self._rates.wait(domain)
        if wait > 0:
            raise ThrottledError("This provider gets no more mail just now; the mail waits its turn.", wait)
        if self._quota is not None and not self._quota.take():
            raise ThrottledError(
                "The sender is new and today's mails are used up; the mail waits.", _QUOTA_PAUSE
            )

    def _deliver(self, message: MailMessage, sender: str, recipient: str, data: bytes) -> Accepted:
        line = self._ready(sender, recipient)
        try:
            answer = self._hand_over(line, data)
        except (PermanentError, ThrottledError):
            self._reset(line)
            raise
        except BaseException:
            self._drop(line)
            raise
        line.used, line.mails = time.monotonic(), line.mails + 1
        return Accepted(self.name, message.message_id, _masked(answer)[:200])

    def close(self) -> None:
        """Close every connection of every thread."""
        with self._guard:
            lines, self._lines = self._lines, set()
        for line in lines:
            _quit(line)
        self._local = threading.local()

    def _ready(self, sender: str, recipient: str) -> _Line:
        """Return a line on which the content is asked for; an idle one that died is replaced once."""
        line: _Line | None = getattr(self._local, "line", None)
        if line is not None and line in self._lines and line.is_fresh():
            try:
                _ask_for_content(line.smtp, sender, recipient)
            except (smtplib.SMTPServerDisconnected, OSError, _SenderRefusedError):
                self._drop(line)
            except (PermanentError, ThrottledError):
                self._reset(line)
                raise
            except BaseException:
                self._drop(line)
                raise
            else:
                return line
        elif line is not None:
            self._drop(line)
        return self._fresh(sender, recipient)

    def _fresh(self, sender: str, recipient: str) -> _Line:
        line = _Line(self._connect())
        with self._guard:
            self._lines.add(line)
        self._local.line = line
        try:
            with _before_content():
                _ask_for_content(line.smtp, sender, recipient)
        except (PermanentError, ThrottledError):
            self._reset(line)
            raise
        except BaseException:
            self._drop(line)
            raise
        return line

    def _hand_over(self, line: _Line, data: bytes) -> str:
        with _before_content():
            # If this fails, the final dot cannot have arrived, so nothing was taken.
            line.smtp.send(data)
        try:
            if line.smtp.sock is not None:
                line.smtp.sock.settimeout(self._answer_timeout)
            code, text = line.smtp.getreply()
            if line.smtp.sock is not None:
                line.smtp.sock.settimeout(self._timeout)
        except (smtplib.SMTPException, OSError) as error:
            raise UnknownOutcomeError(
                f"The mail server went away after the content was handed over ({type(error).__name__})."
            ) from error
        return _expect((code, text), 250)

    def _connect(self) -> smtplib.SMTP:
        target = self._target
        try:
            if target.tls:
                context = self._context or ssl.create_default_context()
                smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                    target.host, target.port, timeout=self._timeout, context=context
                )
            else:
                smtp = smtplib.SMTP(target.host, target.port, timeout=self._timeout)
        except (smtplib.SMTPException, OSError) as error:
            raise _unreachable(error) from error
        try:
            self._greet(smtp)
        except (smtplib.SMTPException, OSError) as error:
            smtp.close()
            raise _unreachable(error) from error
        except RetryableError:
            smtp.close()
            raise
        return smtp

    def _greet(self, smtp: smtplib.SMTP) -> None:
        smtp.ehlo_or_helo_if_needed()
        must = self._target.starttls or self._tls == "require"
        may = self._tls == "opportunistic" and self._target.host not in _HERE
        if not self._target.tls and (must or (may and smtp.has_extn("starttls"))):
            if not smtp.has_extn("starttls"):
                raise RetryableError(
                    "The mail server offers no TLS (STARTTLS), as MYCITY_MAIL_TLS or ?starttls=1 asks; "
                    "set up TLS there, or allow mail without it."
                )
            smtp.starttls(context=self._context or ssl.create_default_context())
            smtp.ehlo_or_helo_if_needed()
        if self._target.user:
            smtp.login(self._target.user, self._target.password)

    def _reset(self, line: _Line) -> None:
        """Keep the line after a refused recipient; the next mail begins anew."""
        try:
            _expect(line.smtp.rset(), 250)
        except (smtplib.SMTPException, OSError, DeliveryError):
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        with self._guard:
            self._lines.discard(line)
        if getattr(self._local, "line", None) is line:
            self._local.line = None
        line.smtp.close()


class _SenderRefusedError(RetryableError):
    """The server did not take MAIL FROM just now; on a line that was idle, a new line may help."""


def _ask_for_content(smtp: smtplib.SMTP, sender: str, recipient: str) -> None:
    """Begin a mail and ask to send its content; all at once where the server takes that (RFC 2920)."""
    if not smtp.has_extn("pipelining"):
        _expect_sender(smtp.docmd("MAIL", f"FROM:<{sender}>"))
        _expect(smtp.docmd("RCPT", f"TO:<{recipient}>"), 250, 251, recipient=True)
        _expect(smtp.docmd("DATA"), 354)
        return
    smtp.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode("ascii"))
    refused = smtp.getreply()
    from_sender = refused[0] != 250
    if not from_sender:
        refused = smtp.getreply()
        if refused[0] in (250, 251):
            _expect(smtp.getreply(), 354)
            return
    with contextlib.suppress(smtplib.SMTPException, OSError):  # it may have hung up
        if from_sender:
            smtp.getreply()
        if smtp.getreply()[0] == 354:  # a server that would take content for nobody
            smtp.send(b".\r\n")
            smtp.getreply()
    if from_sender:
        _expect_sender(refused)
    _expect(refused, 250, 251, recipient=True)


def _expect_sender(answer: tuple[int, bytes]) -> None:
    try:
        _expect(answer, 250)
    except ThrottledError:
        raise
    except RetryableError as error:
        raise _SenderRefusedError(str(error)) from error


def classify(code: int, text: str, *, recipient: bool = False) -> DeliveryError:
    """Name the error that an SMTP answer means.

    Args:
        code: Three digits, not 2xx or 354.
        text: The server's words; a 5xx that speaks of frequency means slow down, not a dead address.
        recipient: It answers to the recipient's address, so it may say that there is no such mailbox.
    """
    note = f"The mail server answered {code} {_masked(text)[:200]}".rstrip()
    if code >= 400 and _SLOW_DOWN.search(text):
        return ThrottledError(note, 0.0)
    if 400 <= code < 500 or _LATER.search(text):
        return RetryableError(note)
    # 503, 530 and 535 are about our session, not about this mail; -1 is a torn answer.
    if code in (421, 500, 501, 502, 503, 530, 535, 538) or code < 400:
        return RetryableError(note)
    status = _STATUS.search(text)
    found = status.group(0) if status else str(code)
    if recipient and is_dead(found, text):
        return DeadAddressError(note, found)
    return PermanentError(note)


@contextlib.contextmanager
def _before_content() -> Iterator[None]:
    """Until the final dot has left, a broken line costs nothing."""
    try:
        yield
    except DeliveryError:
        raise
    except (smtplib.SMTPException, OSError) as error:
        raise _unreachable(error) from error


def _expect(answer: tuple[int, bytes], *codes: int, recipient: bool = False) -> str:
    code, raw = answer
    text = " ".join(raw.decode("utf-8", "replace").split())
    if code not in codes:
        raise classify(code, text, recipient=recipient)
    return f"{code} {text}"


def _unreachable(error: Exception) -> RetryableError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return RetryableError(
            f"The mail server's certificate does not hold ({error.verify_message}); "
            "give it one for the name in MYCITY_SMTP_URL, or set MYCITY_MAIL_TLS=none for a server you trust."
        )
    reason = _masked(str(error))[:200] or type(error).__name__
    return RetryableError(f"The mail server could not be used ({reason}); it is tried again.")


def _masked(text: str) -> str:
    """Servers like to repeat the recipient; a stored error must not."""
    return _ADDRESS.sub("***@", text) if "@" in text else text


def _quit(line: _Line) -> None:
    with contextlib.suppress(smtplib.SMTPException, OSError):
        line.smtp.quit()
    line.smtp.close()

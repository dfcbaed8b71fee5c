"""Mail over SMTP with the standard library, one open connection for each sending thread.

A connection is used again while it is fresh. The moment that the final dot has left, a broken line
means "may have been taken", not "try again". It never builds text and never reads the database.

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
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from delivery.errors import DeliveryError, PermanentError, RetryableError, UnknownOutcomeError
from delivery.mime import address, sender_address, to_bytes
from delivery.types import Accepted, MailMessage, Message
from feeds.kernel.errors import UsageError

_SLOW_DOWN = re.compile(
    r"frequency.limited|frequen|rate.?limit|too many|too fast|throttl|slow down|try again|"
    r"temporar|greylist|graylist|频率|过于频繁|稍后",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^\s<>@:;,]+@")
_DOT = re.compile(rb"^\.", re.MULTILINE)
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
    """

    name = "email"

    def __init__(
        self,
        url: str,
        *,
        timeout: float = _TIMEOUT,
        answer_timeout: float = _ANSWER_TIMEOUT,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._target = parse_smtp_url(url)
        self._timeout = timeout
        self._answer_timeout = answer_timeout
        self._context = context
        self._local = threading.local()
        self._lines: set[_Line] = set()
        self._guard = threading.Lock()

    def send(self, message: Message) -> Accepted:
        """Hand over one mail.

        Raises:
            PermanentError: Not a mail, not one usable recipient, or refused for good (5.1.1 …).
            RetryableError: Unreachable, busy (4xx), refused as too frequent, or login refused.
            UnknownOutcomeError: The line broke after the final dot; it may have been taken.
        """
        if not isinstance(message, MailMessage):
            raise PermanentError("The mail channel was given a message that is not a mail.")
        data = _DOT.sub(b"..", to_bytes(message)) + b".\r\n"
        sender, recipient = sender_address(message.sender), address(message.to)
        line = self._ready(sender)
        try:
            answer = self._hand_over(line, recipient, data)
        except PermanentError:
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

    def _ready(self, sender: str) -> _Line:
        """Return a line on which MAIL FROM was accepted; an idle one that died is replaced once."""
        line: _Line | None = getattr(self._local, "line", None)
        if line is not None and line in self._lines and line.is_fresh():
            try:
                _expect(line.smtp.mail(sender), 250)
            except (smtplib.SMTPServerDisconnected, OSError, RetryableError):
                self._drop(line)
            except BaseException:
                self._drop(line)
                raise
            else:
                return line
        elif line is not None:
            self._drop(line)
        return self._fresh(sender)

    def _fresh(self, sender: str) -> _Line:
        line = _Line(self._connect())
        with self._guard:
            self._lines.add(line)
        self._local.line = line
        try:
            with _before_content():
                _expect(line.smtp.mail(sender), 250)
        except BaseException:
            self._drop(line)
            raise
        return line

    def _hand_over(self, line: _Line, recipient: str, data: bytes) -> str:
        with _before_content():
            _expect(line.smtp.rcpt(recipient), 250, 251)
            _expect(line.smtp.docmd("DATA"), 354)
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
        return smtp

    def _greet(self, smtp: smtplib.SMTP) -> None:
        smtp.ehlo_or_helo_if_needed()
        if self._target.starttls:
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


def classify(code: int, text: str) -> DeliveryError:
    """Name the error that an SMTP answer means.

    Args:
        code: Three digits, not 2xx or 354.
        text: The server's words; a 5xx that speaks of frequency or "try again" means slow down.
    """
    note = f"The mail server answered {code} {_masked(text)[:200]}".rstrip()
    if 400 <= code < 500 or _SLOW_DOWN.search(text):
        return RetryableError(note)
    # 503, 530 and 535 are about our session, not about this mail; -1 is a torn answer.
    if code in (421, 500, 501, 502, 503, 530, 535, 538) or code < 400:
        return RetryableError(note)
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


def _expect(answer: tuple[int, bytes], *codes: int) -> str:
    code, raw = answer
    text = " ".join(raw.decode("utf-8", "replace").split())
    if code not in codes:
        raise classify(code, text)
    return f"{code} {text}"


def _unreachable(error: Exception) -> RetryableError:
    reason = _masked(str(error))[:200] or type(error).__name__
    return RetryableError(f"The mail server could not be used ({reason}); it is tried again.")


def _masked(text: str) -> str:
    """Servers like to repeat the recipient; a stored error must not."""
    return _ADDRESS.sub("***@", text)


def _quit(line: _Line) -> None:
    with contextlib.suppress(smtplib.SMTPException, OSError):
        line.smtp.quit()
    line.smtp.close()

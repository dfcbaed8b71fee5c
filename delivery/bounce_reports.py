"""Reads what comes back to the bounce address: which delivery it is about, and what became of it. Pure.

A row is chosen by a token alone, which only we can make and which holds no address; nothing that a report
says about recipients is believed. Of the report only the verdict is read, and its code. Holiday notes and
other automatic answers are no bounces. Called by ``api.jobs.mailroom`` and, for the return path, by
``api.jobs.building``.

Source: RFC 3464 (delivery status), RFC 3463 (its codes), RFC 5965 (complaints), RFC 3834 (automatic answers);
large mailbox providers in China answer in free text, which is looked at last.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message as Parsed
from typing import Literal

Verdict = Literal["bounced", "failed", "complained", "delivered"]
#: Longer mails are cut before they are read: a report comes first, what it quotes comes last.
MOST_BYTES = 1_000_000
_PARTS = 50
_MAC = 10  # bytes: 80 bits, 16 letters
_TOKEN = re.compile(r"(?<![a-z0-9])(\d{1,19})[-.]([a-z2-7]{16})(?![a-z0-9])", re.IGNORECASE)
_WHERE = (
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
    "to",
    "cc",
    "in-reply-to",
    "references",
)
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?<![\d.])([45]\d\d)(?=[\s\-#:，,(])")
_DEAD_CODES = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})
_DEAD_WORDS = re.compile(
    r"user (?:is )?unknown|unknown (?:user|recipient|mailbox)|"
    r"no such (?:user|mailbox|recipient|account|local)|"
    r"(?:user|mailbox|recipient|account|address)[^.]{0,40}"
    r"(?:not (?:found|exist)|does ?n[o']t exist|disabled|inactive)|"
    r"invalid (?:recipient|mailbox|user)|mailbox unavailable|not a valid (?:mailbox|recipient)|"
    r"(?:用户|邮箱|收件人|帐号|账号|地址)[^。]{0,12}(?:不存在|停用|已?注销|禁用|冻结|无效)|无此用户",
    re.IGNORECASE,
)
_SOFT_WORDS = re.compile(
    r"frequen|rate.?limit|too many|too fast|throttl|quota|mailbox (?:is )?full|over ?quota|insufficient|spam|"
    r"blocked|black ?list|policy|reputation|dmarc|dkim|spf|greylist|temporar|try again|"
    r"频率|过于频繁|稍后|已满|容量|垃圾|拒收|黑名单|屏蔽",
    re.IGNORECASE,
)
_FAILED_WORDS = re.compile(
    r"undeliver|delivery (?:status|fail|has failed|notification)|returned (?:mail|to sender)|"
    r"could not be delivered|failure notice|退信|投递失败|发送失败|无法投递|未能送达|被退回",
    re.IGNORECASE,
)
_AUTOMATIC = re.compile(
    r"out of (?:the )?office|vacation|auto(?:matic)?.?(?:reply|response)|away from|"
    r"自动回复|自动答复|休假|外出",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class BounceReport:
    """What one mail to the bounce address says.

    Attributes:
        delivery_id: The delivery it is about; ``None`` if it bears no token of ours.
        verdict: ``bounced`` (the address is dead), ``failed`` (not this time), ``complained``, ``delivered``;
            ``None`` if it is no report at all, e.g. a holiday note.
        code: The status code, e.g. ``5.1.1``, or ``complaint``; never words of the report.
        broken: It could not be read at all; a person may.
    """

    delivery_id: int | None
    verdict: Verdict | None
    code: str = ""
    broken: bool = False


def bounce_token(key: bytes, delivery_id: int) -> str:
    """The number of a delivery with proof that we wrote it: ``17-abcdefghijklmnop``."""
    return f"{delivery_id}-{_mac(key, delivery_id)}"


def return_path(key: bytes, delivery_id: int, domain: str) -> str:
    """The address that one delivery bounces to; it tells nothing of its reader."""
    return f"b+{bounce_token(key, delivery_id)}@{domain}"


def read_report(raw: bytes, key: bytes, *, recipient: str = "") -> BounceReport:
    """Read one mail.

    Args:
        raw: As it arrived; may be anything.
        key: The installation's secret.
        recipient: The envelope's recipient where it is known; it is looked at first.

    Raises:
        Nothing: What cannot be read is a report without a delivery or without a verdict.
    """
    try:
        return _read(raw, key, recipient)
    except Exception:  # strangers write these mails, and the parser raises whatever it comes upon
        return BounceReport(None, None, broken=True)


def _read(raw: bytes, key: bytes, recipient: str) -> BounceReport:
    mail = message_from_bytes(raw[:MOST_BYTES], policy=policy.compat32)
    parts = [part for part, _ in zip(mail.walk(), range(_PARTS), strict=False)]
    found = find_token(_token_places(mail, parts, recipient), key)
    verdict, code = _verdict(mail, parts)
    return BounceReport(found, verdict, code)


def find_token(texts: Iterable[str], key: bytes) -> int | None:
    """Return the delivery of the first token that is ours."""
    for text in texts:
        for match in _TOKEN.finditer(text):
            number = int(match.group(1))
            if hmac.compare_digest(_mac(key, number), match.group(2).lower()):
                return number
    return None


def is_dead(code: str, text: str) -> bool:
    """Whether a refusal means that the address does not exist, rather than "not now" or "not from you".

    Args:
        code: An enhanced status (``5.1.1``) or a reply code (``550``).
        text: The words beside it, which decide where the code leaves it open.
    """
    if not code.startswith("5"):
        return False
    if _SOFT_WORDS.search(text) and not _DEAD_WORDS.search(text):
        return False
    status = _STATUS.search(code) or _STATUS.search(text)
    if status and f"{status.group(2)}.{status.group(3)}" in _DEAD_CODES and status.group(1) == "5":
        return True
    if status and status.group(2) in ("3", "4", "5", "7"):  # their system, the way there, protocol, policy
        return False
    return _DEAD_WORDS.search(text) is not None


def _verdict(mail: Parsed, parts: list[Parsed]) -> tuple[Verdict | None, str]:
    kinds = {part.get_content_type() for part in parts}
    if "message/feedback-report" in kinds:
        return _complaint(parts)
    if "message/delivery-status" in kinds:
        return _status(parts)
    return _free_text(mail, parts)


def _complaint(parts: list[Parsed]) -> tuple[Verdict | None, str]:
    report = next(part for part in parts if part.get_content_type() == "message/feedback-report")
    fields = "\n".join(_texts(report))
    kind = re.search(r"^feedback-type:\s*([a-z-]+)", fields, re.IGNORECASE | re.MULTILINE)
    if kind is None or kind.group(1).lower() not in ("abuse", "fraud", "opt-out", "other"):
        return None, ""  # "not-spam", and reports about signatures
    return "complained", "complaint"


def _status(parts: list[Parsed]) -> tuple[Verdict | None, str]:
    """The worst of the recipients; ours has one."""
    fields = [
        block
        for part in parts
        if part.get_content_type() == "message/delivery-status"
        for block in (part.get_payload() if part.is_multipart() else ())
        if isinstance(block, Parsed) and block.get("Action")
    ]
    verdicts: list[tuple[Verdict, str]] = []
    for block in fields:
        action = str(block["Action"]).strip().lower()
        text = str(block.get("Diagnostic-Code", ""))
        status = _STATUS.search(str(block.get("Status", ""))) or _STATUS.search(text)
        code = status.group(0) if status else "5.0.0"
        if action == "failed":
            verdicts.append(("bounced" if is_dead(code, text) else "failed", code))
        elif action == "delivered":
            verdicts.append(("delivered", code))
    rank = ("bounced", "failed", "delivered")
    return min(verdicts, key=lambda one: rank.index(one[0])) if verdicts else (None, "")


def _free_text(mail: Parsed, parts: list[Parsed]) -> tuple[Verdict | None, str]:
    """Free words: taken for a bounce only where a mail system speaks and says so."""
    subject = _header(mail, "subject")
    said = "\n".join(text for part in parts for text in _texts(part))[:20_000]
    speaker = _header(mail, "from").lower()
    system = (
        "mailer-daemon" in speaker or "postmaster" in speaker or _header(mail, "return-path").strip() == "<>"
    )
    failed = _FAILED_WORDS.search(subject) or _FAILED_WORDS.search(said)
    if not (system and failed) or (_AUTOMATIC.search(subject) and not _FAILED_WORDS.search(subject)):
        return None, ""
    status = _STATUS.search(said)
    reply = _REPLY.search(said)
    code = status.group(0) if status else reply.group(1) if reply else "5.0.0"
    return ("bounced" if is_dead(code, said) else "failed"), code


def _token_places(mail: Parsed, parts: list[Parsed], recipient: str) -> Iterator[str]:
    """Where a token may stand, surest first: the envelope, the headers, then what a report quotes."""
    yield recipient
    for name in _WHERE:
        yield from (str(value) for value in mail.get_all(name, ()))
    for part in parts[1:]:
        for name in ("return-path", "original-mail-from", "message-id"):
            yield from (str(value) for value in part.get_all(name, ()))
        if part.get_content_maintype() == "text" or part.get_content_type() == "message/feedback-report":
            yield from _texts(part)
    if not mail.is_multipart():
        yield from _texts(mail)


def _texts(part: Parsed) -> Iterator[str]:
    """The words of a part that is not a container; undecodable bytes are replaced."""
    if part.is_multipart():
        if part.get_content_type().startswith("message/"):
            yield "\n".join(
                f"{k}: {v}" for block in part.get_payload() for k, v in getattr(block, "items", list)()
            )
        return
    if part.get_content_maintype() not in ("text", "message"):
        return
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return
    charset = part.get_content_charset("utf-8")
    try:
        yield data[:100_000].decode(charset, "replace")
    except (LookupError, ValueError):  # no such code, or one that decodes no text: idna, undefined, a NUL
        yield data[:100_000].decode("utf-8", "replace")


def _header(mail: Parsed, name: str) -> str:
    try:
        return str(make_header(decode_header(str(mail.get(name, "")))))
    except (LookupError, ValueError, MessageError):
        return str(mail.get(name, ""))


def _mac(key: bytes, delivery_id: int) -> str:
    digest = hmac.new(key, f"mycity/bounce/{delivery_id}".encode(), hashlib.sha256).digest()[:_MAC]
    return base64.b32encode(digest).decode().lower()

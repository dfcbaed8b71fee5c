"""Gives a :class:`Digest` the form of a mail or of a short message. Pure.

The same digest gives the same subject and bodies; what differs between two copies (Message-ID,
date, recipient) are arguments. It never decides what is said, only how. Sensitive or discreet
content shrinks to a neutral sentence. Called by ``api.jobs`` as the ``build`` of a sending round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from delivery.compose_sms import compose_sms
from delivery.errors import PermanentError
from delivery.mime import sender_address
from delivery.sms_text import clip
from delivery.types import Also, Digest, EntryView, MailMessage
from delivery.wording import (
    SAMPLE,
    day_text,
    days_left,
    deadline_text,
    is_chinese,
    mark_note,
    one_line,
    readable,
    shown_title,
    words,
)

__all__ = ["TEMPLATE_VERSION", "compose_confirmation", "compose_mail", "compose_sms"]

# Part of every recipe: a digest is rebuilt with the templates it was sent with, or not at all.
TEMPLATE_VERSION = "mail-1"
_SUBJECT_MOST = 60
_SUMMARY_MOST = 160


@dataclass(frozen=True, slots=True)
class MailEntry:
    """One notice as the mail templates show it; texts plain, final, in the reader's language.

    What differs from reader to reader (place in the list, reasons) is not here.

    Attributes:
        urgency: ``today``, ``tomorrow`` or ``""``; decides the colour of the deadline.
        lang: Language of title and summary where it is not the mail's, else ``""``.
        also: Others who published the same.
    """

    title: str
    url: str
    summary: str = ""
    agency: str = ""
    deadline: str = ""
    urgency: str = ""
    phone: str = ""
    note: str = ""
    lang: str = ""
    also: tuple[Also, ...] = ()


def compose_mail(digest: Digest, *, to: str, sender: str, message_id: str, date: datetime) -> MailMessage:
    """Write the mail of a digest: a text part and an HTML part that say the same.

    Args:
        digest: At least one entry.
        to: One bare address.
        sender: ``Name <address>`` or an address; its domain names the list.
        message_id: The same on every retry.
        date: Stands in the Date header only.

    Raises:
        PermanentError: If the digest is empty or the sender's address cannot be used.
    """
    if not digest.entries:
        raise PermanentError("The digest has no entry; an empty mail is never sent.")
    context = _context(digest)
    language = "zh" if is_chinese(digest.lang) else "en"
    shown = [] if digest.discreet else list(_shown(digest))
    return MailMessage(
        to=to,
        subject=_subject(digest),
        text=_template(f"digest.{language}.txt.j2")
        .render(context, entries=[one.text for one in shown])
        .strip()
        + "\n",
        html=_template(f"digest.{language}.html.j2")
        .render(context, entries=[Markup(one.html) for one in shown])  # noqa: S704
        .strip()
        + "\n",
        message_id=message_id,
        sender=sender,
        date=date,
        headers=tuple(_headers(digest, sender)),
    )


def compose_confirmation(
    city_name: str,
    *,
    lang: str,
    url: str,
    sample: bool,
    to: str,
    sender: str,
    message_id: str,
    date: datetime,
) -> MailMessage:
    """Write the mail that asks whether an address is really its owner's; says nothing about them.

    Args:
        city_name: In the reader's language.
        lang: Chinese for any ``zh…``, else English.
        url: The page that confirms with one button; opening it alone confirms nothing.
        sample: True for the sample city.
        to: One bare address.
        sender: ``Name <address>`` or an address.
        message_id: The same on every retry.
        date: Stands in the Date header only.
    """
    language = "zh" if is_chinese(lang) else "en"
    context = {"city": city_name, "url": url, "sample_mark": SAMPLE if sample else ""}
    subject = (
        f"{city_name}公告：请确认您的邮箱"
        if language == "zh"
        else f"{city_name} notices: please confirm your address"
    )
    return MailMessage(
        to=to,
        subject=(SAMPLE if sample else "") + subject,
        text=_template(f"confirm.{language}.txt.j2").render(context).strip() + "\n",
        html=_template(f"confirm.{language}.html.j2").render(context).strip() + "\n",
        message_id=message_id,
        sender=sender,
        date=date,
        headers=(("Auto-Submitted", "auto-generated"), ("Content-Language", lang)),
    )


def _headers(digest: Digest, sender: str) -> list[tuple[str, str]]:
    # The list's name is neutral: it stands in mailbox rules and logs of others.
    domain = sender_address(sender).rpartition("@")[2]
    headers = [
        ("List-Id", f"<notices.{domain}>"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", digest.lang),
    ]
    if digest.unsubscribe_url:
        headers += [
            ("List-Unsubscribe", f"<{digest.unsubscribe_url}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ]
    return headers


def _subject(digest: Digest) -> str:
    chinese = is_chinese(digest.lang)
    sample = SAMPLE if digest.sample else ""
    head = f"{sample}{_heading(digest)}{'：' if chinese else ': '}"
    label = words(digest.lang)
    if digest.discreet or all(entry.sensitive for entry in digest.entries):
        return head + label["neutral"]
    if len(digest.entries) == 1 and digest.entries[0].quiet_subject:
        return head + label["neutral"]
    if len(digest.entries) == 1:
        title = shown_title(digest.entries[0], digest.lang).removeprefix(SAMPLE)
        return head + clip(title, _SUBJECT_MOST)
    return head + _count_line(digest, short=True)


def _heading(digest: Digest) -> str:
    name = one_line(digest.city_name).replace(SAMPLE, "")
    return f"{name}公告" if is_chinese(digest.lang) else f"{name} notices"


def _count_line(digest: Digest, *, short: bool) -> str:
    """Say how many entries there are and how many close today or tomorrow."""
    total = len(digest.entries)
    zone, today = ZoneInfo(digest.timezone), _today(digest)
    left = [] if digest.discreet else [days_left(entry, zone, today) for entry in digest.entries]
    closing = [(left.count(0), "今日截止", "today"), (left.count(1), "明日截止", "tomorrow")]
    if is_chinese(digest.lang):
        parts = [f"{count} 条{word}" for count, word, _ in closing if count]
        line = f"今天 {total} 条与您有关"
        return line + (f"（含 {'、'.join(parts)}）" if parts else "") + ("" if short else "。")
    parts = [f"{count} {'closes' if count == 1 else 'close'} {word}" for count, _, word in closing if count]
    line = f"{total} for you today" if short else f"{total} notice{'s' * (total > 1)} for you today"
    return line + (f" ({', '.join(parts)})" if parts else "") + ("" if short else ".")


def _today(digest: Digest) -> date:
    return digest.window_end.astimezone(ZoneInfo(digest.timezone)).date()


def _context(digest: Digest) -> dict[str, object]:
    label = words(digest.lang)
    return {
        "lang": digest.lang,
        "heading": _heading(digest),
        "day": day_text(_today(digest), digest.lang),
        "sample": digest.sample,
        "sample_mark": SAMPLE,
        "neutral": label["neutral"],
        "lead": label["neutral"] if digest.discreet else _count_line(digest, short=False),
        "hidden": digest.discreet,
        "total": len(digest.entries),
        "page_url": _link(digest.page_url),
        "unsubscribe_url": _link(digest.unsubscribe_url),
        "label": label,
    }


@dataclass(frozen=True, slots=True)
class _Shown:
    """One notice in both parts, rendered; in ``html`` every text is escaped already."""

    text: str
    html: str


def _shown(digest: Digest) -> Iterator[_Shown]:
    """Take each notice from the cache and put in what is this reader's own."""
    label = words(digest.lang)
    today = _today(digest)
    for number, entry in enumerate(digest.entries, 1):
        reasons = () if entry.sensitive else entry.reasons
        reason = label["joiner"].join(one_line(sentence) for sentence in reasons if sentence.strip())
        shared = replace(entry, reasons=(), tags=(), body_html="", source_url="", licence="")
        common = _fragment(shared, digest.lang, digest.timezone, today, digest.page_url)
        why_text, why_html = _reason(reason, digest.lang)
        yield _Shown(
            text=common.text.replace(_NUMBER, str(number)).replace(_REASON, why_text),
            html=common.html.replace(_NUMBER, str(number)).replace(_REASON, why_html),
        )


# Marks in a cached fragment; no text can hold them, since control characters are dropped from all.
_NUMBER, _REASON = "\x01", "\x02"


@lru_cache(maxsize=2048)
def _fragment(entry: EntryView, lang: str, timezone: str, today: date, page_url: str) -> _Shown:
    """Render one notice with marks in place of its number and reason."""
    shown = _entry(entry, lang, ZoneInfo(timezone), today, page_url)
    label = words(lang)
    context = {
        "entry": shown, "lang": lang, "label": label, "urgent": label.get(shown.urgency, ""),
        "number": _NUMBER, "reason": _REASON,
    }  # fmt: skip
    text = _template(f"_entry.{'zh' if is_chinese(lang) else 'en'}.txt.j2").render(context)
    return _Shown(text.rstrip("\n"), _template("_entry.html.j2").render(context).strip())


@lru_cache(maxsize=2048)
def _reason(reason: str, lang: str) -> tuple[str, str]:
    """Render the line that says why, as text and as HTML; both empty without a reason."""
    if not reason:
        return "", ""
    label = words(lang)
    html = _template("_reason.html.j2").render(reason=reason, lang=lang, label=label)
    return f"   {label['why']}{reason}\n", html


def _entry(entry: EntryView, lang: str, zone: ZoneInfo, today: date, page_url: str) -> MailEntry:
    title = shown_title(entry, lang)
    if entry.sensitive:
        return MailEntry(title, _link(page_url or entry.url), words(lang)["neutral_body"])
    left = days_left(entry, zone, today)
    return MailEntry(
        title=title,
        url=_link(entry.url),
        summary=clip(one_line(entry.summary), _SUMMARY_MOST),
        agency=one_line(entry.agency or entry.source_name),
        deadline=deadline_text(entry, zone, lang, today),
        urgency={0: "today", 1: "tomorrow"}.get(-1 if left is None else left, ""),
        phone=one_line(entry.phone),
        note=mark_note(entry, lang),
        lang=entry.lang if entry.lang and entry.lang != lang else "",
        also=tuple(Also(one_line(who.name), _link(who.url)) for who in entry.also),
    )


def _link(url: str) -> str:
    """Only web addresses become links; anything else stays out of the mail."""
    cleaned = readable(url).strip()
    usable = urlsplit(cleaned).scheme in ("http", "https") and not any(map(str.isspace, cleaned))
    return cleaned if usable else ""


@lru_cache(maxsize=8)
def _template(name: str) -> Template:
    return _environment().get_template(name)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("delivery", "templates"),
        autoescape=select_autoescape(["html", "html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )

"""Gives a :class:`Digest` the form of a mail or of a short message. Pure.

The same digest gives the same subject and bodies; what differs between two copies (Message-ID,
date, recipient) are arguments. It never decides what is said, only how. Sensitive or discreet
content shrinks to a neutral sentence. Called by ``api.jobs`` as the ``build`` of a sending round.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from markupsafe import escape

from delivery.compose_sms import compose_sms
from delivery.errors import PermanentError
from delivery.mail_parts import Part, Setting, fitting, joined, link, part, rest, template
from delivery.mime import piece, sender_address
from delivery.sms_text import clip
from delivery.types import Digest, MailMessage, Piece
from delivery.wording import SAMPLE, day_text, is_chinese, one_line, shown_title, words

__all__ = ["TEMPLATE_VERSION", "compose_confirmation", "compose_mail", "compose_sms"]

# Part of every recipe: a digest is rebuilt with the templates it was sent with, or not at all.
TEMPLATE_VERSION = "mail-3"
_SUBJECT_MOST = 60
_PREHEADER_MOST = 90


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
    frame = _frame(_key(digest))
    parts = [part(entry, number, frame.setting) for number, entry in enumerate(digest.entries, 1)]
    lefts = [] if digest.discreet else [one.left for one in parts]
    counted = (len(parts), lefts.count(0), lefts.count(1))
    shown = [] if digest.discreet else fitting(parts, _HTML_MOST)
    if shown and len(shown) < len(parts):
        shown.append(rest(len(parts) - len(shown), digest.lang))
    neutral = words(digest.lang)["neutral"]
    lead = neutral if digest.discreet else _count_line(counted, digest.lang, short=False)
    own = _Own(lead, _preheader(digest, parts), len(parts))
    begin, stop = _begin(frame, own), {_STOP: link(digest.unsubscribe_url)}
    text_end = piece(_filled(frame.text[1], own.marked() | stop), last=True)
    html_end = _escaped(own.marked() | stop) | {_PIXEL: _pixel(digest)}
    text = joined([begin[0], *[one.text for one in shown], text_end])
    html = joined(
        [begin[1], *[one.html for one in shown], piece(_filled(frame.html[1], html_end), last=True)]
    )
    return MailMessage(
        to=to,
        subject=_subject(digest, counted, neutral),
        text=text.text,
        html=html.text,
        message_id=message_id,
        sender=sender,
        date=date,
        headers=_headers(digest, sender),
        pieces=(text, html),
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
        text=template(f"confirm.{language}.txt.j2").render(context).strip() + "\n",
        html=template(f"confirm.{language}.html.j2").render(context).strip() + "\n",
        message_id=message_id,
        sender=sender,
        date=date,
        headers=(("Auto-Submitted", "auto-generated"), ("Content-Language", lang)),
    )


def _headers(digest: Digest, sender: str) -> tuple[tuple[str, str], ...]:
    headers = _list_headers(sender, digest.lang)
    if not digest.unsubscribe_url:
        return headers
    return (
        *headers,
        ("List-Unsubscribe", f"<{digest.unsubscribe_url}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )


@lru_cache(maxsize=64)
def _list_headers(sender: str, lang: str) -> tuple[tuple[str, str], ...]:
    # The list's name is neutral: it stands in mailbox rules and logs of others.
    domain = sender_address(sender).rpartition("@")[2]
    return (
        ("List-Id", f"<notices.{domain}>"), ("Auto-Submitted", "auto-generated"), ("Content-Language", lang),
    )  # fmt: skip


def _subject(digest: Digest, counted: tuple[int, int, int], neutral: str) -> str:
    sample = SAMPLE if digest.sample else ""
    head = f"{sample}{_heading(digest.city_name, digest.lang)}{'：' if is_chinese(digest.lang) else ': '}"
    if digest.discreet or all(entry.sensitive for entry in digest.entries):
        return head + neutral
    if len(digest.entries) > 1:
        return head + _count_line(counted, digest.lang, short=True)
    if digest.entries[0].quiet_subject:
        return head + neutral
    title = shown_title(digest.entries[0], digest.lang).removeprefix(SAMPLE)
    return head + clip(title, _SUBJECT_MOST)


@lru_cache(maxsize=64)
def _heading(city_name: str, lang: str) -> str:
    name = one_line(city_name).replace(SAMPLE, "")
    return f"{name}公告" if is_chinese(lang) else f"{name} notices"


@lru_cache(maxsize=1024)
def _count_line(counted: tuple[int, int, int], lang: str, *, short: bool) -> str:
    """Say how many entries there are and how many close today or tomorrow."""
    total, today, tomorrow = counted
    if is_chinese(lang):
        parts = [f"{n} 条{word}" for n, word in ((today, "今日截止"), (tomorrow, "明日截止")) if n]
        line = f"今天 {total} 条与您有关"
        return line + (f"（含 {'、'.join(parts)}）" if parts else "") + ("" if short else "。")
    closing = [(today, "today"), (tomorrow, "tomorrow")]
    parts = [f"{n} {'closes' if n == 1 else 'close'} {word}" for n, word in closing if n]
    line = f"{total} for you today" if short else f"{total} notice{'s' * (total > 1)} for you today"
    return line + (f" ({', '.join(parts)})" if parts else "") + ("" if short else ".")


# Marks in the frame, which is rendered once for many; no text can hold them: control characters are dropped.
_LEAD, _PREHEADER, _TOTAL, _STOP, _ENTRIES, _PIXEL = "\x04", "\x05", "\x06", "\x07", "\x08", "\x0e"
# Large mailboxes cut a mail off after 102 kB of HTML; what does not fit is named by its number.
_HTML_MOST = 90_000

#: Language, city, end of the window, time zone, page, sample, discreet, with a stop address.
_Key = tuple[str, str, datetime, str, str, bool, bool, bool]


def _key(digest: Digest) -> _Key:
    """What decides the frame around the entries; the same for nearly all mails of a morning."""
    return (
        digest.lang, digest.city_name, digest.window_end, digest.timezone, digest.page_url,
        digest.sample, digest.discreet, bool(link(digest.unsubscribe_url)),
    )  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class _Frame:
    """The frame of both parts, cut where the entries go; compared by identity."""

    setting: Setting
    text: tuple[str, str]
    html: tuple[str, str]


@lru_cache(maxsize=64)
def _frame(key: _Key) -> _Frame:
    """Render the frame with marks in place of what is one reader's own."""
    lang, city_name, window_end, timezone, page_url, sample, hidden, stops = key
    zone = ZoneInfo(timezone)
    setting = Setting(lang, zone, window_end.astimezone(zone).date(), page_url)
    context = {
        "lang": lang, "heading": _heading(city_name, lang), "day": day_text(setting.today, lang),
        "sample": sample, "sample_mark": SAMPLE, "lead": _LEAD, "preheader": _PREHEADER, "hidden": hidden,
        "total": _TOTAL, "page_url": link(page_url), "unsubscribe_url": _STOP if stops else "",
        "label": words(lang), "entries": _ENTRIES, "pixel": _PIXEL,
    }  # fmt: skip
    name = f"digest.{'zh' if is_chinese(lang) else 'en'}"
    text, html = (
        _cut(template(f"{name}.{kind}.j2").render(context).strip() + "\n") for kind in ("txt", "html")
    )
    return _Frame(setting, text, html)


def _cut(frame: str) -> tuple[str, str]:
    """Cut at the entries; a frame without any is cut at its first line."""
    begin, mark, end = frame.partition(f"{_ENTRIES}\n")
    if not mark:
        begin, mark, end = frame.partition("\n")
        return begin + mark, end
    return begin, end


@dataclass(frozen=True, slots=True)
class _Own:
    """What a mail says around its entries that many others say too."""

    lead: str
    preheader: str
    total: int

    def marked(self) -> dict[str, str]:
        return {_LEAD: self.lead, _PREHEADER: self.preheader, _TOTAL: str(self.total)}


@lru_cache(maxsize=1024)
def _begin(frame: _Frame, own: _Own) -> tuple[Piece, Piece]:
    """Both parts down to the entries."""
    text, html = frame.text[0], frame.html[0]
    return piece(_filled(text, own.marked())), piece(_filled(html, _escaped(own.marked())))


def _escaped(values: Mapping[str, str]) -> dict[str, str]:
    return {mark: str(escape(value)) for mark, value in values.items()}


def _filled(frame: str, values: Mapping[str, str]) -> str:
    """Put values in place of marks, in one pass."""
    return _MARK.sub(lambda match: values.get(match.group(), ""), frame)


_MARK = re.compile("[\x04-\x08\x0e]")


def _preheader(digest: Digest, parts: Sequence[Part]) -> str:
    """What a mailbox shows beside the subject: the first titles, or nothing where they may not be seen."""
    if digest.discreet or len(parts) == 1:
        return ""  # a single title is the subject already
    return _titles(tuple([one.title for one in parts[:3] if one.title]), digest.lang)


@lru_cache(maxsize=2048)
def _titles(titles: tuple[str, ...], lang: str) -> str:
    return clip(words(lang)["joiner"].join(titles), _PREHEADER_MOST)


def _pixel(digest: Digest) -> str:
    url = link(digest.pixel_url) if digest.pixel_url else ""
    return (
        f'<img src="{escape(url)}" width="1" height="1" alt="" style="display:block;border:0">' if url else ""
    )

"""What digest mails are put together from: each notice once for all readers, ready for the wire. Pure.

A notice is rendered and encoded once for a language, a day, a place in the list and a reason; thousands of
mails of a morning share it, as text and as the base64 that is sent. It never decides what is said. Called by
``delivery.compose``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import escape

from delivery.mime import piece
from delivery.sms_text import clip
from delivery.types import Also, EntryView, Piece
from delivery.wording import (
    SAMPLE,
    days_left,
    deadline_text,
    is_chinese,
    mark_note,
    one_line,
    readable,
    shown_title,
    words,
)

# A Chinese character says about as much as two letters and takes three bytes in each of the two parts.
_SUMMARY_MOST = {True: 90, False: 160}
# Marks in what is rendered once; no text can hold them: control characters are dropped from all.
_NUMBER, _REASON, _OWN_URL = "\x01", "\x02", "\x03"
_KEPT = 4096
_WEB = re.compile(r"https?://\S+\Z", re.IGNORECASE)


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


@dataclass(frozen=True, eq=False, slots=True)
class Setting:
    """In which language, on which day and from which page notices are shown; compared by identity."""

    lang: str
    zone: ZoneInfo
    today: date
    page_url: str


@dataclass(frozen=True, slots=True)
class Part:
    """One notice in both parts of a mail.

    Attributes:
        text, html: Ready to be put behind each other.
        left: Days until its deadline, if any.
        title: For the line beside the subject; ``""`` where a locked screen may not show it.
        of: Keeps what the part is found by alive.
    """

    text: Piece
    html: Piece
    left: int | None = None
    title: str = ""
    of: EntryView | None = None


_parts: dict[tuple[int, int, tuple[str, ...], Setting], Part] = {}
_guard = threading.Lock()


def part(entry: EntryView, number: int, setting: Setting) -> Part:
    """One notice at its place in the list, with its reasons; what readers share is written once."""
    shared = entry.shared
    if shared is None or entry.own_url:
        return _written(replace(entry, reasons=(), own_url=""), entry, number, setting)
    key = (id(shared), number, entry.reasons, setting)
    found = _parts.get(key)
    if found is None:
        found = _written(shared, entry, number, setting)
        with _guard:
            for old in list(_parts)[: max(0, len(_parts) + 1 - _KEPT)]:
                del _parts[old]
            _parts[key] = found
    return found


def rest(left_out: int, lang: str) -> Part:
    """The line that stands for what did not fit."""
    said = (
        f"还有 {left_out} 条，请到“我的页面”查看。" if is_chinese(lang) else f"{left_out} more on your page."
    )
    return _part(said, template("_rest.html.j2").render(rest=said).strip())


def link(url: str) -> str:
    """Only web addresses become links; anything else stays out of the mail."""
    cleaned = readable(url).strip()
    return cleaned if _WEB.match(cleaned) else ""


def _written(shared: EntryView, entry: EntryView, number: int, setting: Setting) -> Part:
    """Put in what is this reader's own; ``shared`` is the entry without it."""
    common = _fragment(shared, setting)
    text, markup = _reason(() if entry.sensitive else entry.reasons, setting.lang, bool(common.lang))
    own = link(entry.own_url) if entry.own_url else ""
    url, place = own or common.url, str(number)
    own_text = _put(common.text, place, text, url)
    own_html = _put(common.html, place, markup, str(escape(url)))
    return _part(own_text, own_html, common.left, common.title, shared)


def _put(form: str, number: str, reason: str, url: str) -> str:
    return form.replace(_NUMBER, number).replace(_REASON, reason).replace(_OWN_URL, url)


def _part(
    text: str, html: str, left: int | None = None, title: str = "", of: EntryView | None = None
) -> Part:
    """Blanks fill both up to whole groups of base64: on the empty line between notices, and between tags."""
    return Part(piece(f"\n{text}\n", before=True), piece(f"{html}\n"), left, title, of)


@dataclass(frozen=True, slots=True)
class _Fragment:
    """Rendered in both parts; in ``html`` every text is escaped already. ``url``: where an entry leads."""

    text: str
    html: str
    url: str
    lang: str
    left: int | None
    title: str


@lru_cache(maxsize=2048)
def _fragment(entry: EntryView, setting: Setting) -> _Fragment:
    """Render one notice with marks in place of its number, its address and its reason."""
    lang, label = setting.lang, words(setting.lang)
    left = days_left(entry, setting.zone, setting.today)
    shown = _entry(entry, setting, left)
    context = {
        "entry": shown, "lang": lang, "label": label, "urgent": label.get(shown.urgency, ""),
        "number": _NUMBER, "reason": _REASON, "url": _OWN_URL if shown.url else "",
    }  # fmt: skip
    text = template(f"_entry.{'zh' if is_chinese(lang) else 'en'}.txt.j2").render(context)
    html = template("_entry.html.j2").render(context).strip()
    title = "" if entry.sensitive or entry.quiet_subject else shown.title.replace(SAMPLE, "")
    return _Fragment(text.rstrip("\n"), html, shown.url, shown.lang, left, title)


@lru_cache(maxsize=2048)
def _reason(reasons: tuple[str, ...], lang: str, foreign: bool) -> tuple[str, str]:
    """Render the line that says why, as text and as HTML; both empty without a reason."""
    label = words(lang)
    reason = label["joiner"].join(one_line(sentence) for sentence in reasons if sentence.strip())
    if not reason:
        return "", ""
    html = template("_reason.html.j2").render(reason=reason, lang=lang, label=label, foreign=foreign)
    return f"   {label['why']}{reason}\n", html


def _entry(entry: EntryView, setting: Setting, left: int | None) -> MailEntry:
    lang, title = setting.lang, shown_title(entry, setting.lang)
    if entry.sensitive:
        return MailEntry(title, link(setting.page_url or entry.url), words(lang)["neutral_body"])
    return MailEntry(
        title=title,
        url=link(entry.url),
        summary=clip(one_line(entry.summary), _SUMMARY_MOST[is_chinese(entry.lang or lang)]),
        agency=one_line(entry.agency or entry.source_name),
        deadline=deadline_text(entry, setting.zone, lang, setting.today),
        urgency={0: "today", 1: "tomorrow"}.get(-1 if left is None else left, ""),
        phone=one_line(entry.phone),
        note=mark_note(entry, lang),
        lang=entry.lang if entry.lang and entry.lang != lang else "",
        also=tuple(Also(one_line(who.name), link(who.url)) for who in entry.also),
    )


def fitting(parts: list[Part], most: int) -> list[Part]:
    """The first parts whose HTML is at most ``most`` bytes; at least one."""
    size = 0
    for number, one in enumerate(parts):
        size += len(one.html.wire) * 57 // 78  # a line of 57 bytes is 78 long
        if number and size > most:
            return parts[:number]
    return parts


def joined(pieces: Iterable[Piece]) -> Piece:
    """Put pieces behind each other; all but the last are whole groups of base64."""
    own = list(pieces)
    return Piece("".join([one.text for one in own]), b"".join([one.wire for one in own]))


def template(name: str) -> Template:
    """A template of mails; escapes in HTML."""
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

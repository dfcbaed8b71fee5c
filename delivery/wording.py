"""The fixed words around a notice, in Chinese and English: marks, deadlines, labels. Pure.

Shared by the feeds, the mail and the SMS, so that all of them say the same thing. It never decides
what is sent and never reads a clock; "today" is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from zoneinfo import ZoneInfo

from delivery.types import EntryView

_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_SPACE = re.compile(r"\s+")
_OVER = ("withdrawn", "lifted", "expired")
SAMPLE = "【示例】"

_ZH: Mapping[str, str] = {
    "lifted": "【已解除】", "lifted_note": "此预警已解除。",
    "withdrawn": "【已撤回】", "corrected": "【更正】", "expired": "【已到期】", "emergency": "【紧急】",
    "withdrawn_note": "此公告已撤回。", "corrected_note": "此公告已更正，请以现在的内容为准。",
    "expired_note": "此公告已到期。", "emergency_note": "紧急信息。",
    "neutral": "您关注的事项有更新", "neutral_body": "详情请在网页上查看。",
    "why": "为什么收到：", "deadline": "截止：", "agency": "发文机关：", "phone": "咨询电话：",
    "source": "来源：", "licence": "许可：", "also": "同时发布：", "comma": "、", "joiner": "；",
    "today": "（今天）", "tomorrow": "（明天）",
}  # fmt: skip
_EN: Mapping[str, str] = {
    "lifted": "[Lifted] ", "lifted_note": "This warning is over.",
    "withdrawn": "[Withdrawn] ", "corrected": "[Correction] ", "expired": "[Expired] ",
    "emergency": "[Emergency] ",
    "withdrawn_note": "This notice was withdrawn.",
    "corrected_note": "This notice was corrected; what you read now is the valid text.",
    "expired_note": "This notice has expired.", "emergency_note": "Emergency information.",
    "neutral": "An update on something you follow", "neutral_body": "Please read the details on the page.",
    "why": "Why you get this: ", "deadline": "Deadline: ", "agency": "Agency: ", "phone": "Phone: ",
    "source": "Source: ", "licence": "Licence: ", "also": "Also published by: ",
    "comma": ", ", "joiner": "; ", "today": " (today)", "tomorrow": " (tomorrow)",
}  # fmt: skip

_DAYS_ZH = "一二三四五六日"
_DAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS_EN = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def is_chinese(lang: str) -> bool:
    """Whether ``lang`` is written with our Chinese words; every other language gets English."""
    return lang.lower().split("-")[0] == "zh"


def words(lang: str) -> Mapping[str, str]:
    """The labels in ``lang``."""
    return _ZH if is_chinese(lang) else _EN


def readable(text: str) -> str:
    """Drop what XML 1.0 and UTF-8 cannot carry (control characters, lone surrogates)."""
    return _UNREADABLE.sub("", text)


def one_line(text: str) -> str:
    """Make one line without control characters; white space becomes single spaces."""
    return _SPACE.sub(" ", readable(text)).strip()


def shown_title(entry: EntryView, lang: str) -> str:
    """The title with its mark in front; neutral where the entry is sensitive."""
    label = words(lang)
    title = label["neutral"] if entry.sensitive else one_line(entry.title)
    return label.get(entry.mark, "") + title


# What our own intake writes as the note of a revision; people's notes stay as they wrote them.
_NOTES = {"Changed by its publisher": "发布方已更改。"}


def mark_note(entry: EntryView, lang: str) -> str:
    """The sentence of the banner, or ``""`` for an entry without a mark."""
    if not entry.mark:
        return ""
    note = "" if entry.sensitive else one_line(entry.mark_note)
    if is_chinese(lang):
        note = _NOTES.get(note, note)
    standard = words(lang).get(f"{entry.mark}_note", "")
    return f"{standard}{' ' if note and not is_chinese(lang) else ''}{note}"


def deadline_text(entry: EntryView, zone: ZoneInfo, lang: str, today: date | None = None) -> str:
    """The deadline with its weekday; ``""`` if there is none, or it binds nobody, or is sensitive.

    Args:
        entry: Whose deadline.
        zone: The reader's.
        lang: The reader's.
        today: The year is left out if it is the same; without it the year is always there.
    """
    if entry.deadline is None or entry.sensitive or entry.mark in _OVER:
        return ""
    local = entry.deadline.astimezone(zone)
    clock = f"{local:%H:%M}" if entry.deadline_has_time else ""
    same_year = today is not None and today.year == local.year
    if is_chinese(lang):
        year = "" if same_year else f"{local.year}年"
        return f"{year}{local.month}月{local.day}日（周{_DAYS_ZH[local.weekday()]}）{clock}"
    year = "" if same_year else f" {local.year}"
    day = f"{_DAYS_EN[local.weekday()]} {local.day} {_MONTHS_EN[local.month - 1]}{year}"
    return f"{day}, {clock}" if clock else day


def day_text(day: date, lang: str) -> str:
    """A day with year and weekday, for headings."""
    if is_chinese(lang):
        return f"{day.year}年{day.month}月{day.day}日 星期{_DAYS_ZH[day.weekday()]}"
    return f"{_DAYS_EN[day.weekday()]} {day.day} {_MONTHS_EN[day.month - 1]} {day.year}"


def days_left(entry: EntryView, zone: ZoneInfo, today: date) -> int | None:
    """Calendar days from ``today`` to the deadline; ``None`` if none, past, withdrawn or expired."""
    if entry.deadline is None or entry.sensitive or entry.mark in _OVER:
        return None
    left = (entry.deadline.astimezone(zone).date() - today).days
    return left if left >= 0 else None

"""Gives a :class:`Digest` the form of a note for a screen, and of a WeChat subscription message. Pure.

Both show on locked screens, so what is sensitive is counted and never named, and a discreet reader gets
the neutral sentence alone. Called by ``api.jobs.building`` through :mod:`api.jobs.further`.

Source: the field types of WeChat's subscription messages (thing 20 characters, phrase 5, date).
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from delivery.errors import PermanentError
from delivery.sms_text import clip
from delivery.types import Digest, EntryView, PushMessage, WechatMessage
from delivery.wording import SAMPLE, deadline_text, is_chinese, one_line, shown_title, words

_TITLE_MOST, _LINE_MOST, _LINES = 60, 60, 3
# What one field of type ``thing`` may hold.
THING = 20


def compose_push(
    digest: Digest, *, to: str, out_id: str, urgent: bool = False, useful_for: int = 86_400, topic: str = ""
) -> PushMessage:
    """Write a note of at most four lines.

    Args:
        digest: At least one entry.
        to: What the channel needs to reach the reader.
        out_id: Our own reference.
        urgent: An alert; its text is the entry's own summary.
        useful_for: Seconds.
        topic: See :class:`PushMessage`.

    Raises:
        PermanentError: If the digest is empty.
    """
    named = _named(digest)
    title, lines = _heading(digest), [_line(entry, digest) for entry in named[:_LINES]]
    if len(named) == 1 == len(digest.entries):
        title = clip(_sample(digest) + shown_title(named[0], digest.lang), _TITLE_MOST)
        lines = [one_line(named[0].summary), _deadline(named[0], digest)]
    rest = len(digest.entries) - min(len(named), _LINES)
    if len(digest.entries) > 1 and rest:
        more = f"另有 {rest} 条" if is_chinese(digest.lang) else f"and {rest} more"
        lines.append(more if lines else "")
    if not named:
        lines = [words(digest.lang)["neutral_body"]]
    text = "\n".join(clip(line, _LINE_MOST * 2) for line in lines if line)
    url = named[0].url if len(digest.entries) == 1 and named else digest.page_url
    return PushMessage(to, title, text, url, digest.lang, out_id, topic, urgent, useful_for)


def compose_wechat(digest: Digest, *, to: str, out_id: str) -> WechatMessage:
    """Fill the four fields of the template: what, from whom, until when, how many more.

    Raises:
        PermanentError: If the digest is empty.
    """
    named = _named(digest)
    label = words(digest.lang)
    zone = ZoneInfo(digest.timezone)
    day = digest.window_end.astimezone(zone)
    first = named[0] if named else None
    title = _sample(digest) + (shown_title(first, digest.lang) if first else label["neutral"])
    agency = first.agency or first.source_name if first else digest.city_name
    until = first.deadline.astimezone(zone) if first and first.deadline else None
    others = len(digest.entries) - 1
    note = _note(others, until is not None, digest.lang)
    return WechatMessage(
        to=to,
        fields={
            "title": clip(one_line(title), THING),
            "agency": clip(one_line(agency) or digest.city_name, THING),
            "time": (until or day).strftime("%Y-%m-%d"),
            "note": clip(note, THING),
        },
        page=first.url if first and not others else digest.page_url,
        lang=digest.lang,
        out_id=out_id,
    )


def _named(digest: Digest) -> list[EntryView]:
    """Entries whose title may show on a locked screen."""
    if not digest.entries:
        raise PermanentError("The digest has no entry; an empty message is never sent.")
    if digest.discreet:
        return []
    return [entry for entry in digest.entries if not entry.sensitive and not entry.quiet_subject]


def _heading(digest: Digest) -> str:
    total = len(digest.entries)
    if digest.discreet or not _named(digest):
        return _sample(digest) + words(digest.lang)["neutral"]
    if is_chinese(digest.lang):
        return f"{_sample(digest)}{digest.city_name}：{total} 条与您有关"
    return f"{_sample(digest)}{digest.city_name}: {total} for you"


def _line(entry: EntryView, digest: Digest) -> str:
    due = _deadline(entry, digest)
    return clip(shown_title(entry, digest.lang), _LINE_MOST) + (f"（{due}）" if due else "")


def _deadline(entry: EntryView, digest: Digest) -> str:
    zone = ZoneInfo(digest.timezone)
    today = digest.window_end.astimezone(zone).date()
    until = deadline_text(entry, zone, digest.lang, today)
    return f"{words(digest.lang)['deadline']}{until}" if until else ""


def _note(others: int, has_deadline: bool, lang: str) -> str:
    if is_chinese(lang):
        parts = ["日期为截止日期" if has_deadline else "", f"另有{others}条与您有关" if others else ""]
        return "，".join(part for part in parts if part) or "点击查看详情"
    parts = ["by this date" if has_deadline else "", f"+{others} more" if others else ""]
    return ", ".join(part for part in parts if part) or "Tap for details"


def _sample(digest: Digest) -> str:
    return SAMPLE if digest.sample else ""

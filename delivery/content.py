"""The HTML content of one feed entry, the same in RSS, Atom and JSON. Pure.

Order: banner of a mark, deadline, body, source and licence, reasons. A sensitive entry says only
that something changed. ``body_html`` is trusted to be sanitised; everything else is escaped here.
Called by ``delivery.syndication``, ``delivery.jsonfeed`` and ``delivery.feed_writer``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from zoneinfo import ZoneInfo

from delivery.types import Also, EntryView
from delivery.wording import deadline_text, is_chinese, mark_note, readable, words

_TRANSLATED = (
    "The title is a translation; the text of the notice follows in its own language.",
    "标题为译文，以下为公告原文。",
)
# What the formats want to hear of a file of which nothing is known.
UNKNOWN_TYPE = "application/octet-stream"


def content_html(entry: EntryView, lang: str, timezone: str) -> str:
    """Return the whole content of an entry as HTML, without characters XML cannot carry."""
    return readable("\n".join(_parts(entry, lang, ZoneInfo(timezone))))


def description(entry: EntryView, lang: str) -> str:
    """Return the short form as HTML-escaped text; the title where there is no summary."""
    label = words(lang)
    if entry.sensitive:
        return label["neutral_body"]
    return escape(readable(entry.summary or entry.title).strip(), quote=False) or label["neutral_body"]


def shown_tags(entry: EntryView) -> tuple[str, ...]:
    """Return the tags that may be shown: each once, none of a sensitive entry."""
    if entry.sensitive:
        return ()
    return tuple(dict.fromkeys(tag for tag in map(readable, entry.tags) if tag.strip()))


def shown_reasons(entry: EntryView) -> tuple[str, ...]:
    """Return the reasons that may be shown; a reason can name a role, so none if sensitive."""
    return () if entry.sensitive else tuple(readable(reason) for reason in entry.reasons if reason.strip())


def why_html(reasons: Sequence[str], lang: str) -> str:
    """Return the line that says why somebody got an entry; it is always the content's last."""
    label = words(lang)
    return f"<p><em>{escape(label['why'] + label['joiner'].join(reasons))}</em></p>"


def _parts(entry: EntryView, lang: str, zone: ZoneInfo) -> Iterator[str]:
    label = words(lang)
    if note := mark_note(entry, lang):
        yield f"<p><strong>{escape(label[entry.mark].strip() + ' ' + note)}</strong></p>"
    if entry.sensitive:
        yield f"<p>{escape(label['neutral_body'])}</p>"
        return
    if deadline := deadline_text(entry, zone, lang):
        yield f"<p><strong>{escape(label['deadline'] + deadline)}</strong></p>"
    if entry.title_lang and entry.title_lang != entry.lang:
        yield f"<p><small>{_TRANSLATED[is_chinese(lang)]}</small></p>"
    yield _body(entry, lang)
    if entry.phone:
        yield f"<p>{escape(label['phone'] + entry.phone)}</p>"
    if origin := _origin(entry, lang):
        yield f"<p><small>{origin}</small></p>"
    if reasons := shown_reasons(entry):
        yield why_html(reasons, lang)


def _body(entry: EntryView, lang: str) -> str:
    body = entry.body_html.strip() or f"<p>{escape(entry.summary or entry.title)}</p>"
    if entry.lang and entry.lang != lang:
        return f'<div lang="{escape(entry.lang)}">{body}</div>'
    return body


def _origin(entry: EntryView, lang: str) -> str:
    label = words(lang)
    parts = []
    if entry.agency:
        parts.append(escape(label["agency"] + entry.agency))
    if entry.source_name or entry.source_url:
        source = Also(entry.source_name or entry.source_url, entry.source_url)
        parts.append(escape(label["source"]) + _linked(source))
    if entry.also:
        parts.append(escape(label["also"]) + escape(label["comma"]).join(map(_linked, entry.also)))
    if entry.licence:
        parts.append(escape(label["licence"] + entry.licence))
    return " · ".join(parts)


def _linked(who: Also) -> str:
    name = escape(who.name)
    return f'<a href="{escape(who.url)}">{name}</a>' if who.url else name

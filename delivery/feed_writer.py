"""Assembles feeds from parts that were made before, byte for byte what the renderers make of the whole. Pure.

An entry is the same for everybody but for its line of reasons, so it is rendered once a notice, format and
language, cut where the reasons stand, and joined again with those of each reader. A feed's head is cut the
same way at its id and its time. It keeps no entries: ``api.feed_entries`` does, and calls it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal, get_args

from delivery.content import why_html
from delivery.jsonfeed import json_frame, json_item, render_json
from delivery.syndication import render_atom, render_rss
from delivery.types import EntryView, FeedView
from delivery.wording import readable

Format = Literal["rss", "atom", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
#: What a whole feed looks like; the measure of everything below.
RENDER: dict[Format, Callable[[FeedView], bytes]] = {
    "rss": render_rss,
    "atom": render_atom,
    "json": render_json,
}
#: An entry in parts: between each and the next stand the reasons, said as the place asks for.
Parts = tuple[bytes, ...]

# Nobody can know it beforehand, so no text holds it.
_MARK = f"mark-{secrets.token_hex(12)}"
_WHEN = datetime(1903, 12, 17, 10, 35, tzinfo=UTC)
_ENDS: dict[Format, bytes] = {"rss": b"</channel></rss>", "atom": b"</feed>"}
_NAMES: dict[Format, tuple[bytes, bytes]] = {
    "rss": (b"<item>", b"</item>"),
    "atom": (b"<entry", b"</entry>"),
}


def entry_parts(fmt: Format, entry: EntryView, feed: FeedView) -> Parts:
    """Render one entry of a feed, cut where its reasons stand; one part where it may show none.

    Args:
        fmt: The format.
        entry: Its own reasons do not matter.
        feed: Gives language, time zone and the page that explains; its entries do not matter.
    """
    marked = replace(entry, reasons=(_MARK,))
    if fmt == "json":
        whole = json_item(marked, feed)
    else:
        rendered = RENDER[fmt](replace(feed, entries=(marked,), gone=(), hubs=(), links=(), archive=False))
        start, end = _NAMES[fmt]
        whole = rendered[rendered.index(start) : rendered.rindex(end) + len(end)]
    parts = [whole]
    for gap in reason_gaps(fmt, (_MARK,), feed.lang):
        before, found, after = parts[-1].partition(gap)
        if found:
            parts[-1:] = [before, after]
    return tuple(parts)


@lru_cache(maxsize=20_000)
def reason_gaps(fmt: Format, reasons: tuple[str, ...], lang: str) -> Parts:
    """Return what belongs between the parts of an entry for these reasons, in order."""
    shown = tuple(readable(reason) for reason in reasons if reason.strip())
    if not shown:
        return (b"", b"") if fmt == "json" else (b"",)
    line = readable("\n" + why_html(shown, lang))
    if fmt != "json":
        return (_xml(line),)
    listed = json.dumps(list(shown), ensure_ascii=False, separators=(",", ":"))
    return (
        json.dumps(line, ensure_ascii=False)[1:-1].encode("utf-8"),
        f'"reasons":{listed},'.encode(),
    )


def join_parts(parts: Parts, gaps: Parts) -> Iterable[bytes]:
    """Put the reasons of one reader between the parts of an entry."""
    yield parts[0]
    for gap, part in zip(gaps, parts[1:], strict=False):
        yield gap
        yield part


def write(fmt: Format, feed: FeedView, entries: Sequence[tuple[Parts, Parts]]) -> bytes:
    """Assemble a feed from entries and their reasons (see :func:`reason_gaps`).

    Args:
        fmt: The format.
        feed: Its head; its own entries do not matter.
        entries: In order.
    """
    before, after = _frame(fmt, feed)
    pieces: list[bytes] = [before]
    for number, (parts, gaps) in enumerate(entries):
        if number and fmt == "json":
            pieces.append(b",")
        pieces.extend(join_parts(parts, gaps))
    pieces.append(after)
    return b"".join(pieces)


def _frame(fmt: Format, feed: FeedView) -> tuple[bytes, bytes]:
    if fmt == "json":
        return json_frame(feed)
    before, after = _marked_frame(fmt, replace(feed, feed_id=_MARK, updated=_WHEN, entries=()))
    before = before.replace(_MARK.encode(), _xml(readable(feed.feed_id)))
    return before.replace(_time(fmt, _WHEN), _time(fmt, feed.updated.replace(microsecond=0)), 1), after


@lru_cache(maxsize=1_000)
def _marked_frame(fmt: Format, feed: FeedView) -> tuple[bytes, bytes]:
    rendered, end = RENDER[fmt](feed), _ENDS[fmt]
    return rendered[: -len(end)], end


def _time(fmt: Format, instant: datetime) -> bytes:
    return (instant.isoformat() if fmt == "atom" else format_datetime(instant)).encode()


def _xml(text: str) -> bytes:
    """Text as libxml2 writes it."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return escaped.encode("utf-8")

"""ETags of feeds and the answer to "has it changed?". Pure; never renders anything.

Called by the feed routes before rendering. An ETag names everything that decides the bytes of a
feed except the reader's address, so a 304 costs one hash and no database read of texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b

# Grows with every change of the rendered bytes; every reader then gets one full answer.
RENDERER_VERSION = 2
_TAG = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')
# What proxies append when they compress: nginx and Apache write -gzip, some write ;gzip or --gzip.
_SUFFIX = re.compile(r"(?:-+|;)(?:gzip|br|zstd|deflate)$")


def etag(
    renderer_version: int, fmt: str, lang: str, shelf_version: int, entries: Iterable[tuple[int, int]]
) -> str:
    """Return the weak ETag of a feed, quotes and ``W/`` included.

    Args:
        renderer_version: :data:`RENDERER_VERSION`.
        fmt: ``rss``, ``atom`` or ``json``.
        lang: Language of the fixed words.
        shelf_version: Of the shelf, or 0 for a public feed.
        entries: (notice id, material number) in the feed's order.
    """
    packed = ",".join(f"{notice}:{material}" for notice, material in entries)
    text = f"{renderer_version}|{fmt}|{lang}|{shelf_version}|{packed}"
    return f'W/"{blake2b(text.encode(), digest_size=12).hexdigest()}"'


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Whether a header ``If-None-Match`` names our ETag, compared weakly.

    Takes lists, ``*``, ``W/`` or not, missing quotes, and the suffixes of compressing proxies.
    """
    if if_none_match.strip() == "*":
        return True
    ours = _opaque(etag)
    return any(_opaque(match.group(0)) == ours for match in _TAG.finditer(if_none_match))


def not_modified(
    if_none_match: str | None, if_modified_since: str | None, etag: str, last_modified: datetime
) -> bool:
    """Whether 304 is the right answer; ``If-None-Match`` wins wherever it is given.

    An unreadable date counts as none. ``last_modified`` is compared in whole seconds.
    """
    if if_none_match is not None and if_none_match.strip():
        return etag_matches(if_none_match, etag)
    since = _parse_date(if_modified_since)
    return since is not None and last_modified.replace(microsecond=0) <= since


def _opaque(tag: str) -> str:
    return _SUFFIX.sub("", tag.strip().removeprefix("W/").strip('"'))


def _parse_date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
